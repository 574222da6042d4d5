package sandbox

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// executor carries out a plan in the calling thread, which has to be locked.
type executor struct {
	// everyThread applies changes of identity to all threads of the process:
	// needed where this process stays as the box's init instead of exec'ing.
	everyThread bool
	fds         []int  // descriptors that came with the request
	home        string // of the user a step named
}

// run executes the plan; the error names the step.
func (x *executor) run(p Plan) error {
	for i, o := range p {
		if err := x.step(o); err != nil {
			return fmt.Errorf("step %d %s: %w", i, describe(o), err)
		}
	}
	return nil
}

func describe(o Op) string {
	if o.Name() == "seccomp" || o.Name() == "write" {
		return o.Name()
	}
	return fmt.Sprint([]any(o))
}

func signature(name string) (string, bool) {
	switch name {
	case "setsid", "dropcaps", "nonewprivs", "lo":
		return "", true
	case "unshare", "umask", "setgid", "setuid", "dumpable", "pdeathsig":
		return "n", true
	case "setgroups", "dropbounding", "caps":
		return "n*", true
	case "landlock":
		return "s*", true
	case "attach":
		return "ns", true
	case "user":
		return "snnn", true
	case "sethostname", "chdir", "seccomp", "pivot", "folder", "mask", "freeze":
		return "s", true
	case "mount":
		return "sssns", true
	case "write":
		return "sns", true
	case "mkdir", "remount":
		return "sn", true
	case "rlimit":
		return "nnn", true
	case "bind", "bindfile", "bindstay":
		return "ssn", true
	case "symlink":
		return "ss", true
	case "mknod":
		return "snnn", true
	case "chown":
		return "snn", true
	}
	return "", false
}

func (x *executor) step(o Op) error {
	sig, ok := signature(o.Name())
	if !ok {
		return errors.New("unknown operation")
	}
	if err := o.check(sig); err != nil {
		return err
	}
	switch o.Name() {
	case "unshare":
		return unix.Unshare(o.num(0))
	case "mount":
		return unix.Mount(o.str(0), o.str(1), o.str(2), uintptr(o.num(3)), o.str(4))
	case "mkdir":
		return except(unix.Mkdir(o.str(0), uint32(o.num(1))), unix.EEXIST)
	case "write":
		return writeNew(o.str(0), o.num(1), o.str(2))
	case "symlink":
		return except(unix.Symlink(o.str(0), o.str(1)), unix.EEXIST)
	case "mknod":
		return mknod(o.str(0), uint32(o.num(1)), uint32(o.num(2)), uint32(o.num(3)))
	case "chown":
		return unix.Lchown(o.str(0), o.num(1), o.num(2))
	case "bind":
		return bind(o.str(0), o.str(1), uint64(o.num(2)))
	case "bindfile":
		if err := writeNew(o.str(1), 0o444, ""); err != nil {
			return err
		}
		return except(bind(o.str(0), o.str(1), uint64(o.num(2))), unix.ENOENT)
	case "bindstay":
		if err := except(unix.Mkdir(o.str(1), 0o755), unix.EEXIST); err != nil {
			return err
		}
		return except(bind(o.str(0), o.str(1), uint64(o.num(2))), unix.ENOENT)
	case "remount":
		return setAttr(o.str(0), uint64(o.num(1)), 0)
	case "pivot":
		return pivot(o.str(0))
	case "lo":
		return loopbackUp()
	case "sethostname":
		return unix.Sethostname([]byte(o.str(0)))
	case "umask":
		unix.Umask(o.num(0))
		return nil
	case "rlimit":
		return unix.Setrlimit(o.num(0), &unix.Rlimit{Cur: uint64(o.num(1)), Max: uint64(o.num(2))})
	case "setsid":
		_, err := unix.Setsid()
		return except(err, unix.EPERM)
	case "chdir":
		return unix.Chdir(o.str(0))
	case "pdeathsig":
		return unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(o.num(0)), 0, 0, 0)
	case "dumpable":
		return unix.Prctl(unix.PR_SET_DUMPABLE, uintptr(o.num(0)), 0, 0, 0)
	case "landlock":
		var paths []string
		for i := range o[1:] {
			paths = append(paths, o.str(i))
		}
		return landlock(paths)
	}
	switch o.Name() {
	case "attach", "folder", "mask", "freeze", "user", "caps":
		return x.root(o)
	}
	return x.identity(o)
}

