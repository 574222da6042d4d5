package image

import (
	"archive/tar"
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

// attributesOf sets the extended attributes that are kept. File systems that
// have none go without.
func attributesOf(f *os.File, records map[string]string) error {
	for key, value := range records {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
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
func own(f *os.File, e *tar.Header) error {
	fd := int(f.Fd())
	if os.Geteuid() == 0 {
		if err := unix.Fchown(fd, e.Uid, e.Gid); err != nil {
			return wrap("chown", f.Name(), err)
		}
	}
	if err := unix.Fchmod(fd, modeOf(e)); err != nil {
		return wrap("chmod", f.Name(), err)
	}
	t := unix.NsecToTimeval(when(e).UnixNano())
	return wrap("utimes", f.Name(), unix.Futimes(fd, []unix.Timeval{t, t}))
}

// ownAt is own for what is no folder; a symbolic link is not followed.
func ownAt(dir *os.File, base string, e *tar.Header) error {
	fd := int(dir.Fd())
	if os.Geteuid() == 0 {
		if err := unix.Fchownat(fd, base, e.Uid, e.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return wrap("chown", base, err)
		}
	}
	if e.Typeflag != tar.TypeSymlink { // made here just now, and no link
		if err := unix.Fchmodat(fd, base, modeOf(e), 0); err != nil {
			return wrap("chmod", base, err)
		}
	}
	t := unix.NsecToTimespec(when(e).UnixNano())
	return wrap("utimes", base, unix.UtimesNanoAt(fd, base, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW))
}

// modeOf is an entry's mode. Who is not root must be able to read and remove
// what others own in the image and he owns here.
func modeOf(e *tar.Header) uint32 {
	m := uint32(e.Mode) & 0o7777
	if os.Geteuid() != 0 {
		m |= 0o400
		if e.Typeflag == tar.TypeDir {
			m |= 0o700
		}
	}
	return m
}

// syncAll writes the file system of dir to the disk.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(wrap("syncfs", dir, unix.Syncfs(int(f.Fd()))), f.Close())
}

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}
