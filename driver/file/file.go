// Package file keeps blobs as files of one folder, each under its digest. A
// blob is visible once it is whole and on the disk, or not at all; what a killed
// process left half done is removed when the folder is opened. Resources and
// records are kept by driver/sql.
package file

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/durable"
)

// Blobs is a blob.Store in a folder: sha256/AB/ABCDEF… holds what is kept (AB
// are the first two digits), new what is being written.
type Blobs struct {
	dir string

	mu     sync.Mutex
	synced [256]bool // folders whose names are known to be on the disk
}

var _ blob.Store = (*Blobs)(nil)

// Open opens the store in the folder dir and makes it, with mode 0700, when it
// is missing. One process opens a folder at a time; node holds the lock on the
// state folder. There is nothing to close.
func Open(dir string) (*Blobs, error) {
	b := &Blobs{dir: dir}
	if err := os.RemoveAll(b.temp()); err != nil {
		return nil, problem(err)
	}
	root := filepath.Join(dir, "sha256")
	for _, d := range []string{b.temp(), root} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, problem(err)
		}
	}
	for _, d := range []string{root, dir, filepath.Dir(dir)} {
		if err := durable.SyncFolder(d); err != nil {
			return nil, problem(err)
		}
	}
	return b, nil
}

func (b *Blobs) temp() string { return filepath.Join(b.dir, "new") }

// path is the file of a blob whose digest has these digits.
func (b *Blobs) path(hex string) string { return filepath.Join(b.dir, "sha256", hex[:2], hex) }

// Put implements blob.Store. Content that is there already is written anew: it
// costs little and mends a damaged file.
func (b *Blobs) Put(ctx context.Context, r io.Reader) (blob.Info, error) {
	t, err := os.CreateTemp(b.temp(), "*") // mode 0600
	if err != nil {
		return blob.Info{}, problem(err)
	}
	defer os.Remove(t.Name()) // after the rename there is nothing to remove
	defer t.Close()
	h := sha256.New()
	in := &source{ctx: ctx, r: r}
	n, err := io.Copy(io.MultiWriter(t, h), in)
	if in.err != nil {
		return blob.Info{}, in.err
	}
	if err == nil {
		err = errors.Join(t.Sync(), t.Close())
	}
	if err != nil {
		return blob.Info{}, problem(err)
	}
	d := blob.DigestOf(h)
	hex, _ := d.Hex()
	to := b.path(hex)
	if err := b.folder(filepath.Dir(to)); err != nil {
		return blob.Info{}, problem(err)
	}
	if err := durable.Rename(t.Name(), to); err != nil {
		return blob.Info{}, problem(err)
	}
	return blob.Info{Digest: d, Size: n}, nil
}

// folder makes the folder of a blob and sees that it is on the disk: one that
// another Put has just made may not be yet.
func (b *Blobs) folder(path string) error {
	n, err := strconv.ParseUint(filepath.Base(path), 16, 8)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.synced[n] {
		return nil
	}
	if err := durable.Mkdir(path); err != nil {
		return err
	}
	b.synced[n] = true
	return nil
}

// Open implements blob.Store.
func (b *Blobs) Open(ctx context.Context, d blob.Digest) (io.ReadCloser, blob.Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, blob.Info{}, err
	}
	hex, ok := d.Hex()
	if !ok {
		return nil, blob.Info{}, blob.NotFound(d)
	}
	f, err := os.Open(b.path(hex))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, blob.Info{}, blob.NotFound(d)
	}
	if err != nil {
		return nil, blob.Info{}, problem(err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, blob.Info{}, problem(err)
	}
	return &verified{f: f, h: sha256.New(), want: d}, blob.Info{Digest: d, Size: st.Size()}, nil
}

// Delete implements blob.Store.
func (b *Blobs) Delete(ctx context.Context, d blob.Digest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	hex, ok := d.Hex()
	if !ok {
		return nil
	}
	if err := os.Remove(b.path(hex)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return problem(err)
	}
	return nil
}

// All implements blob.Store. Files that are no blobs are passed over.
func (b *Blobs) All(ctx context.Context) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		root := filepath.Join(b.dir, "sha256")
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				return ifThere(err)
			}
			d := blob.Digest("sha256:" + e.Name())
			hex, ok := d.Hex()
			if !ok || !e.Type().IsRegular() || !strings.HasSuffix(path, filepath.Join(hex[:2], hex)) {
				return nil
			}
			st, err := e.Info()
			if err != nil {
				return ifThere(err)
			}
			if !yield(blob.Info{Digest: d, Size: st.Size()}, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(blob.Info{}, problem(err))
		}
	}
}

var errStop = errors.New("the consumer stopped")

// ifThere passes over what was deleted meanwhile.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// source is a caller's reader: it ends with ctx, and its error is told from
// those of the disk.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// verified reads a blob and ends with CodeChecksum when it is not what its
// digest says.
type verified struct {
	f    *os.File
	h    hash.Hash
	want blob.Digest
	end  error
}

func (v *verified) Read(p []byte) (int, error) {
	if v.end != nil {
		return 0, v.end
	}
	n, err := v.f.Read(p)
	v.h.Write(p[:n])
	if err == nil {
		return n, nil
	}
	switch {
	case err != io.EOF:
		v.end = problem(err)
	case blob.DigestOf(v.h) != v.want:
		v.end = api.Errorf(api.CodeChecksum, "artifact %s is damaged on the disk", v.want).
			WithHint("deploy the function again; it writes the artifact anew")
	default:
		v.end = io.EOF
	}
	return n, v.end
}

func (v *verified) Close() error { return v.f.Close() }

// problem turns an error of the disk into one of ours.
func problem(err error) error {
	refused, full := durable.Refused(err)
	switch {
	case !refused:
		return err
	case full:
		return api.Errorf(api.CodeDisk, "no space left for artifacts").WithCause(err)
	}
	return api.Errorf(api.CodeDisk, "the disk refused an artifact").WithCause(err).
		WithHint("check the disk that holds the state folder: space, permissions and kernel messages")
}
