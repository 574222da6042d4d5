package sandbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What a box gets when its Config says nothing.
const (
	defaultProcesses = 1024
	defaultDisk      = 256 << 20
	defaultPath      = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Capabilities a zygote keeps: CHOWN no, DAC_OVERRIDE, KILL, SETGID, SETUID,
// SETPCAP, SYS_ADMIN.
func zygoteCaps() []any { return []any{1, 5, 6, 7, 8, 21} }

const (
	readOnly  = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	readWrite = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
)

// layout computes plans. It is what the host knows about itself, gathered once.
type layout struct {
	stage  string   // folder a new root is built on
	system []string // top folders shown read-only: /usr, /lib64 …
	links  [][2]string
	etc    []string
	resolv string // resolver file that works from another network namespace
	root   bool
	filter string // empty: none
	mounts bool   // mount namespaces work
	files  int    // descriptors a process may have
}

// etcParts are the parts of /etc programs need; what does not exist is left out.
func etcParts() []string {
	return []string{"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ssl", "ca-certificates", "pki", "crypto-policies",
		"hosts", "nsswitch.conf", "localtime", "alternatives", "services", "protocols", "gai.conf", "mime.types"}
}

func newLayout(stage string, root, mounts bool, seccomp bool) *layout {
	l := &layout{stage: stage, root: root, mounts: mounts}
	l.files = 65536
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil && r.Max < uint64(l.files) {
		l.files = int(r.Max) // raising it needs a capability even root may lack
	}
	if seccomp {
		l.filter = filter()
	}
	for _, d := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"} {
		if to, err := os.Readlink(d); err == nil {
			l.links = append(l.links, [2]string{to, d})
		} else if st, err := os.Stat(d); err == nil && st.IsDir() {
			l.system = append(l.system, d)
		}
	}
	for _, e := range etcParts() {
		if _, err := os.Stat("/etc/" + e); err == nil {
			l.etc = append(l.etc, e)
		}
	}
	l.resolv = "/etc/resolv.conf"
	if b, err := os.ReadFile(l.resolv); err == nil && strings.Contains(string(b), "nameserver 127.") {
		if _, err := os.Stat("/run/systemd/resolve/resolv.conf"); err == nil {
			l.resolv = "/run/systemd/resolve/resolv.conf"
		}
	}
	return l
}

// box is what the layout has to know about one box.
type boxPlan struct {
	Config
	uid, gid int
	ownNet   bool
	resolv   string // file that says who resolves names; empty: the host's
	slots    *slots // nil: folders can be mounted later
	newUser  bool   // in a user namespace of its own, as the user hearth runs as
}

// plan lists the steps of sandbox-init.
func (l *layout) plan(b boxPlan) Plan {
	var p Plan
	if !l.mounts {
		l.identity(&p, b)
		return p
	}
	p.add("mount", "none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	l.rootTree(&p, b)
	l.devices(&p, b)
	disk := b.Limits.DiskBytes
	if disk <= 0 {
		disk = defaultDisk
	}
	r := l.stage
	p.add("mount", "tmpfs", r+"/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", min(disk, 64<<20)))
	p.add("mount", "tmpfs", r+"/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", disk))
	p.add("mount", "proc", r+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	l.binds(&p, b)
	p.add("pivot", r)
	p.add("remount", "/", readOnly&^unix.MOUNT_ATTR_NODEV) // the device files are on it
	if b.ownNet {
		p.add("lo")
	}
	p.add("sethostname", b.ID)
	l.identity(&p, b)
	return p
}

// rootTree builds the root: folders, the system's trees, the parts of /etc.
func (l *layout) rootTree(p *Plan, b boxPlan) {
	r := l.stage
	p.add("mount", "hearth", r, "tmpfs", unix.MS_NOSUID, "mode=755,size=2m")
	for _, d := range []string{"/etc", "/proc", "/dev", "/dev/shm", "/tmp", "/run", "/var", "/sys"} {
		p.add("mkdir", r+d, 0o755)
	}
	p.add("symlink", "/tmp", r+"/var/tmp")
	p.add("symlink", "/run", r+"/var/run")
	for _, d := range Folders() {
		p.add("mkdir", r+d, 0o755)
	}
	for _, d := range l.system {
		l.parents(p, d)
		p.add("bindstay", d, r+d, readOnly)
	}
	for _, k := range l.links {
		p.add("symlink", k[0], r+k[1])
	}
	for _, e := range l.etc {
		op := "bindfile"
		if st, err := os.Stat("/etc/" + e); err == nil && st.IsDir() {
			op = "bindstay"
		}
		p.add(op, "/etc/"+e, r+"/etc/"+e, readOnly)
	}
	if b.resolv != "" {
		p.add("bindfile", b.resolv, r+"/etc/resolv.conf", readOnly)
	} else if b.Network == NetworkPrivate {
		p.add("bindfile", l.resolv, r+"/etc/resolv.conf", readOnly)
	} else {
		p.add("bindfile", "/etc/resolv.conf", r+"/etc/resolv.conf", readOnly)
	}
	passwd, group := userFiles(b.uid, b.gid)
	p.add("write", r+"/run/passwd", 0o444, passwd)
	p.add("write", r+"/run/group", 0o444, group)
	p.add("symlink", "/run/passwd", r+"/etc/passwd")
	p.add("symlink", "/run/group", r+"/etc/group")
}

