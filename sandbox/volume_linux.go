package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Volume is a folder the boxes of a Shared can have in common.
type Volume struct {
	s      *Shared
	path   string // on disk; or a name in the scene
	memory bool
	files  bool
}

// Volume makes a volume; it ends with s.
func (s *Shared) Volume(c VolumeConfig) (*Volume, error) {
	s.mu.Lock()
	s.serial++
	n := s.serial
	if s.closed {
		s.mu.Unlock()
		return nil, api.Errorf(api.CodeNotFound, "%s has ended", s.name)
	}
	s.mu.Unlock()
	v := &Volume{s: s, memory: c.Memory || c.Files != nil, files: c.Files != nil}
	var err error
	if v.memory {
		v.path = fmt.Sprintf("v%d-%d", s.slot, n)
		err = v.inMemory(c)
	} else {
		v.path = filepath.Join(s.dir(), "volume-"+strconv.Itoa(n))
		if err = os.MkdirAll(s.dir(), 0o700); err == nil {
			err = folderOf(s.base, 0o777, v.path)
		}
	}
	if err != nil {
		return nil, api.Errorf(api.CodeStartFailed, "make a volume of %s: %v", s.name, err).WithCause(err)
	}
	s.mu.Lock()
	s.volumes = append(s.volumes, v)
	s.mu.Unlock()
	return v, nil
}

func (v *Volume) inMemory(c VolumeConfig) error {
	options := []string{"mode", "0777", "noswap", ""}
	if v.files {
		options[1] = "0755"
	}
	if c.Size > 0 {
		options = append(options, "size", strconv.FormatInt(c.Size, 10))
	}
	fd, err := newTmpfs(unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, options...)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchownat(fd, ".", v.s.base, v.s.base, 0); err != nil {
		return err
	}
	for _, f := range c.Files {
		if err := v.put(fd, f); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	return v.s.h.roots.scene.with(func() error {
		if err := unix.Mkdir(v.path, 0o700); err != nil {
			return err
		}
		return unix.MoveMount(fd, "", unix.AT_FDCWD, v.path, unix.MOVE_MOUNT_F_EMPTY_PATH)
	})
}

// Replace puts files into a volume made of files: each takes the place of what
// is at its path at once, so that who reads finds the one or the other. What a
// box shows by SubPath stays.
func (v *Volume) Replace(files []engine.VolumeFile) error {
	if !v.files {
		return api.Errorf(api.CodeInvalid, "the volume is not made of files")
	}
	return v.s.h.roots.scene.with(func() error {
		tree, err := unix.Open(v.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return api.Errorf(api.CodeNotFound, "the volume has ended").WithCause(err)
		}
		defer unix.Close(tree)
		for _, f := range files {
			if err := v.put(tree, f); err != nil {
				return fmt.Errorf("file %s: %w", f.Path, err)
			}
		}
		return nil
	})
}

// put writes a file below a tree. Boxes cannot write to it, so that no link of
// theirs is on the way.
func (v *Volume) put(tree int, f engine.VolumeFile) error {
	name := path.Clean(f.Path)
	if name == "." || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
		return fmt.Errorf("the path must be relative and inside the volume")
	}
	owner, mode := v.s.base, f.Mode&0o777
	if f.Mode == 0 {
		mode = 0o644
	}
	for i := range len(name) {
		if name[i] == '/' {
			if err := unix.Mkdirat(tree, name[:i], 0o755); err == nil {
				err = unix.Fchownat(tree, name[:i], owner, owner, 0)
				if err != nil {
					return err
				}
			} else if err != unix.EEXIST {
				return err
			}
		}
	}
	draft := path.Join(path.Dir(name), ".draft")
	fd, err := unix.Openat(tree, draft, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	w := os.NewFile(uintptr(fd), name)
	_, err = w.Write(f.Data)
	if err = errors.Join(err, w.Chown(owner, owner), w.Chmod(os.FileMode(mode)), w.Close()); err != nil {
		return err
	}
	return unix.Renameat(tree, draft, tree, name)
}

// tree returns an unattached mount of the volume, or of what lies at sub. No
// link is followed on the way: boxes may write to the volume meanwhile.
func (v *Volume) tree(sub string, writable bool) (fd int, err error) {
	attrs := uint64(0)
	if !writable || v.files {
		attrs = unix.MOUNT_ATTR_RDONLY
	}
	err = v.s.h.roots.scene.with(func() error {
		at, err := unix.Open(v.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { unix.Close(at) }()
		for part := range strings.SplitSeq(path.Clean("/"+sub), "/") {
			if part == "" {
				continue
			}
			how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
			next, err := unix.Openat2(at, part, how)
			if err == unix.ENOENT && !v.files {
				if err = unix.Mkdirat(at, part, 0o777); err == nil {
					unix.Fchownat(at, part, v.s.base, v.s.base, unix.AT_SYMLINK_NOFOLLOW)
					unix.Fchmodat(at, part, 0o777, 0) // whatever our umask is
					next, err = unix.Openat2(at, part, how)
				}
			}
			if err != nil {
				return fmt.Errorf("subPath %s: %w", sub, err)
			}
			unix.Close(at)
			at = next
		}
		fd, err = cloneTree(at, "", -1, attrs)
		return err
	})
	return fd, err
}

// Used is how many bytes a volume on disk takes; 0 for one in memory.
func (v *Volume) Used() int64 {
	if v.memory {
		return 0
	}
	return used(v.path)
}

func (v *Volume) release() {
	if v.memory {
		v.s.h.roots.scene.with(func() error {
			unix.Unmount(v.path, unix.MNT_DETACH)
			return unix.Rmdir(v.path)
		})
	}
}

// used sums up the blocks of a tree; what vanishes meanwhile does not count.
func used(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if i, err := e.Info(); err == nil {
			if st, ok := i.Sys().(*syscall.Stat_t); ok {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	return n
}
