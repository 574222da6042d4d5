package image

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// merger copies one layer over what those below it gave.
type merger struct {
	ctx       context.Context
	from, to  string
	opaque    map[string]bool
	whiteouts map[string][]string // by folder
	linked    map[uint64]string   // inode → its first copy
}

// mergeInto copies the layer in from over the tree in to, which nobody else
// writes. No symbolic link is followed: every folder on the way is made sure to
// be one before anything goes into it.
func mergeInto(ctx context.Context, from, to string, a about) error {
	m := &merger{ctx: ctx, from: from, to: to, opaque: map[string]bool{}, whiteouts: map[string][]string{}, linked: map[uint64]string{}}
	for _, name := range a.Opaque {
		m.opaque[name] = true
	}
	for _, name := range a.Whiteouts {
		dir := filepath.Dir(name)
		m.whiteouts[dir] = append(m.whiteouts[dir], filepath.Base(name))
	}
	return m.folder(".")
}

// folder copies a folder that is in the layer; in the tree it is one already,
// or made one.
func (m *merger) folder(name string) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	from, to := filepath.Join(m.from, name), filepath.Join(m.to, name)
	if st, err := os.Lstat(to); err == nil && !st.IsDir() {
		if err := os.Remove(to); err != nil {
			return err
		}
	}
	if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if os.Geteuid() != 0 { // one from below may have another mode
		if err := os.Chmod(to, 0o700); err != nil {
			return err
		}
	}
	if m.opaque[name] {
		old, err := os.ReadDir(to)
		if err != nil {
			return err
		}
		for _, e := range old {
			if err := removeAll(filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	}
	for _, base := range m.whiteouts[name] {
		if err := removeAll(filepath.Join(to, base)); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		sub := filepath.Join(name, e.Name())
		if e.IsDir() {
			err = m.folder(sub)
		} else {
			err = m.entry(sub)
		}
		if err != nil {
			return err
		}
	}
	return copyAttributes(from, to)
}

// entry copies what is no folder.
func (m *merger) entry(name string) error {
	from, to := filepath.Join(m.from, name), filepath.Join(m.to, name)
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return wrap("lstat", from, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR {
		return nil // a whiteout, done above
	}
	if err := removeAll(to); err != nil {
		return err
	}
	if first, ok := m.linked[st.Ino]; ok {
		return os.Link(first, to)
	}
	if st.Nlink > 1 {
		m.linked[st.Ino] = to
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if err := copyFile(from, to); err != nil {
			return err
		}
	case unix.S_IFLNK:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, to); err != nil {
			return err
		}
	case unix.S_IFIFO:
		if err := unix.Mkfifo(to, 0o600); err != nil {
			return wrap("mkfifo", to, err)
		}
	default:
		return nil
	}
	return copyAttributes(from, to)
}

// copyFile shares the blocks where the file system can.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		_, err = io.Copy(out, in)
	}
	return errors.Join(err, out.Close())
}

// copyAttributes gives to the owner, mode, times and attributes of from.
func copyAttributes(from, to string) error {
	st, err := os.Lstat(from)
	if err != nil {
		return err
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return wrap("lstat", from, unix.EINVAL)
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(to, int(sys.Uid), int(sys.Gid)); err != nil {
			return err
		}
	}
	if sys.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := copyXattrs(from, to); err != nil {
			return err
		}
		if err := unix.Chmod(to, sys.Mode&0o7777); err != nil {
			return wrap("chmod", to, err)
		}
	}
	t := []unix.Timespec{unix.NsecToTimespec(syscall.TimespecToNsec(sys.Atim)), unix.NsecToTimespec(syscall.TimespecToNsec(sys.Mtim))}
	return wrap("utimes", to, unix.UtimesNanoAt(unix.AT_FDCWD, to, t, unix.AT_SYMLINK_NOFOLLOW))
}

func copyXattrs(from, to string) error {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(from, buf)
	if err != nil || n == 0 {
		return nil // there are none, or the file system has none
	}
	value := make([]byte, maxValue)
	for name := range strings.SplitSeq(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		size, err := unix.Lgetxattr(from, name, value)
		if err != nil {
			return wrap("getxattr", from, err)
		}
		if err := unix.Lsetxattr(to, name, value[:size], 0); err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.ENOSPC) {
			return wrap("setxattr", to, err)
		}
	}
	return nil
}
