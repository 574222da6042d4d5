package sandbox

import (
	"strings"
	"syscall"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Root gives a box a root file system of its own in place of the host's system
// folders: the layers of an image below a private writable one. /proc, /sys (read-only),
// /dev with the default devices, /tmp, and hosts, hostname, resolv.conf and mtab
// in /etc are added. Needs Config.Shared. Users and groups in it are not the host's: user 0 inside
// is a user of the host that owns nothing (Findings, "container users").
type Root struct {
	// Layers are the unpacked layers, highest first; they are never written.
	// Files have the owners the image gives them, whiteouts are overlayfs'.
	Layers []string
	// Dir is used instead of Layers where overlayfs is refused (Host.Overlay):
	// the merged tree, which belongs to this box alone, may be written, and is
	// removed by whoever made it.
	Dir string
	// ReadOnly allows no writing but to /tmp, /dev/shm and writable mounts.
	ReadOnly bool
	Mounts   []Mount

	// User is user[:group], names of the root's own /etc/passwd and /etc/group
	// or numbers; empty is user 0. UID and GID overrule it.
	User     string
	UID, GID *int64
	// NonRoot refuses to run as user 0.
	NonRoot bool
	// AddCaps and DropCaps change the capabilities user 0 has inside; names
	// with or without CAP_, or ALL.
	AddCaps, DropCaps []string
}

// Mount shows a volume in a root.
type Mount struct {
	Volume  *Volume
	Path    string // absolute, inside; made if missing
	SubPath string // of the volume; made if missing in an empty one
	Write   bool
}

// VolumeConfig describes a volume. Files makes a read-only one in memory, with owner 0.
type VolumeConfig struct {
	Files  []engine.VolumeFile
	Memory bool
	// Size bounds one in memory; 0 means half the machine's. A volume on disk
	// has no bound of its own: see Volume.Used.
	Size int64
}

// capabilities user 0 of a root has: those of Docker's default without
// MKNOD, NET_RAW, AUDIT_WRITE and SYS_CHROOT, whose calls are refused anyway.
func rootCaps() map[string]int {
	return map[string]int{"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
		"SETPCAP": 8, "NET_BIND_SERVICE": 10, "SETFCAP": 31}
}

// otherCaps are known names that are never given.
const otherCaps = " DAC_READ_SEARCH LINUX_IMMUTABLE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT" +
	" SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL" +
	" MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE "

// capabilities are the numbers of what remains after add and drop, in order.
func capabilities(add, drop []string) ([]int, error) {
	all := rootCaps()
	keep := map[int]bool{}
	for _, n := range all {
		keep[n] = true
	}
	plain := func(s string) string { return strings.TrimPrefix(strings.ToUpper(s), "CAP_") }
	for _, d := range drop {
		name := plain(d)
		n, ok := all[name]
		switch {
		case name == "ALL":
			clear(keep)
		case ok:
			delete(keep, n)
		case !strings.Contains(otherCaps, " "+name+" "):
			return nil, api.Errorf(api.CodeInvalid, "there is no capability %s", d)
		}
	}
	for _, a := range add {
		name := plain(a)
		n, ok := all[name]
		switch {
		case ok:
			keep[n] = true
		case name == "ALL":
			for _, n := range all {
				keep[n] = true
			}
		case strings.Contains(otherCaps, " "+name+" "):
			return nil, api.Errorf(api.CodeUnsupported, "capability %s is not given to containers", a).WithHint("remove it from securityContext.capabilities.add")
		default:
			return nil, api.Errorf(api.CodeInvalid, "there is no capability %s", a)
		}
	}
	var out []int
	for n := range 64 {
		if keep[n] {
			out = append(out, n)
		}
	}
	return out, nil
}

// StartError is the cause of a Start, Exec or Enter that failed inside the box.
type StartError struct {
	Text  string // which step failed, with the kernel's word
	Errno syscall.Errno
}

// Error implements error.
func (e *StartError) Error() string { return e.Text }

// Unwrap is the kernel's error number, if there was one.
func (e *StartError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}
