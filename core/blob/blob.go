// Package blob is the contract for keeping artifacts by digest: source
// archives, built trees, build logs. Content never changes under a digest, so
// every cache of it is right for ever.
//
// Package blobtest holds the conformance suite; the memory driver is the
// specification.
package blob

import (
	"context"
	"encoding/hex"
	"hash"
	"io"
	"iter"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// Digest is sha256: and 64 hexadecimal digits, of the content.
type Digest string

// digestPrefix names the only algorithm.
const digestPrefix = "sha256:"

// DigestOf is the digest of what was written to h, a SHA-256.
func DigestOf(h hash.Hash) Digest { return Digest(digestPrefix + hex.EncodeToString(h.Sum(nil))) }

// Hex returns the 64 digits, and whether d is well formed: only then may they
// become part of a file's name.
func (d Digest) Hex() (string, bool) {
	s, ok := strings.CutPrefix(string(d), digestPrefix)
	if !ok || len(s) != 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return "", false
	}
	return s, true
}

// NotFound is the error for a digest that is not kept.
func NotFound(d Digest) *api.Error {
	return api.Errorf(api.CodeNotFound, "artifact %s not found", d)
}

// Store keeps blobs. All methods are safe for concurrent use.
type Store interface {
	// Put reads r to its end, keeps the content durably and returns its
	// digest and size. Content that is there already is no error. If r fails
	// nothing is kept and r's error is returned.
	Put(ctx context.Context, r io.Reader) (Info, error)

	// Open returns a reader of the content, which the caller closes, or
	// api.CodeNotFound, also for a malformed digest. A reader goes on when the
	// blob is deleted meanwhile. Drivers on disk verify the digest while it is
	// read: damaged content ends with api.CodeChecksum instead of io.EOF.
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
