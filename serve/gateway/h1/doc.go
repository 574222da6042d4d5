// Package h1 is a thin HTTP/1.1 client for one instance behind a unix socket: a
// pool of kept-alive connections and just enough of the protocol to pass calls
// on. It is strict where leniency would let an answer be read in two ways:
// two different lengths, a length beside Transfer-Encoding, folded lines and
// malformed names end the connection.
//
// net/http's Transport does far more, for any server on any network, and costs
// twice as much per call; use it everywhere else.
package h1

import "errors"

// Limits of an answer.
const (
	MaxHead = 64 << 10 // bytes of status line and header, and of trailers
	maxIdle = 256      // connections kept per instance
	bufSize = 8 << 10
)

// ErrStale is in the chain of an error when a kept connection ended before any
// byte of an answer came, ErrUnanswered when a new one did: the call may or may
// not have run.
var (
	ErrStale      = errors.New("a kept connection had ended")
	ErrUnanswered = errors.New("the connection ended before an answer began")
	errUnsent     = errors.New("a kept connection had ended before anything was sent")
	ErrMalformed  = errors.New("a malformed answer")
)
