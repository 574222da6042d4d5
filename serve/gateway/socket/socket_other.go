//go:build !linux

package socket

import "net"

// Wrap returns nc.
func Wrap(nc net.Conn) net.Conn { return nc }

// Unwrap returns what Wrap was given.
func Unwrap(nc net.Conn) net.Conn { return nc }
