package sandbox

import (
	"errors"
	"fmt"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"
)

// root carries out the steps only boxes with a root of their own have.
func (x *executor) root(o Op) error {
	switch o.Name() {
	case "attach":
		return x.attach(o.num(0), o.str(1))
	case "folder":
		return makeFolders(o.str(0))
	case "mask":
		return mask(o.str(0))
	case "freeze":
		return except(bind(o.str(0), o.str(0), readOnly|unix.MOUNT_ATTR_NOEXEC), unix.ENOENT)
	case "user":
		return x.user(o.str(0), o.num(1), o.num(2), o.num(3) != 0)
	case "caps":
		return x.caps(o)
	}
	return errors.New("unknown operation")
}

// attach mounts what was passed as descriptor at a path, which is made if
// missing.
func (x *executor) attach(n int, at string) error {
	if n < 0 || n >= len(x.fds) {
		return fmt.Errorf("%d descriptors were passed", len(x.fds))
	}
	fd := x.fds[n]
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := makeFolders(at); err != nil {
			return err
		}
	} else {
		if err := makeFolders(path.Dir(at)); err != nil {
			return err
		}
		f, err := unix.Open(at, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
		if err != nil && err != unix.EEXIST {
			return err
		}
		if err == nil {
			unix.Close(f)
		}
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
		return err
	}
	return unix.Close(fd)
}

// makeFolders makes a folder and those above it.
func makeFolders(p string) error {
	var st unix.Stat_t
	if unix.Stat(p, &st) == nil {
		return nil
	}
	for i := 1; i <= len(p); i++ {
		if i == len(p) || p[i] == '/' {
			if err := unix.Mkdir(p[:i], 0o755); err != nil && err != unix.EEXIST && unix.Stat(p[:i], &st) != nil {
				return err
			}
		}
	}
	return nil
}

// mask hides a file or folder if there is one.
func mask(p string) error {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return except(err, unix.ENOENT, unix.EACCES)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.Mount("none", p, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_RDONLY, "mode=555,size=4k")
	}
	return bind("/dev/null", p, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOEXEC)
}

// user becomes the user the image or its caller wants.
func (x *executor) user(name string, uid, gid int, nonRoot bool) error {
	var passwd, group string
	var err error
	if passwd, err = head("/etc/passwd", 1<<20); err != nil {
		return err
	}
	if group, err = head("/etc/group", 1<<20); err != nil {
		return err
	}
	p, err := lookUp(name, uid, gid, passwd, group)
	if err != nil {
		return err
	}
	if nonRoot && p.uid == 0 {
		return errors.New("it would run as user 0 (root), and runAsNonRoot is set")
	}
	x.home = p.home
	groups := make([]uint32, len(p.groups)+1)
	groups[0] = uint32(p.gid)
	for i, g := range p.groups {
		groups[i+1] = uint32(g)
	}
	if err := x.call(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); err != nil {
		return fmt.Errorf("groups %v: %w", groups, err)
	}
	g, u := uintptr(p.gid), uintptr(p.uid)
	if err := x.call(unix.SYS_SETRESGID, g, g, g); err != nil {
		return fmt.Errorf("group %d: %w", p.gid, err)
	}
	if err := x.call(unix.SYS_SETRESUID, u, u, u); err != nil {
		return fmt.Errorf("user %d: %w", p.uid, err)
	}
	return nil
}

// caps leaves user 0 these capabilities, and every other user none.
func (x *executor) caps(o Op) error {
	h := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	d := new([2]unix.CapUserData)
	if unix.Geteuid() == 0 {
		for i := range o[1:] {
			n := o.num(i)
			d[n/32].Effective |= 1 << (n % 32)
			d[n/32].Permitted |= 1 << (n % 32)
		}
	}
	return x.call(unix.SYS_CAPSET, uintptr(unsafe.Pointer(h)), uintptr(unsafe.Pointer(d)), 0)
}