// identity carries out the steps that change who the process is.
func (x *executor) identity(o Op) error {
	switch o.Name() {
	case "dropbounding":
		return dropBounding(o)
	case "setgroups":
		gids := make([]uint32, len(o))
		for i := range o[1:] {
			gids[i] = uint32(o.num(i))
		}
		return x.call(unix.SYS_SETGROUPS, uintptr(len(o)-1), uintptr(unsafe.Pointer(&gids[0])), 0)
	case "setgid":
		g := uintptr(o.num(0))
		return x.call(unix.SYS_SETRESGID, g, g, g)
	case "setuid":
		u := uintptr(o.num(0))
		return x.call(unix.SYS_SETRESUID, u, u, u)
	case "dropcaps":
		h := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		d := new([2]unix.CapUserData)
		return x.call(unix.SYS_CAPSET, uintptr(unsafe.Pointer(h)), uintptr(unsafe.Pointer(d)), 0)
	case "nonewprivs":
		return x.call(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0)
	case "seccomp":
		return x.seccomp(o.str(0))
	}
	return errors.New("unknown operation")
}

// call makes a system call in this thread, and in all where asked for.
//
//go:uintptrescapes
func (x *executor) call(nr, a, b, c uintptr) error {
	if x.everyThread {
		_, _, e := syscall.AllThreadsSyscall(nr, a, b, c)
		if e != syscall.ENOTSUP { // with cgo (the race detector's builds) there is only this thread's
			return errno(e)
		}
	}
	_, _, e := syscall.RawSyscall(nr, a, b, c)
	return errno(e)
}

func (x *executor) seccomp(text string) error {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	if len(raw) == 0 || len(raw)%8 != 0 {
		return fmt.Errorf("%d bytes are no filter", len(raw))
	}
	prog := &unix.SockFprog{Len: uint16(len(raw) / 8), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))}
	if x.everyThread {
		_, _, e := syscall.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(prog)))
		return errno(e)
	}
	_, _, e := syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(prog)))
	return errno(e)
}

// dropBounding removes every capability but those named from the bounding set,
// and the ambient ones.
func dropBounding(o Op) error {
	keep := map[int]bool{}
	for i := range o[1:] {
		keep[o.num(i)] = true
	}
	for n := 0; ; n++ {
		if keep[n] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0)
		if err == unix.EINVAL && n > 0 {
			break
		}
		if err != nil {
			return err
		}
	}
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}

func writeNew(path string, mode int, content string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, uint32(mode))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for b := []byte(content); len(b) > 0; {
		n, err := unix.Write(fd, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return unix.Fchmod(fd, uint32(mode))
}

func mknod(path string, mode, major, minor uint32) error {
	if err := unix.Mknod(path, unix.S_IFCHR|mode, int(unix.Mkdev(major, minor))); err != nil {
		return err
	}
	return unix.Chmod(path, mode)
}

func bind(source, target string, attrs uint64) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return setAttr(target, attrs, unix.AT_RECURSIVE)
}

// setAttr sets mount attributes; old kernels only can for a single mount.
func setAttr(path string, attrs uint64, flags uint) error {
	if attrs == 0 {
		return nil
	}
	err := unix.MountSetattr(unix.AT_FDCWD, path, flags, &unix.MountAttr{Attr_set: attrs})
	if err != unix.ENOSYS {
		return err
	}
	old := uintptr(unix.MS_REMOUNT | unix.MS_BIND)
	for _, m := range []struct {
		attr uint64
		flag uintptr
	}{{unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY}, {unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID}, {unix.MOUNT_ATTR_NODEV, unix.MS_NODEV}, {unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC}} {
		if attrs&m.attr != 0 {
			old |= m.flag
		}
	}
	return unix.Mount("", path, "", old, "")
}

func pivot(path string) error {
	if err := unix.Chdir(path); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// loopbackUp switches lo on by the oldest interface there is; netlink would
// pull more code into the way of every start.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

func except(err error, fine ...error) error {
	for _, f := range fine {
		if errors.Is(err, f) {
			return nil
		}
	}
	return err
}

func errno(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// lookPath finds a program the way a shell would, inside the box.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for d := range strings.SplitSeq(path, ":") {
		p := d + "/" + name
		if st, err := os.Stat(p); d != "" && err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", fmt.Errorf("no program %s in PATH %s", name, path)
}
