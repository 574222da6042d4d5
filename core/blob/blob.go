// Package blob is the contract for keeping artifacts by digest: source
// archives, built trees, build logs. Content never changes under a digest, so
// every cache of it is right for ever.
//
// Package blobtest holds the conformance suite; the memory driver is the
// specification.
package blob

import (
	"context"
	"io"
	"iter"
)

// Digest is sha256: and 64 hexadecimal digits, of the content.
type Digest string

// Store keeps blobs. All methods are safe for concurrent use.
type Store interface {
	// Put reads r to its end, keeps the content durably and returns its
	// digest and size. Content that is there already is no error. If r fails
	// nothing is kept and r's error is returned.
	Put(ctx context.Context, r io.Reader) (Info, error)

	// Open returns a reader of the content, which the caller closes, or
	// api.CodeNotFound. Drivers on disk verify the digest while it is read:
	// damaged content ends with an error instead of io.EOF.
	Open(ctx context.Context, d Digest) (io.ReadCloser, Info, error)

	// Delete removes a blob; one that is not there is no error.
	Delete(ctx context.Context, d Digest) error

	// All yields every blob, in no order.
	All(ctx context.Context) iter.Seq2[Info, error]
}

// Info describes a blob.
type Info struct {
	Digest Digest
	Size   int64 // bytes
}
