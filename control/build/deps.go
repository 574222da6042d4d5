package build

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
)

// withDeps puts the folder of installed dependencies into the source: from the
// blob store when the same ones were installed before, else by install, which
// leaves it there. id is all that decides what gets installed. Tenants do not
// share: an install script of one must not write what another runs.
func (j *job) withDeps(ctx context.Context, id []any, folder string, install func() error) error {
	key, err := digestOf(append(id, j.tenant())...)
	if err != nil {
		return err
	}
	unlock, err := j.b.deps.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	dst := filepath.Join(j.src(), folder)
	if e, ok := j.b.recall(ctx, key); ok {
		if err := j.restore(ctx, e.Artifact, dst); err == nil {
			j.log.say("dependencies are the same as before; nothing is installed")
			return nil
		}
		removeAll(dst) // the blob is damaged or gone: install anew
	}
	if err := install(); err != nil {
		return err
	}
	if info, err := os.Lstat(dst); err != nil || !info.IsDir() {
		return nil // nothing to install after all
	}
	digest, err := j.keep(ctx, dst)
	if err != nil {
		if api.IsCode(err, api.CodeUnsafeArchive) {
			return nil // links out of the folder, into the source: not for others
		}
		return err
	}
	j.b.remember(key, entry{Artifact: digest, Deps: true})
	return nil
}

// restore unpacks a tar of our own into dst.
func (j *job) restore(ctx context.Context, digest, dst string) error {
	r, _, err := j.b.cfg.Blobs.Open(ctx, blob.Digest(digest))
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	t, err := newTree(dst, j.b.cfg.Limits)
	if err != nil {
		return err
	}
	defer t.root.Close()
	t.mixed = true // installed packages may have names that differ in case only
	if err := untar(ctx, r, t); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r) // to the end, so that the digest is checked
	return err
}
