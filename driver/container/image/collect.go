package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/durable"
)

// Collect drops images whose digest keep refuses and nobody has pinned, layers
// no image needs, and what is left of downloads that ended. It returns the bytes
// that became free. A nil keep drops everything that is not pinned.
func (s *Store) Collect(ctx context.Context, keep func(digest string) bool) (int64, error) {
	freed, trash, err := s.sort(func(digest string) bool { return keep != nil && keep(digest) })
	for _, t := range trash {
		if ctx.Err() != nil {
			return freed, errors.Join(err, ctx.Err()) // the rest at the next start
		}
		err = errors.Join(err, problem(removeAll(t)))
	}
	return freed, err
}

// Forget drops the image with this digest, and layers no other needs. One that
// is pinned is api.CodeConflict; one that is not there is no error.
func (s *Store) Forget(ctx context.Context, digest string) error {
	s.mu.Lock()
	n := s.pinned[digest]
	s.mu.Unlock()
	if n > 0 {
		return api.Errorf(api.CodeConflict, "image %s is in use", digest).WithHint("delete what runs it first")
	}
	_, err := s.Collect(ctx, func(d string) bool { return d != digest })
	return err
}

// sort removes records and moves away the folders nothing needs. Records go
// first: a layer without one is found by the next Collect, a record without its
// layer would be taken for an image.
func (s *Store) sort(keep func(digest string) bool) (freed int64, trash []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records, err := s.records()
	if err != nil {
		return 0, nil, err
	}
	needed := map[string]bool{}
	for _, r := range records {
		if s.pinned[r.Digest] == 0 && !keep(r.Digest) {
			if err := os.Remove(s.record(r.Digest)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, nil, problem(err)
			}
			delete(s.known, r.Digest)
			continue
		}
		for _, l := range r.Layers {
			needed[s.layerName(l.DiffID)] = true
		}
	}
	if err := durable.SyncFolder(s.at("images")); err != nil {
		return 0, nil, problem(err)
	}
	layers, err := os.ReadDir(s.at("layers"))
	if err != nil {
		return 0, nil, problem(err)
	}
	for _, e := range layers {
		if needed[e.Name()] || s.used[e.Name()] > 0 {
			continue
		}
		if data, err := os.ReadFile(s.at("layers", e.Name(), "layer.json")); err == nil {
			if a, err := readAbout(data); err == nil {
				freed += a.Size
			}
		}
		away, err := os.MkdirTemp(s.at("new"), "old-")
		if err != nil {
			return freed, trash, problem(err)
		}
		if err := os.Rename(s.at("layers", e.Name()), filepath.Join(away, "layer")); err != nil {
			return freed, trash, problem(err)
		}
		trash = append(trash, away)
	}
	if len(s.work) == 0 { // nobody downloads: what is there was given up
		left, err := os.ReadDir(s.at("partial"))
		if err != nil {
			return freed, trash, problem(err)
		}
		for _, e := range left {
			if st, err := e.Info(); err == nil && os.Remove(s.at("partial", e.Name())) == nil {
				freed += st.Size()
			}
		}
	}
	return freed, trash, nil
}