func userFiles(uid, gid int) (passwd, group string) {
	passwd = "root:x:0:0:root:/root:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	group = "root:x:0:\nnogroup:x:65534:\n"
	if uid != 0 {
		passwd += fmt.Sprintf("function:x:%d:%d:function:/tmp:/bin/sh\n", uid, gid)
		group += fmt.Sprintf("function:x:%d:\n", gid)
	}
	return passwd, group
}

func (l *layout) devices(p *Plan, b boxPlan) {
	r := l.stage + "/dev/"
	for _, d := range []struct {
		name  string
		minor int
	}{{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}} {
		if b.newUser { // no device can be made in a user namespace
			p.add("bindfile", "/dev/"+d.name, r+d.name, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
		} else {
			p.add("mknod", r+d.name, 0o666, 1, d.minor)
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		p.add("symlink", to, r+name)
	}
}

// binds shows what the Config asks for. A tree below one that is shown already
// at the same place needs no mount.
func (l *layout) binds(p *Plan, b boxPlan) {
	list := b.Binds
	if b.WriteDir != "" {
		list = append(append([]Bind{}, list...), Bind{Source: b.WriteDir, Target: "/code", Write: true})
	}
	if b.slots != nil {
		for f, dir := range b.slots.dirs {
			list = append(list[:len(list):len(list)], Bind{Source: dir, Target: f})
		}
	}
	for _, m := range list {
		target := m.Target
		if target == "" {
			target = m.Source
		}
		target = filepath.Clean(target)
		if !m.Write && target == filepath.Clean(m.Source) && l.shown(target) {
			continue
		}
		attrs := readOnly
		if m.Write {
			attrs = readWrite
		}
		l.parents(p, target)
		if st, err := os.Stat(m.Source); err == nil && !st.IsDir() {
			p.add("bindfile", m.Source, l.stage+target, attrs)
			continue
		}
		p.add("mkdir", l.stage+target, 0o755)
		p.add("bind", m.Source, l.stage+target, attrs)
	}
}

func (l *layout) shown(path string) bool {
	for _, d := range l.system {
		if path == d || strings.HasPrefix(path, d+"/") {
			return true
		}
	}
	return false
}

func (l *layout) parents(p *Plan, target string) {
	for i := 1; i < len(target); i++ {
		if target[i] == '/' {
			p.add("mkdir", l.stage+target[:i], 0o755)
		}
	}
}

// identity lists the steps from root to the box's user.
func (l *layout) identity(p *Plan, b boxPlan) {
	p.add("umask", 0o022)
	p.add("rlimit", unix.RLIMIT_CORE, 0, 0)
	p.add("rlimit", unix.RLIMIT_NOFILE, l.files, l.files)
	p.add("setsid")
	switch {
	case b.Zygote && l.root:
		p.add("dropbounding", zygoteCaps()...)
		p.add("setgroups")
		p.add("pdeathsig", int(unix.SIGKILL))
		p.add("chdir", "/")
		return
	case l.root || b.newUser:
		p.add("dropbounding")
	}
	if l.root {
		p.add("setgroups")
		p.add("setgid", b.gid)
		p.add("setuid", b.uid)
	}
	p.add("dropcaps")
	p.add("pdeathsig", int(unix.SIGKILL))
	p.add("nonewprivs")
	if !l.root {
		p.add("landlock", l.trees(b)...)
	}
	if l.filter != "" {
		p.add("seccomp", l.filter)
	}
}

// trees lists what landlock leaves: needed where there is no root of the box's
// own, and a second wall where there is.
func (l *layout) trees(b boxPlan) []any {
	if l.mounts {
		return []any{"r", "/", "w", "/tmp", "w", "/dev", "w", "/proc", "w", "/code"}
	}
	var out []any
	for _, d := range l.system {
		out = append(out, "r", d)
	}
	for _, e := range append([]string{"passwd", "group", "resolv.conf"}, l.etc...) {
		out = append(out, "r", "/etc/"+e)
	}
	out = append(out, "r", "/proc", "w", "/dev/null", "w", "/dev/zero", "w", "/dev/full", "r", "/dev/random", "r", "/dev/urandom", "w", "/tmp")
	for _, m := range b.Binds {
		kind := "r"
		if m.Write {
			kind = "w"
		}
		out = append(out, kind, m.Source)
	}
	if b.WriteDir != "" {
		out = append(out, "w", b.WriteDir)
	}
	return out
}
