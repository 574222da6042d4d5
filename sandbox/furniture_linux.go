package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// furniture is what every root gets, whatever its image has there: the folders
// file systems are mounted on, a /tmp for everyone, and the files of /etc that
// say where the box is. It is a layer of its own above the image's, so nothing
// the image has (a link at /etc, say) is ever followed, and in memory, because
// making folders is what disks are slowest at.
type furniture struct {
	host    string // host name
	address string // own address besides loopback; empty: none
	resolv  string // file to copy
	names   string // what is in resolv.conf instead; empty: the copy
	owner   int
}

// furniture is what the roots of s get.
func (s *Shared) furniture() furniture {
	f := furniture{host: s.name, owner: s.base, resolv: s.h.layout.resolv}
	if s.link != nil {
		_, ip := s.link.addresses()
		f.address = ip.String()
		f.names = s.link.n.resolvConf(s.owner())
	} else if s.ns < 0 || s.h.net == nil {
		f.resolv = "/etc/resolv.conf"
	}
	return f
}

// furnish makes the layer of furniture for all boxes of s.
func (s *Shared) furnish() error {
	fd, err := newTmpfs(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "0755", "size", "256k")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchownat(fd, ".", s.base, s.base, 0); err != nil {
		return err
	}
	if err := s.furniture().place("/proc/self/fd/" + strconv.Itoa(fd)); err != nil {
		return err
	}
	name := "f" + strconv.Itoa(s.slot)
	err = s.h.roots.scene.with(func() error {
		if err := unix.Mkdir(name, 0o700); err != nil {
			return err
		}
		return unix.MoveMount(fd, "", unix.AT_FDCWD, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
	})
	if err == nil {
		s.layer = name
	}
	return err
}

// place writes the furniture below dir.
func (f furniture) place(dir string) error {
	var st unix.Stat_t
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{{"proc", 0o555}, {"sys", 0o555}, {"dev", 0o755}, {"etc", 0o755}, {"tmp", os.ModeSticky | 0o777}} {
		at := filepath.Join(dir, d.name)
		if unix.Lstat(at, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err := os.Remove(at); err != nil {
				return err
			}
		}
		if err := folderOf(f.owner, d.mode, at); err != nil {
			return err
		}
	}
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	if f.address == "" {
		hosts += "127.0.1.1\t" + f.host + "\n"
	} else {
		hosts += f.address + "\t" + f.host + "\n"
	}
	resolv := f.names
	if resolv == "" {
		var err error
		if resolv, err = head(f.resolv, 64<<10); err != nil {
			return fmt.Errorf("the host's %s: %w", f.resolv, err)
		}
	}
	for name, text := range map[string]string{"hosts": hosts, "hostname": f.host + "\n", "resolv.conf": resolv} {
		if err := f.write(filepath.Join(dir, "etc", name), text); err != nil {
			return err
		}
	}
	mtab := filepath.Join(dir, "etc", "mtab")
	if err := remove(mtab); err != nil {
		return err
	}
	if err := os.Symlink("/proc/mounts", mtab); err != nil {
		return err
	}
	return os.Lchown(mtab, f.owner, f.owner)
}

func (f furniture) write(path, text string) error {
	if err := remove(path); err != nil {
		return err
	}
	w, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return errors.Join(err, w.Chmod(0o644), w.Chown(f.owner, f.owner), w.Close())
}

// remove takes away a file of any kind, or a folder; one not there is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return os.RemoveAll(path)
	}
	return nil
}

// head reads the beginning of a regular file; one that does not exist is empty.
// A file that would block is no regular one.
func head(path string, most int64) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return "", fmt.Errorf("%s is no regular file", path)
	}
	buf := make([]byte, min(most, st.Size+512)) // one of /proc has no size
	n := 0
	for n < len(buf) {
		k, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", err
		}
		if k == 0 {
			break
		}
		n += k
	}
	return string(buf[:n]), nil
}
