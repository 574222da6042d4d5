//go:build !linux

package socket

import "net"

// Wrap returns nc.
func Wrap(nc net.Conn) net.Conn { return nc }

// Unwrap returns what Wrap was given.
func Unwrap(nc net.Conn) net.Conn { return nc }

// Exchange writes p and then waits for bytes from the peer, of which it reads as
// many as in has room for. wrote is how much of p was written.
func Exchange(nc net.Conn, p, in []byte) (wrote, n int, err error) { return exchange(nc, p, in) }
