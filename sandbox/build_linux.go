package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
)

// built is a root that was put together outside, as unattached mounts, and the
// plan that makes it the box's.
type built struct {
	plan Plan
	fds  []int
}

func (r *built) close() {
	for _, fd := range r.fds {
		unix.Close(fd)
	}
	r.fds = nil
}

// pass adds a descriptor the plan may name by its index.
func (r *built) pass(fd int) int {
	r.fds = append(r.fds, fd)
	return len(r.fds) - 1
}

// rangeMaps are the ids of a box with a root: the range of its Shared, of which
// the last is lent to a number asked for that lies outside.
func (s *Shared) rangeMaps(asked *int64) []syscall.SysProcIDMap {
	if asked != nil && *asked >= rangeSize {
		return []syscall.SysProcIDMap{{ContainerID: 0, HostID: s.base, Size: rangeSize - 1}, {ContainerID: int(*asked), HostID: s.base + rangeSize - 1, Size: 1}}
	}
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: s.base, Size: rangeSize}}
}

// build puts together the root of a box whose first process exists.
func (b *Box) build(c Config) (out *built, err error) {
	s, r := b.shared, b.h.roots
	caps, err := capabilities(c.Root.AddCaps, c.Root.DropCaps)
	if err != nil {
		return nil, err
	}
	out = &built{}
	defer func() {
		if err != nil {
			out.close()
			var known *api.Error
			if !errors.As(err, &known) {
				err = api.Errorf(api.CodeStartFailed, "cannot make the root of %s: %v", b.id, err).WithCause(err)
			}
		}
	}()
	users := -1
	if r.users {
		if users, err = b.namespace("user"); err != nil {
			return out, err
		}
		defer unix.Close(users)
	}
	if b.ahead == nil {
		if err := b.prepareRoot(out); err != nil {
			return out, err
		}
	}
	root, err := b.rootTree(c.Root, users)
	if err != nil {
		return out, err
	}
	mounts := rootMounts{root: out.pass(root), sys: b.ahead.sys}
	if c.Root.ReadOnly {
		tmp := filepath.Join(b.private, "tmp")
		if err := folderOf(s.base, os.ModeSticky|0o777, tmp); err != nil {
			return out, err
		}
		fd, err := r.scene.tree(tmp, -1, 0)
		if err != nil {
			return out, err
		}
		mounts.volumes = append(mounts.volumes, volumeAt{out.pass(fd), "/tmp"})
	}
	for _, m := range c.Root.Mounts {
		fd, err := m.Volume.tree(m.SubPath, m.Write)
		if err != nil {
			return out, fmt.Errorf("mount %s: %w", m.Path, err)
		}
		mounts.volumes = append(mounts.volumes, volumeAt{out.pass(fd), filepath.Clean(m.Path)})
	}
	out.plan = append(out.plan, b.h.layout.rooted(b, c, mounts, caps)...)
	return out, nil
}

// ahead is what of a root does not depend on whose it is.
type ahead struct {
	sys      bool // the stage has a /sys
	writable bool // the writable layer's folders exist
}

// prepareRoot makes the box's folder and adds the steps of the stage to out.
func (b *Box) prepareRoot(out *built) error {
	s, r := b.shared, b.h.roots
	b.private = s.dir() + "-" + b.id
	if err := os.Mkdir(b.private, 0o700); err != nil {
		return err
	}
	a := &ahead{}
	b.ahead = a
	dev, err := devices(s.base)
	if err != nil {
		return fmt.Errorf("/dev: %w", err)
	}
	devAt, sysAt := out.pass(dev), -1
	if sys, err := s.system(); err == nil {
		a.sys, sysAt = true, out.pass(sys)
	}
	out.plan = append(out.plan, b.h.layout.staged(b, devAt, sysAt)...)
	if r.overlay && !r.memory {
		a.writable = true
		return writableLayer(s.base, b.private)
	}
	return nil
}

// writableLayer makes what an overlay needs for its writable layer below dir.
func writableLayer(owner int, dir string) error {
	if err := folderOf(owner, 0o755, dir, "upper"); err != nil {
		return err
	}
	return folderOf(0, 0o700, dir, "work")
}

// rootTree makes the box's root as an unattached mount.
func (b *Box) rootTree(r *Root, users int) (int, error) {
	s, h := b.shared, b.h
	if r.Dir != "" {
		f := s.furniture()
		if users >= 0 {
			f.owner = 0 // its files keep the image's numbers; the mount maps them
		}
		if err := f.place(r.Dir); err != nil {
			return -1, err
		}
		return h.roots.scene.tree(r.Dir, users, 0)
	}
	if h.roots.memory {
		b.memory = "p" + strconv.Itoa(s.slot) + "-" + b.id
		size := b.limits.DiskBytes
		if size <= 0 {
			size = defaultDisk
		}
		if err := h.roots.scene.mountMemory(b.memory, size); err != nil {
			return -1, err
		}
	}
	return h.roots.scene.overlay(s.layer, r.Layers, b.writable(), users, func() error {
		if b.ahead.writable {
			return nil
		}
		return writableLayer(s.base, b.writable())
	})
}

// writable is where the box's writable layer lies, as the scene sees it.
func (b *Box) writable() string {
	if b.memory != "" {
		return b.memory
	}
	return b.private
}

// system makes an unattached, read-only /sys of the network.
func (s *Shared) system() (int, error) {
	const attrs = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	make := func() (int, error) {
		fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return -1, err
		}
		defer unix.Close(fs)
		if err := unix.FsconfigCreate(fs); err != nil {
			return -1, err
		}
		return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	}
	if s.ns < 0 {
		return make()
	}
	return inNamespace(s.ns, make)
}

// devices makes an unattached /dev with the devices every container has.
func devices(owner int) (int, error) {
	fd, err := newTmpfs(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "mode", "0755", "size", "64k")
	if err != nil {
		return -1, err
	}
	fill := func() error {
		for _, d := range []struct {
			name         string
			major, minor uint32
		}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
			if err := unix.Mknodat(fd, d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
				return err
			}
			if err := unix.Fchmodat(fd, d.name, 0o666, 0); err != nil {
				return err
			}
		}
		for _, d := range []string{"pts", "shm", "mqueue"} {
			if err := unix.Mkdirat(fd, d, 0o755); err != nil {
				return err
			}
		}
		for _, l := range [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
			{"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"}} {
			if err := unix.Symlinkat(l[0], fd, l[1]); err != nil {
				return err
			}
		}
		return unix.Fchownat(fd, ".", owner, owner, 0)
	}
	if err := fill(); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
