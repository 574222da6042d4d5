package sandbox

import (
	"fmt"

	"github.com/hearth-run/hearth/core/engine"
)

// Findings says what this host allows, each check once, in a fixed order. The
// names can be given to Options.Without.
func (h *Host) Findings() []engine.Finding {
	a := h.allows
	var out []engine.Finding
	say := func(check string, ok bool, good, bad, fix string) {
		f := engine.Finding{Check: check, OK: ok, Detail: good}
		if !ok {
			f.Detail, f.Fix = bad, fix
		}
		if !ok && h.without(check) {
			f.Detail = "switched off; " + bad
		}
		out = append(out, f)
	}
	without := "functions see the host's files (landlock limits them where the kernel has it) and processes"
	if h.noMounts != nil {
		without += ": " + h.noMounts.Error()
	}
	say("namespaces", a.mounts, "mount, pid, ipc and uts namespaces; own root by pivot_root", without,
		"run hearth as root, or allow user namespaces: sysctl user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1")
	say("own users", a.root, fmt.Sprintf("each instance runs as a user of its own, %d to %d", h.o.UIDBase, h.o.UIDBase+userRange-1),
		"all instances run as hearth's own user", "run hearth as root with CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID and CAP_SETPCAP")
	say("user namespaces", a.userNS, "unprivileged users can make sandboxes", "only root can make sandboxes", "sysctl user.max_user_namespaces=10000")
	say("network namespaces", a.net, "instances can have a network of their own", "all instances share the host's network", "run hearth as root")
	say("private network", h.net != nil, h.net.describe(), "network: private is a namespace with loopback only: "+fmt.Sprint(h.noNet),
		"give CAP_NET_ADMIN and load nf_tables and veth: modprobe -a nf_tables nft_masq veth")
	say("seccomp", a.seccomp, "a filter refuses dangerous system calls", "system calls are not filtered", "a kernel with CONFIG_SECCOMP_FILTER")
	say("landlock", a.landlock > 0, fmt.Sprintf("version %d; used where hearth is not root", a.landlock),
		"not in this kernel; needed only where hearth is not root", "boot with lsm=landlock,…")
	fix := "run hearth in a cgroup of its own: systemd-run --user -p Delegate=yes hearth up, or as root"
	for _, c := range controllers() {
		version := "version 1"
		if h.groups.v2 {
			version = "version 2"
		}
		say("cgroup "+c, h.groups.roots[c] != "", version+", "+h.groups.roots[c], "instances have no limit of "+noun(c)+": "+h.groups.why[c], fix)
	}
	say("disk quota", a.mounts, "/tmp of each instance is in memory with a size", "instances write to the host's /tmp without a limit", "see namespaces")
	say("new mount calls", a.newMount, "folders can be shown in warm instances (open_tree, move_mount, mount_setattr)",
		"code is linked or copied to warm instances, file by file", "Linux 5.12 or newer")
	say("pidfd", a.pidfd, "processes forked by zygotes are watched without races", "no zygotes", "Linux 5.3 or newer")
	out = append(out, h.rootFindings()...)
	say("kill on parent death", a.mounts, "nothing outlives hearth: signal at the parent's death, pid namespace, and a sweep at the next start",
		"what a program starts can outlive a killed hearth until the next start", "see namespaces")
	return out
}

func noun(controller string) string {
	switch controller {
	case "memory":
		return "memory"
	case "cpu":
		return "processor time"
	}
	return "processes"
}
