package memory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"iter"
	"sync"

	"github.com/hearth-run/hearth/core/blob"
)

// NewBlobs returns an empty blob store.
func NewBlobs() blob.Store { return &blobs{kept: make(map[blob.Digest][]byte)} }

type blobs struct {
	mu   sync.Mutex
	kept map[blob.Digest][]byte
}

// Put implements blob.Store.
func (b *blobs) Put(ctx context.Context, r io.Reader) (blob.Info, error) {
	var content bytes.Buffer
	if _, err := io.Copy(&content, reader{ctx, r}); err != nil {
		return blob.Info{}, err
	}
	h := sha256.New()
	h.Write(content.Bytes())
	d := blob.DigestOf(h)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept[d] = content.Bytes()
	return blob.Info{Digest: d, Size: int64(content.Len())}, nil
}

// Open implements blob.Store.
func (b *blobs) Open(ctx context.Context, d blob.Digest) (io.ReadCloser, blob.Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, blob.Info{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	content, ok := b.kept[d]
	if !ok {
		return nil, blob.Info{}, blob.NotFound(d)
	}
	return io.NopCloser(bytes.NewReader(content)), blob.Info{Digest: d, Size: int64(len(content))}, nil
}

// Delete implements blob.Store.
func (b *blobs) Delete(ctx context.Context, d blob.Digest) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.kept, d)
	return ctx.Err()
}

// All implements blob.Store.
func (b *blobs) All(ctx context.Context) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		b.mu.Lock()
		infos := make([]blob.Info, 0, len(b.kept))
		for d, c := range b.kept {
			infos = append(infos, blob.Info{Digest: d, Size: int64(len(c))})
		}
		b.mu.Unlock()
		for _, i := range infos {
			if err := ctx.Err(); err != nil {
				yield(blob.Info{}, err)
				return
			}
			if !yield(i, nil) {
				return
			}
		}
	}
}

// reader is r until ctx ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
