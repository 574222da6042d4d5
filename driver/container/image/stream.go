package image

import (
	"context"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// measured is a stream that ends with its context and after so many bytes.
type measured struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (m *measured) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	if m.left <= 0 {
		return 0, tooLarge("a layer unpacks to more than is allowed")
	}
	n, err := m.r.Read(p[:min(int64(len(p)), m.left)])
	m.left -= int64(n)
	return n, err
}

// decompress finds out the compression by its first bytes: media types are
// wrong too often.
func decompress(r io.Reader) (io.ReadCloser, error) {
	p, ok := r.(interface {
		io.Reader
		Peek(int) ([]byte, error)
	})
	if !ok {
		return nil, errors.New("the reader cannot peek")
	}
	head, err := p.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		z, err := gzip.NewReader(p)
		if err != nil {
			return nil, unreadable(context.Background(), err)
		}
		return z, nil
	case len(head) == 4 && head[1] == 0xb5 && head[2] == 0x2f && head[3] == 0xfd && head[0] == 0x28:
		z, err := zstd.NewReader(p, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, unreadable(context.Background(), err)
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(p), nil
}
