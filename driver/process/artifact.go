package process

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
)

// artifacts unpacks built trees once per digest, into folders that boxes bind
// read-only. The folder of a digest exists only when it is complete: it is
// filled under another name and renamed.
type artifacts struct {
	dir   string
	blobs blob.Store

	mu   sync.Mutex
	busy map[string]*unpacking
}

type unpacking struct {
	done chan struct{}
	err  error
}

func openArtifacts(dir string, blobs blob.Store) (*artifacts, error) {
	// 0700 keeps the trees of all tenants from every unprivileged user; a box
	// sees its own through a bind, which needs no access to this folder.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, api.Errorf(api.CodeDisk, "make the artifact folder: %w", err)
	}
	stale, _ := filepath.Glob(filepath.Join(dir, "*.part*"))
	for _, p := range stale {
		os.RemoveAll(p)
	}
	return &artifacts{dir: dir, blobs: blobs, busy: map[string]*unpacking{}}, nil
}

func (a *artifacts) path(digest string) string {
	return filepath.Join(a.dir, strings.TrimPrefix(digest, "sha256:"))
}

// get returns the folder of digest, unpacking it first if need be. Several
// callers of one digest share the work.
func (a *artifacts) get(ctx context.Context, digest string) (string, error) {
	if !api.CheckDigest(digest) {
		return "", api.Errorf(api.CodeInvalid, "%q is not an artifact's digest", digest)
	}
	dir := a.path(digest)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	a.mu.Lock()
	u := a.busy[digest]
	if u == nil {
		u = &unpacking{done: make(chan struct{})}
		a.busy[digest] = u
		go func() {
			// Not the caller's context: others may wait for the same tree.
			u.err = a.unpack(context.WithoutCancel(ctx), digest, dir)
			a.mu.Lock()
			delete(a.busy, digest)
			a.mu.Unlock()
			close(u.done)
		}()
	}
	a.mu.Unlock()
	select {
	case <-u.done:
		return dir, u.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (a *artifacts) forget(digest string) error {
	if !api.CheckDigest(digest) {
		return nil
	}
	return os.RemoveAll(a.path(digest))
}

func (a *artifacts) unpack(ctx context.Context, digest, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	r, _, err := a.blobs.Open(ctx, blob.Digest(digest))
	if err != nil {
		return err
	}
	defer r.Close()
	part, err := os.MkdirTemp(a.dir, filepath.Base(dir)+".part")
	if err != nil {
		return api.Errorf(api.CodeDisk, "unpack artifact: %w", err)
	}
	defer os.RemoveAll(part)
	if err := untar(r, part); err != nil {
		return api.Errorf(api.CodeDisk, "unpack artifact %s: %w", digest, err)
	}
	if err := os.Chmod(part, 0o755); err != nil {
		return api.Errorf(api.CodeDisk, "unpack artifact: %w", err)
	}
	if err := os.Rename(part, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return api.Errorf(api.CodeDisk, "unpack artifact: %w", err)
	}
	return nil
}

// untar writes a tar made by the build into dir. The build only makes clean
// trees; os.Root holds even a damaged one inside dir.
func untar(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, r) // to the end, so that the digest is checked
			return err
		}
		if err != nil {
			return err
		}
		if err := writeEntry(root, h, tr); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func writeEntry(root *os.Root, h *tar.Header, r io.Reader) error {
	name := filepath.Clean(strings.TrimSuffix(h.Name, "/"))
	if name == "." {
		return nil
	}
	if h.Typeflag == tar.TypeDir {
		return mkdirAll(root, name)
	}
	if err := mkdirAll(root, filepath.Dir(name)); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeReg:
		// Readable by all: the instance's user is not the owner.
		mode := fs.FileMode(0o644) | fs.FileMode(h.Mode)&0o111
		f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, r); err != nil {
			f.Close()
			return err
		}
		if err := f.Chmod(mode); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	default:
		return fmt.Errorf("entry of type %q is not expected in an artifact", h.Typeflag)
	}
}

func mkdirAll(root *os.Root, name string) error {
	if name == "." {
		return nil
	}
	if err := root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	return root.Chmod(name, 0o755)
}
