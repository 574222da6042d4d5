package build

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearth-run/hearth/core/blob"
)

// keepDeps is how long installed dependencies are kept after their last use.
const keepDeps = 30 * 24 * time.Hour

// entry is one line of the index: what a key stands for. The blobs are the
// truth: an entry whose artifact is gone means nothing.
type entry struct {
	Artifact string `json:"artifact"`
	Handler  string `json:"handler,omitempty"`
	Runtime  string `json:"runtime,omitempty"`
	Log      string `json:"log,omitempty"`
	Deps     bool   `json:"deps,omitempty"` // installed dependencies, no function's artifact
}

func (b *Builder) entryPath(key string) string {
	return filepath.Join(b.cfg.Cache, "index", key+".json")
}

// recall finds what key stands for, if its artifact is still there.
func (b *Builder) recall(ctx context.Context, key string) (entry, bool) {
	var e entry
	p := b.entryPath(key)
	data, err := os.ReadFile(p)
	if err != nil || json.Unmarshal(data, &e) != nil {
		return e, false
	}
	r, _, err := b.cfg.Blobs.Open(ctx, blob.Digest(e.Artifact))
	if err != nil {
		os.Remove(p)
		return e, false
	}
	r.Close()
	if e.Log != "" { // kept only as long as a function's status names it
		if r, _, err := b.cfg.Blobs.Open(ctx, blob.Digest(e.Log)); err == nil {
			r.Close()
		} else {
			e.Log = ""
		}
	}
	now := time.Now()
	os.Chtimes(p, now, now)
	return e, true
}

// remember is best effort: a lost entry costs a build.
func (b *Builder) remember(key string, e entry) {
	data, err := json.Marshal(e)
	if err == nil {
		tmp := b.entryPath(key) + ".part"
		if err = os.WriteFile(tmp, data, 0o600); err == nil {
			err = os.Rename(tmp, b.entryPath(key))
		}
	}
	if err != nil {
		b.cfg.Log.Warn("build index not written", "error", err)
	}
}

// Kept yields the digests of blobs this builder wants kept although no object
// names them: dependencies used in the last 30 days. It forgets entries that
// are older.
func (b *Builder) Kept(ctx context.Context) ([]string, error) {
	dir := filepath.Join(b.cfg.Cache, "index")
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var kept []string
	for _, f := range files {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		p := filepath.Join(dir, f.Name())
		var e entry
		info, err := f.Info()
		if err != nil {
			continue
		}
		if time.Since(info.ModTime()) > keepDeps {
			os.Remove(p)
			continue
		}
		if data, err := os.ReadFile(p); err == nil && json.Unmarshal(data, &e) == nil && e.Deps {
			kept = append(kept, e.Artifact)
		}
	}
	return kept, nil
}

// keyed is a lock per key, so that two builds do not install the same
// dependencies at once.
type keyed struct {
	mu sync.Mutex
	m  map[string]chan struct{}
}

func newKeyed() *keyed { return &keyed{m: map[string]chan struct{}{}} }

// lock waits for key and returns its unlock, or ctx.Err().
func (k *keyed) lock(ctx context.Context, key string) (func(), error) {
	for {
		k.mu.Lock()
		busy := k.m[key]
		if busy == nil {
			done := make(chan struct{})
			k.m[key] = done
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.m, key)
				k.mu.Unlock()
				close(done)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// removeAll removes a tree even where a build left folders without permissions.
func removeAll(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	os.RemoveAll(dir)
}
