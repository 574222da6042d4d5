package sandbox

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// slots are what a running box can be given where folders cannot be mounted into
// it from outside (hearth is not root, or the kernel is older than 5.12): folders
// of the host, bound when the box started, that files are linked or copied into.
type slots struct {
	dirs map[string]string // /code → folder on the host
}

// slotRoots are the folders that hold all slots: on disk, and in memory for
// what must not get to a disk.
func (h *Host) slotRoots() (disk, memory string) {
	disk = filepath.Join(h.state, "slots")
	if st, err := os.Stat("/dev/shm"); err != nil || !st.IsDir() {
		return disk, disk
	}
	return disk, filepath.Join("/dev/shm", h.name())
}

func (h *Host) slotted() bool { return h.allows.mounts && (!h.allows.root || !h.allows.newMount) }

func (h *Host) makeSlots(c Config) (*slots, error) {
	if !h.slotted() {
		return nil, nil
	}
	s := &slots{dirs: map[string]string{}}
	disk, memory := h.slotRoots()
	if err := os.MkdirAll(memory, 0o700); err != nil {
		return s, err
	}
	for _, f := range Folders() {
		root := disk
		if f == "/secrets" || f == "/configs" {
			root = memory
		}
		bound := f == "/code" && c.WriteDir != ""
		for _, b := range c.Binds {
			bound = bound || filepath.Clean(b.Target) == f || strings.HasPrefix(b.Target, f+"/")
		}
		if bound {
			continue
		}
		s.dirs[f] = filepath.Join(root, c.ID, filepath.Base(f))
		if err := os.MkdirAll(s.dirs[f], 0o755); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *slots) remove() {
	if s == nil {
		return
	}
	for _, d := range s.dirs {
		os.RemoveAll(filepath.Dir(d))
	}
}

// sweepSlots removes all slots: none is in use when a host opens or has closed.
func (h *Host) sweepSlots() {
	disk, memory := h.slotRoots()
	os.RemoveAll(disk)
	os.RemoveAll(memory)
}

// place finds the host's folder for a path inside.
func (s *slots) place(path string) (string, error) {
	path = filepath.Clean(path)
	if s != nil {
		for f, d := range s.dirs {
			if path == f || strings.HasPrefix(path, f+"/") {
				return filepath.Join(d, strings.TrimPrefix(path, f)), nil
			}
		}
	}
	return "", api.Errorf(api.CodeUnsupported, "this host cannot show anything new at %s of a running box", path).WithHint("run hearth as root on Linux 5.12 or newer")
}

// attach links or copies a tree to where the box sees it.
func (s *slots) attach(source, target string, write bool) error {
	to, err := s.place(target)
	if err != nil {
		return err
	}
	if write {
		return api.Errorf(api.CodeUnsupported, "this host cannot show a writable folder in a running box").WithHint("run hearth as root on Linux 5.12 or newer")
	}
	if real, err := filepath.EvalSymlinks(source); err == nil {
		source = real
	}
	return filepath.WalkDir(source, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(source, path)
		at := filepath.Join(to, rel)
		switch {
		case e.IsDir():
			return os.MkdirAll(at, 0o755)
		case e.Type()&fs.ModeSymlink != 0:
			dest, err := os.Readlink(path)
			if err != nil {
				return err
			}
			os.Remove(at)
			return os.Symlink(dest, at)
		case !e.Type().IsRegular():
			return nil
		}
		os.Remove(at)
		if os.Link(path, at) == nil {
			return nil
		}
		return copyFile(path, at)
	})
}

func (s *slots) attachFiles(files []engine.File, uid, gid int) error {
	for _, f := range files {
		at, err := s.place(f.Path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		os.Remove(at)
		if err := os.WriteFile(at, f.Data, 0o400); err != nil {
			return err
		}
		if err := os.Lchown(at, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, st.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
