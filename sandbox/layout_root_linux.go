package sandbox

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// rootMounts are the descriptors of a built root, by index.
type rootMounts struct {
	root    int
	sys     bool // the stage has a /sys
	volumes []volumeAt
}

type volumeAt struct {
	fd   int
	path string
}

// maskedPaths are hidden in every root; read-only ones can be seen. Both as the
// OCI runtimes have them.
func maskedPaths() []string {
	return []string{"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/proc/sysrq-trigger", "/sys/firmware", "/sys/devices/virtual/powercap"}
}

func readOnlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"}
}

// staged lists the steps that do not depend on what will run: on a file system
// of its own at the door, /proc, /dev (descriptor dev) and /sys (sys; -1: none) as
// every root will have them. A held box has taken them before it waits.
func (l *layout) staged(b *Box, dev, sys int) Plan {
	var p Plan
	r := b.h.roots.door
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	p.add("mount", "none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	p.add("mount", "hearth", r, "tmpfs", flags, "mode=755,size=64k")
	for _, d := range []string{"/root", "/proc", "/dev", "/sys"} {
		p.add("mkdir", r+d, 0o755)
	}
	p.add("mount", "proc", r+"/proc", "proc", flags, "")
	p.add("attach", dev, r+"/dev")
	p.add("mount", "devpts", r+"/dev/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5")
	p.add("mount", "shm", r+"/dev/shm", "tmpfs", flags, "mode=1777,size=64m")
	p.add("mount", "mqueue", r+"/dev/mqueue", "mqueue", flags, "")
	if sys >= 0 {
		p.add("attach", sys, r+"/sys")
		l.cgroupTree(&p, b, r+"/sys/fs/cgroup")
	}
	for _, path := range maskedPaths() {
		if sys >= 0 || !strings.HasPrefix(path, "/sys") {
			p.add("mask", r+path)
		}
	}
	for _, path := range readOnlyPaths() {
		p.add("freeze", r+path)
	}
	p.add("sethostname", b.shared.name)
	p.add("unshare", unix.CLONE_NEWCGROUP)
	p.add("umask", 0o022)
	p.add("rlimit", unix.RLIMIT_CORE, 0, 0)
	p.add("rlimit", unix.RLIMIT_NOFILE, l.files, l.files)
	p.add("setsid")
	return p
}

// rooted lists the steps from a stage to a root of the box's own, which was
// built outside and is descriptor root.
func (l *layout) rooted(b *Box, c Config, m rootMounts, caps []int) Plan {
	var p Plan
	door := b.h.roots.door
	r := door + "/root"
	p.add("attach", m.root, r)
	p.add("mount", door+"/proc", r+"/proc", "", unix.MS_MOVE, "")
	p.add("mount", door+"/dev", r+"/dev", "", unix.MS_MOVE, "")
	if m.sys {
		p.add("mount", door+"/sys", r+"/sys", "", unix.MS_MOVE, "")
	}
	p.add("pivot", r)
	// What is mounted lower in the tree comes later. Links on the way lead to
	// places inside the root, as seen from here.
	slices.SortStableFunc(m.volumes, func(a, b volumeAt) int { return strings.Count(a.path, "/") - strings.Count(b.path, "/") })
	for _, v := range m.volumes {
		p.add("attach", v.fd, v.path)
	}
	if c.Dir != "" && filepath.IsAbs(c.Dir) {
		p.add("folder", filepath.Clean(c.Dir))
	}
	if c.Root.ReadOnly {
		p.add("remount", "/", unix.MOUNT_ATTR_RDONLY)
	}
	list := make([]any, len(caps))
	for i, n := range caps {
		list[i] = n
	}
	p.add("dropbounding", list...)
	p.add("user", c.Root.User, number64(c.Root.UID), number64(c.Root.GID), flag(c.Root.NonRoot))
	p.add("caps", list...)
	p.add("pdeathsig", int(unix.SIGKILL))
	p.add("nonewprivs")
	if l.filter != "" {
		p.add("seccomp", l.filter)
	}
	return p
}

// cgroupTree shows the box's own groups, read-only, where programs look for
// their limits.
func (l *layout) cgroupTree(p *Plan, b *Box, at string) {
	g := b.h.groups
	if g.v2 {
		if len(g.roots) > 0 {
			p.add("bind", filepath.Join(g.folders()[0], b.group.id), at, readOnly|unix.MOUNT_ATTR_NOEXEC)
		}
		return
	}
	if len(g.roots) == 0 {
		return
	}
	p.add("mount", "cgroup", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k")
	for _, name := range controllers() {
		if d := b.group.dir(name); d != "" {
			p.add("mkdir", at+"/"+name, 0o755)
			p.add("bind", d, at+"/"+name, readOnly|unix.MOUNT_ATTR_NOEXEC)
		}
	}
	p.add("remount", at, readOnly|unix.MOUNT_ATTR_NOEXEC)
}

func number64(n *int64) int {
	if n == nil {
		return -1
	}
	return int(*n)
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// describeRoots is what Findings says about containers.
func (h *Host) describeRoots() string {
	return fmt.Sprintf("user 0 of a container is user %d or higher of the host, a range of %d for each instance", h.o.RangeBase, rangeSize)
}
