// Package durable is what stores that keep files of their own share: names that
// are on the disk when a call returns, and telling the disk's errors from others.
// What an error means to a user is said by the store.
package durable

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hearth-run/hearth/api"
)

// SyncFolder puts the names in the folder dir on the disk: what was made in it,
// renamed or removed stays so when the machine goes down. The content of the
// files is synced by who writes them.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Mkdir makes the folder dir with mode 0700 and puts its name on the disk. A
// folder that is there is no error; its name is put there too, as who made it may
// not have come to that.
func Mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncFolder(filepath.Dir(dir))
}

// Rename gives the file from, whose content is on the disk, its last name. The
// folder it leaves is not synced: after a crash it may be there as well.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(to))
}

// Refused reports whether err is the disk's, and then whether it is because no
// space is left. Otherwise err is nil, an *api.Error or the end of a context,
// and meant for the caller as it is.
func Refused(err error) (refused, full bool) {
	var own *api.Error
	if err == nil || errors.As(err, &own) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false, false
	}
	return true, errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
