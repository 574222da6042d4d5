// Package frame is the host's side of the loader protocol (runtime/PROTOCOL.md):
// binary frames over a unix stream socket that carry many calls at a time, with
// streamed bodies both ways, deadlines and cancellation. Client speaks to an
// instance; Serve is an instance written in Go, which answers calls with an
// http.Handler.
//
// One goroutine at a time reads a connection: a call that is alone reads its own
// answer, and where there are several a goroutine reads for all. Whoever has something to send appends it to
// the connection's pending bytes and, where nobody is writing, writes them; so
// one call costs one write, and many at a time share one.
package frame

import "errors"

// Frame types of the protocol.
const (
	TypeHello    = 1
	TypeLoad     = 2
	TypeLoaded   = 3
	TypeFailed   = 4
	TypeRequest  = 5
	TypeData     = 6
	TypeTrailers = 7
	TypeResponse = 8
	TypeCancel   = 9
	TypeWindow   = 10
	TypePing     = 11
	TypePong     = 12
	TypeLog      = 13
	TypeDrain    = 14
	TypeFork     = 16
	TypeForked   = 17
)

// FlagEnd marks the last frame of the sender's half of a stream's body.
const FlagEnd = 1

// Limits of the protocol, in bytes.
const (
	HeaderSize    = 12
	MaxPayload    = 1 << 20
	MaxBlock      = 256 << 10
	InitialWindow = 256 << 10
	WindowStep    = 64 << 10
	maxWindow     = 1 << 30
)

// ErrUnanswered is in the chain of an error when the connection was lost before
// any part of an answer came: whether the call ran is unknown.
var ErrUnanswered = errors.New("the connection was lost before an answer began")

// ErrCallFailed is in the chain of an error when the instance gave up this one
// call (it sent CANCEL); the instance itself is well.
var ErrCallFailed = errors.New("the instance gave up the call")

// ErrProtocol is in the chain of an error when the peer broke the protocol; the
// connection is closed.
var ErrProtocol = errors.New("the peer broke the loader protocol")

// ErrClosed is in the chain of an error when this side closed the connection.
var ErrClosed = errors.New("the connection was closed")
