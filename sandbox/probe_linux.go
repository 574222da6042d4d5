package sandbox

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// abilities is what the host allows; found once, by trying where that is cheap.
type abilities struct {
	root     bool // own users: uid 0 with the capabilities that need it
	mounts   bool // mount, pid, ipc and uts namespaces and pivot_root
	net      bool // network namespaces
	seccomp  bool
	newMount bool // open_tree, move_mount, mount_setattr
	pidfd    bool
	landlock int
	userNS   bool
	netAdmin bool
	caps     uint64
}

func (h *Host) probe() abilities {
	a := abilities{caps: effective()}
	has := func(c uint) bool { return a.caps&(1<<c) != 0 }
	a.root = os.Geteuid() == 0 && has(unix.CAP_SYS_ADMIN) && has(unix.CAP_SETUID) && has(unix.CAP_SETGID) && has(unix.CAP_SETPCAP) && !h.without("own users")
	a.netAdmin = has(unix.CAP_NET_ADMIN)
	most, _ := number("/proc/sys/user/max_user_namespaces")
	a.userNS = !h.without("user namespaces") && most > 0 && knob("/proc/sys/kernel/unprivileged_userns_clone", "1") != "0"
	a.mounts = (a.root || a.userNS) && exists("/proc/self/ns/mnt") && exists("/proc/self/ns/pid") && !h.without("namespaces")
	a.net = a.mounts && exists("/proc/self/ns/net") && !h.without("network namespaces")
	a.seccomp = knob("/proc/sys/kernel/seccomp/actions_avail", "") != "" && !h.without("seccomp")
	if !h.without("landlock") {
		a.landlock = landlockABI()
	}
	if fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLOEXEC); err == nil {
		unix.Close(fd)
		err = unix.MountSetattr(unix.AT_FDCWD, "", 0, &unix.MountAttr{})
		a.newMount = err != unix.ENOSYS && !h.without("new mount calls")
	}
	if fd, err := unix.PidfdOpen(os.Getpid(), 0); err == nil {
		unix.Close(fd)
		a.pidfd = !h.without("pidfd")
	}
	return a
}

func effective() uint64 {
	b, _ := os.ReadFile("/proc/self/status")
	for _, l := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(l, "CapEff:"); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return n
		}
	}
	return 0
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func knob(path, missing string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return missing
	}
	return strings.TrimSpace(string(b))
}
