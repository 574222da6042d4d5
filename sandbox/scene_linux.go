package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// scene is a thread in a mount namespace of its own, in which the roots and
// volumes of boxes are put together. Nothing of it is seen on the host, and
// the kernel takes all of it away with the process.
type scene struct {
	do   chan func()
	done chan struct{}
}

// openScene starts the thread; its working folder is a small file system in
// memory, so that the names of mounts are short and plain.
func openScene(stage string) (*scene, error) {
	s := &scene{do: make(chan func()), done: make(chan struct{})}
	ready := make(chan error, 1)
	go s.run(stage, ready)
	if err := <-ready; err != nil {
		<-s.done
		return nil, fmt.Errorf("a mount namespace for roots: %w", err)
	}
	return s, nil
}

func (s *scene) run(stage string, ready chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if unix.Gettid() == unix.Getpid() {
		go s.run(stage, ready) // the first thread is taken meanwhile, so this is another
		<-s.done
		runtime.UnlockOSThread()
		return
	}
	defer close(s.done)
	err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
	if err == nil { // what the host unmounts is not kept here
		err = unix.Mount("none", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	}
	if err == nil {
		err = unix.Mount("hearth", stage, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700,size=4m")
	}
	if err == nil {
		err = unix.Chdir(stage)
	}
	for _, d := range []string{"private", "root"} {
		if err == nil {
			err = unix.Mkdir(d, 0o700)
		}
	}
	ready <- err
	if err != nil {
		return
	}
	for f := range s.do {
		f()
	}
}

// with runs f on the thread.
func (s *scene) with(f func() error) error { return s.then(func() {}, f) }

// then runs f on the thread, and after it after, which is not waited for.
func (s *scene) then(after func(), f func() error) error {
	result := make(chan error, 1)
	s.do <- func() {
		result <- f()
		after()
	}
	return <-result
}

func (s *scene) close() {
	close(s.do)
	<-s.done
}

// overlay returns an unattached overlay file system: top, a name of the scene
// if not empty, above layers, highest first, below private/upper, which prepare
// sees to. users is the descriptor of the user namespace whose ids
// the layers' files get; -1: they stay as they are.
func (s *scene) overlay(top string, layers []string, private string, users int, prepare func() error) (fd int, err error) {
	var undo []string
	after := func() { // nobody waits for it
		for _, at := range undo {
			unix.Unmount(at, unix.MNT_DETACH)
		}
	}
	err = s.then(after, func() error {
		if err := prepare(); err != nil {
			return err
		}
		data := "lowerdir=" + top
		for i, dir := range layers {
			at := "l" + strconv.Itoa(i)
			if err := except(unix.Mkdir(at, 0o700), unix.EEXIST); err != nil {
				return err
			}
			if err := place(dir, at, users, unix.MOUNT_ATTR_RDONLY); err != nil {
				return fmt.Errorf("layer %s: %w", dir, err)
			}
			undo = append(undo, at)
			if i > 0 || top != "" {
				data += ":"
			}
			data += at
		}
		if err := place(private, "private", -1, 0); err != nil {
			return fmt.Errorf("%s: %w", private, err)
		}
		undo = append(undo, "private")
		data += ",upperdir=private/upper,workdir=private/work,index=off,redirect_dir=nofollow"
		const flags = unix.MS_NOSUID | unix.MS_NODEV
		err := unix.Mount("overlay", "root", "overlay", flags, data+",volatile")
		if errors.Is(err, unix.EINVAL) { // before Linux 5.10
			err = unix.Mount("overlay", "root", "overlay", flags, data)
		}
		if err != nil {
			return fmt.Errorf("mount an overlay of %d layers: %w", len(layers), err)
		}
		undo = append(undo, "root")
		fd, err = unix.OpenTree(unix.AT_FDCWD, "root", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		return err
	})
	return fd, err
}

// place mounts a folder at a name of the thread's working folder.
func place(dir, at string, users int, attrs uint64) error {
	fd, err := cloneTree(unix.AT_FDCWD, dir, users, attrs)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// cloneTree returns an unattached mount of one folder or file.
func cloneTree(at int, path string, users int, attrs uint64) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(at, path, flags)
	if err != nil {
		return -1, err
	}
	m := &unix.MountAttr{Attr_set: attrs | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if users >= 0 {
		m.Attr_set |= unix.MOUNT_ATTR_IDMAP
		m.Userns_fd = uint64(users)
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, m); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// tree clones a folder of the host as an unattached mount.
func (s *scene) tree(dir string, users int, attrs uint64) (fd int, err error) {
	err = s.with(func() error {
		fd, err = cloneTree(unix.AT_FDCWD, dir, users, attrs)
		return err
	})
	return fd, err
}

// newTmpfs makes an unattached file system in memory; options are in pairs.
func newTmpfs(attrs int, options ...string) (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for i := 0; i < len(options); i += 2 {
		if options[i+1] == "" {
			unix.FsconfigSetFlag(fs, options[i]) // of newer kernels: nice to have
		} else if err := unix.FsconfigSetString(fs, options[i], options[i+1]); err != nil {
			return -1, err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
}

// folderOf makes a folder of a box's own, with an owner and exactly this mode.
func folderOf(owner int, mode os.FileMode, path ...string) error {
	dir := filepath.Join(path...)
	if err := os.Mkdir(dir, mode.Perm()); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Lchown(dir, owner, owner); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

// mountMemory makes a file system in memory for a writable layer.
func (s *scene) mountMemory(at string, size int64) error {
	return s.with(func() error {
		if err := unix.Mkdir(at, 0o700); err != nil {
			return err
		}
		return unix.Mount("hearth", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700,size="+strconv.FormatInt(size, 10))
	})
}

func (s *scene) dropMemory(at string) {
	s.with(func() error {
		unix.Unmount(at, unix.MNT_DETACH)
		return unix.Rmdir(at)
	})
}

// program opens a file by way of a read-only mount that is nowhere else.
func (s *scene) program(path string) (f *os.File, err error) {
	err = s.with(func() error {
		fd, err := cloneTree(unix.AT_FDCWD, path, -1, unix.MOUNT_ATTR_RDONLY)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(fd), path)
		return nil
	})
	return f, err
}

// tryOverlay mounts an overlay whose writable layer is below dir.
func (s *scene) tryOverlay(dir string) error {
	below := dir + "/trial-overlay"
	fd, err := s.overlay("", []string{below + "/lower"}, below, -1, func() error {
		for _, d := range []string{"", "/lower", "/upper", "/work"} {
			if err := os.Mkdir(below+d, 0o700); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		unix.Close(fd)
	}
	s.with(func() error { return os.RemoveAll(below) })
	return err
}
