package image

import (
	"errors"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// supported says that images can be unpacked and run here.
const supported = true

func isErrno(err error) bool {
	var e syscall.Errno
	return errors.As(err, &e)
}

// mkwhiteout makes the device 0:0, which hides what is below. The kernel lets
// everybody make this one.
func mkwhiteout(dir *os.File, base string) error {
	return wrap("mknod", base, unix.Mknodat(int(dir.Fd()), base, unix.S_IFCHR|0o600, 0))
}

func mkfifo(dir *os.File, base string) error {
	return wrap("mkfifo", base, unix.Mknodat(int(dir.Fd()), base, unix.S_IFIFO|0o600, 0))
}

func markOpaque(f *os.File, user bool) error {
	name := "trusted.overlay.opaque"
	if user {
		name = "user.overlay.opaque"
	}
	return wrap("setxattr", f.Name(), unix.Fsetxattr(int(f.Fd()), name, []byte("y"), 0))
}

// setXattrs sets attributes. File systems that have none go without.
func setXattrs(f *os.File, all map[string]string) error {
	for name, value := range all {
		if len(name) > 255 || len(value) > maxValue {
			return unsafe("attribute %.40q of %q is too long", name, f.Name())
		}
		switch err := unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0); err {
		case nil, unix.ENOTSUP, unix.EPERM, unix.ENOSPC, unix.E2BIG, unix.ERANGE:
		default:
			return wrap("setxattr", f.Name(), err)
		}
	}
	return nil
}

// own gives an open folder its owner, mode and time.
func own(f *os.File, o *owner) error {
	fd := int(f.Fd())
	if os.Geteuid() == 0 {
		if err := unix.Fchown(fd, o.uid, o.gid); err != nil {
			return wrap("chown", f.Name(), err)
		}
	}
	if err := unix.Fchmod(fd, o.mode); err != nil {
		return wrap("chmod", f.Name(), err)
	}
	t := unix.NsecToTimeval(o.at.UnixNano())
	return wrap("utimes", f.Name(), unix.Futimes(fd, []unix.Timeval{t, t}))
}

// ownAt is own for what is no folder; a symbolic link is not followed.
func ownAt(dir *os.File, base string, o *owner, link bool) error {
	fd := int(dir.Fd())
	if os.Geteuid() == 0 && (o.uid != 0 || o.gid != os.Getegid()) {
		if err := unix.Fchownat(fd, base, o.uid, o.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return wrap("chown", base, err)
		}
	}
	if !link { // it was made just now
		if err := unix.Fchmodat(fd, base, o.mode, 0); err != nil {
			return wrap("chmod", base, err)
		}
	}
	t := unix.NsecToTimespec(o.at.UnixNano())
	return wrap("utimes", base, unix.UtimesNanoAt(fd, base, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW))
}

// bootID names this run of the kernel; empty where the host does not say.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// syncAll writes the file system of f to the disk.
func syncAll(f *os.File) error { return wrap("syncfs", f.Name(), unix.Syncfs(int(f.Fd()))) }

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}
