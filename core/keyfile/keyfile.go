// Package keyfile reads the keys Hearth keeps for itself in its state folder:
// 32 random bytes in a file only its owner may read. Drivers that sign or seal
// share it; keys for others, such as TLS, are made elsewhere.
package keyfile

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hearth-run/hearth/api"
)

// Size is the length of a key in bytes.
const Size = 32

// Load returns the key in the file path. A missing file is made with a new
// random key and mode 0600; two processes that make it at once get the same
// key. A file that others may read or write, or that holds no key, is refused:
// it is never replaced, because what it protects would be lost.
func Load(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, api.Errorf(api.CodeDisk, "cannot make the key file %s: %w", path, err)
		}
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, api.Errorf(api.CodeDisk, "cannot read the key file: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, api.Errorf(api.CodeDisk, "cannot read the key file: %w", err)
	}
	if m := st.Mode().Perm(); m&0o077 != 0 {
		return nil, api.Errorf(api.CodeForbidden, "the key file %s has mode %04o: others than its owner can reach it", path, m).
			WithHint("chmod 600 %s; if others may have read it, remove it and let a new one be made", path)
	}
	if !st.Mode().IsRegular() || st.Size() != Size {
		return nil, damaged(path)
	}
	key := make([]byte, Size)
	if n, err := f.Read(key); err != nil || n != Size {
		return nil, damaged(path).WithCause(err)
	}
	return key, nil
}

func damaged(path string) *api.Error {
	return api.Errorf(api.CodeInvalid, "the key file %s is damaged: it does not hold %d bytes", path, Size).
		WithHint("put it back from a backup; if it is lost, remove it, and make again what it protected")
}

// create makes the file with its whole content or not at all: it is written
// under another name and linked, which fails when somebody else was first.
func create(path string) error {
	key := make([]byte, Size)
	rand.Read(key)
	dir := filepath.Dir(path)
	t, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(t.Name())
	_, err = t.Write(key)
	err = errors.Join(err, t.Sync(), t.Close())
	if err != nil {
		return err
	}
	if err := os.Link(t.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
