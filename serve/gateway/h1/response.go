package h1

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/socket"
)

// Response is an answer whose head has come. It must be closed. Its methods are
// for one goroutine, but for Write and CloseWrite of a raw connection.
type Response struct {
	Status int
	Header frame.Fields

	c       *Client
	k       *conn // nil once closed
	ctx     context.Context
	stop    func() bool
	pumped  bool        // there is a Body
	sent    atomic.Bool // the whole body has been sent
	bodyErr atomic.Pointer[error]
	arr     [12]frame.Field
}

// Head returns status and header.
func (r *Response) Head() (int, frame.Fields) { return r.Status, r.Header }

// Next waits for body bytes and returns those there are; they are valid until
// the next call. At the end it returns io.EOF.
func (r *Response) Next() ([]byte, error) {
	if r.k == nil {
		return nil, io.ErrClosedPipe
	}
	b, err := r.k.next()
	if err != nil && err != io.EOF {
		if p := r.bodyErr.Load(); p != nil {
			return nil, bodyError(*p)
		}
		err = callError(r.ctx, err, true)
	}
	return b, err
}

// Buffered tells how many bytes Next would return without waiting, and whether
// the body ends with them.
func (r *Response) Buffered() (n int, last bool) {
	k := r.k
	if k == nil || k.ended {
		return 0, true
	}
	n = k.w - k.r
	switch k.mode {
	case bodyLength:
		return int(min(int64(n), k.left)), int64(n) >= k.left
	case bodyChunked:
		return n, false
	}
	return n, false
}

// Trailer is what came behind a chunked body; complete at io.EOF.
func (r *Response) Trailer() frame.Fields {
	if r.k == nil {
		return nil
	}
	return r.k.trailer
}

// SetDeadline replaces what is left of the call's time; 0: no deadline.
func (r *Response) SetDeadline(d time.Duration) {
	if r.k == nil || r.ctx.Err() != nil || r.bodyErr.Load() != nil {
		return
	}
	r.k.deadline(d)
	if r.ctx.Err() != nil { // it ended meanwhile
		r.k.nc.SetDeadline(time.Unix(1, 0))
	}
}

// Write sends bytes on a connection that an answer 101 has made raw.
func (r *Response) Write(p []byte) (int, error) {
	if r.k == nil || r.Status != 101 {
		return 0, io.ErrClosedPipe
	}
	return r.k.nc.Write(p)
}

// CloseWrite ends the sending half of a raw connection.
func (r *Response) CloseWrite() error {
	if r.k == nil {
		return io.ErrClosedPipe
	}
	if u, ok := r.k.nc.(interface{ CloseWrite() error }); ok {
		return u.CloseWrite()
	}
	return nil
}

// Raw gives the connection of an answer 101 away, with the bytes that have come
// already; the receiver closes it. Close then does nothing more.
func (r *Response) Raw() (net.Conn, []byte) {
	k := r.k
	r.k = nil
	r.stop()
	k.nc.SetDeadline(time.Time{})
	return socket.Unwrap(k.nc), k.buf[k.r:k.w]
}

// Close ends the call. The connection is kept when both bodies are complete.
func (r *Response) Close() error {
	k := r.k
	if k == nil {
		return nil
	}
	r.k = nil
	stopped := r.stop()
	if stopped && k.ended && k.keep && k.r == k.w && (!r.pumped || r.sent.Load()) {
		r.c.put(k)
		return nil
	}
	return k.nc.Close()
}

// callError is what a call's caller is told of err.
func callError(ctx context.Context, err error, began bool) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &api.Error{Code: api.CodeCanceled, Message: "the caller went away", Cause: err}
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return &api.Error{Code: api.CodeTimeout, Message: "the function did not answer in time", Cause: err}
	case errors.Is(err, ErrMalformed):
		return &api.Error{Code: api.CodeInstanceLost, Message: "the function's answer is not valid HTTP", Cause: err}
	case began:
		return &api.Error{Code: api.CodeInstanceLost, Message: "the instance was lost while it answered", Cause: err}
	}
	return &api.Error{Code: api.CodeInstanceLost, Message: "the instance was lost before it answered", Cause: err}
}

func bodyError(err error) error {
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	return &api.Error{Code: api.CodeCanceled, Message: "the caller went away", Cause: err}
}
