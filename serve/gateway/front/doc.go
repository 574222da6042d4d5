// Package front serves the plain HTTP/1.1 requests of a listener itself, and
// hands every connection on which it meets anything else to net/http, untouched
// and with the bytes read so far.
//
// Plain is: a head of at most 8 KiB in the strictest reading of RFC 9112 (lines
// end in CR LF, one valid Host, no folding, no spaces before colons), one of the
// common methods, a path for a target, and no body or a small one of known
// length. Not plain are HTTP/1.0 and HTTP/2, Transfer-Encoding, Expect, Upgrade,
// Trailer and TE, two lengths, and whatever is malformed: package front refuses
// nothing itself, so there is one judge of bad requests, and what front accepts
// net/http reads the same way (FuzzHead holds that).
//
// A plain request costs about a third of what net/http spends on one: no
// goroutine but the connection's own, one read, one write. The handler is an
// http.Handler like any other with two duties: nothing may keep the request, its
// header or the ResponseWriter beyond ServeHTTP, and Content-Type is not guessed.
package front

import "time"

const (
	readSize = 4 << 10  // of a connection's reads
	headSize = 8 << 10  // of the longest head: what reads may grow to
	outSize  = 16 << 10 // answer bytes collected into one write
	// watchAfter is how long a handler runs until the connection is watched for
	// the client's end.
	watchAfter = 50 * time.Millisecond
	// lingerTime is how long a client is listened to after an answer that did
	// not wait for all it sends, so that closing does not destroy the answer.
	lingerTime = 500 * time.Millisecond
	// graceTime is how long a client that has just connected may take for its
	// first byte when the server ends.
	graceTime = time.Second
)
