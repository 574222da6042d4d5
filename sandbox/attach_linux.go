package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Attach shows a folder of the host inside the running box, at one of
// Folders() or a folder that was bound there. The box's user has to be able to
// read it; where the folder itself lies does not matter. Attaching again covers
// what was there. Where hearth is not root the tree is linked or
// copied to the box instead, and cannot be writable.
func (b *Box) Attach(source, target string, write bool) error {
	if err := attachable(target); err != nil {
		return err
	}
	if !b.mountable() {
		if b.isEnded() {
			return api.Errorf(api.CodeNotFound, "box %s has ended", b.id)
		}
		return b.slots.attach(source, target, write)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("attach %s: %w", source, err)
	}
	defer unix.Close(tree)
	attrs := uint64(readOnly)
	if write {
		attrs = readWrite
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attrs, Propagation: unix.MS_PRIVATE}); err != nil {
		return fmt.Errorf("attach %s: %w", source, err)
	}
	return b.moveIn(map[string]int{target: tree})
}

// AttachFiles shows files inside the running box that are in memory only and
// that only the box's user can read. Each path lies below one of Folders();
// what was attached to the same folder before is covered.
func (b *Box) AttachFiles(files []engine.File) error {
	if len(files) == 0 {
		return nil
	}
	for _, f := range files {
		path := filepath.Clean(f.Path)
		if !slices.ContainsFunc(Folders(), func(d string) bool { return strings.HasPrefix(path, d+"/") }) {
			return api.Errorf(api.CodeInvalid, "file %q is not below %s", f.Path, strings.Join(Folders(), ", "))
		}
	}
	if !b.mountable() {
		return b.slots.attachFiles(files, b.uid, b.gid)
	}
	trees := map[string]int{}
	defer func() {
		for _, fd := range trees {
			unix.Close(fd)
		}
	}()
	for _, f := range files {
		path := filepath.Clean(f.Path)
		top := "/" + strings.SplitN(path, "/", 3)[1]
		if _, ok := trees[top]; !ok {
			fd, err := memoryTree()
			if err != nil {
				return fmt.Errorf("files in memory: %w", err)
			}
			trees[top] = fd
		}
		if err := b.put(trees[top], strings.TrimPrefix(path, top+"/"), f.Data); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	for _, fd := range trees {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: readOnly | unix.MOUNT_ATTR_NOEXEC}); err != nil {
			return fmt.Errorf("files in memory: %w", err)
		}
	}
	return b.moveIn(trees)
}

// memoryTree makes a file system in memory that is mounted nowhere yet.
func memoryTree() (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	unix.FsconfigSetFlag(fs, "noswap") // Linux 6.4; secrets stay out of swap where it can be said
	if err := unix.FsconfigSetString(fs, "mode", "0755"); err != nil {
		return -1, err
	}
	if err := unix.FsconfigSetString(fs, "size", "16m"); err != nil {
		return -1, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
}

// put writes a file of the box's user below an unattached tree.
func (b *Box) put(tree int, path string, data []byte) error {
	dir, name := filepath.Split(path)
	at, err := unix.Openat(tree, ".", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { unix.Close(at) }()
	for _, part := range strings.Split(strings.Trim(dir, "/"), "/") {
		if part == "" {
			continue
		}
		if err := except(unix.Mkdirat(at, part, 0o755), unix.EEXIST); err != nil {
			return err
		}
		next, err := unix.Openat(at, part, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		unix.Close(at)
		at = next
	}
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o400)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), path)
	_, err = f.Write(data)
	return errors.Join(err, f.Chown(b.uid, b.gid), f.Close())
}

// mountable tells whether mounts can be moved into the box from outside; a
// user namespace cannot be entered by a process of many threads.
func (b *Box) mountable() bool { return b.h.allows.newMount && b.h.allows.mounts && b.h.allows.root }

func attachable(target string) error {
	t := filepath.Clean(target)
	for _, d := range Folders() {
		if t == d || strings.HasPrefix(t, d+"/") {
			return nil
		}
	}
	return api.Errorf(api.CodeInvalid, "nothing can be attached at %s: only at %s", target, strings.Join(Folders(), ", "))
}

// moveIn mounts unattached trees inside the box. A thread that enters another
// mount namespace has to let go of the working folder it shares with the
// others, so it cannot go back; it is thrown away.
func (b *Box) moveIn(trees map[string]int) error {
	ns, err := b.namespace("mnt")
	if err != nil {
		return err
	}
	defer unix.Close(ns)
	aside(func() (clean bool) {
		if err = unix.Unshare(unix.CLONE_FS); err != nil {
			return false
		}
		if err = unix.Setns(ns, unix.CLONE_NEWNS); err != nil {
			return false
		}
		for target, fd := range trees {
			if err = unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
				err = fmt.Errorf("%s: %w", target, err)
				return false
			}
		}
		return false
	})
	if err != nil {
		return api.Errorf(api.CodeStartFailed, "cannot attach to box %s: %v", b.id, err).WithCause(err)
	}
	return nil
}

// namespace opens a namespace of the box's first process. Holding the lock
// keeps the process from being reaped, so its number cannot be another's.
func (b *Box) namespace(kind string) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return -1, api.Errorf(api.CodeNotFound, "box %s has ended", b.id)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", b.pid, kind), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, api.Errorf(api.CodeNotFound, "box %s has ended", b.id).WithCause(err)
	}
	return fd, nil
}
