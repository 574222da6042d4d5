package h1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/socket"
)

// Client makes calls on one instance. It is safe for concurrent use.
type Client struct {
	dial func(context.Context) (net.Conn, error)

	mu     sync.Mutex
	idle   []*conn // newest last
	closed bool
}

// New makes a client that opens connections with dial.
func New(dial func(context.Context) (net.Conn, error)) *Client { return &Client{dial: dial} }

// Request is one call.
type Request struct {
	Method, Target, Host string
	// Header has no hop-by-hop fields, no host and no content-length.
	Header frame.Fields
	// Length is the body's: 0 none, -1 unknown (sent in chunks).
	Length int64
	// First is sent with the head; Body follows and is read by another
	// goroutine until it ends or the call is over; nil: First is all. Where it
	// has a method Close, that is called when it is no longer read, also when
	// Do fails; a Read that blocks then must be ended by its owner.
	First   []byte
	Body    io.Reader
	Trailer func() frame.Fields // after Body; chunked only; nil: none
	// Upgrade names the protocol asked for; empty: none.
	Upgrade       string
	Deadline      time.Duration // 0: none; until Response.SetDeadline
	Informational func(status int, h frame.Fields)
}

// Close ends the kept connections; calls in progress go on.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, k := range c.idle {
		k.nc.Close()
	}
	c.idle = nil
	return nil
}

// Idle is the number of kept connections.
func (c *Client) Idle() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.idle)
}

func (c *Client) get(ctx context.Context, fresh bool) (*conn, error) {
	if !fresh {
		c.mu.Lock()
		if n := len(c.idle); n > 0 {
			k := c.idle[n-1]
			c.idle = c.idle[:n-1]
			c.mu.Unlock()
			return k, nil
		}
		c.mu.Unlock()
	}
	nc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	k := &conn{nc: socket.Wrap(nc), buf: make([]byte, bufSize)}
	k.interrupt = func() { k.nc.SetDeadline(time.Unix(1, 0)) }
	return k, nil
}

func (c *Client) put(k *conn) {
	k.used = true
	if len(k.buf) > MaxHead {
		k.buf = make([]byte, bufSize)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= maxIdle {
		k.nc.Close()
		return
	}
	c.idle = append(c.idle, k)
}

// Do makes a call and returns when the head of the answer is there. A kept
// connection that turns out to have ended is replaced once where that is safe:
// nothing could be sent at all, or there is no body and the method is idempotent. The errors are *api.Error as those of frame.Client.Do.
func (c *Client) Do(ctx context.Context, rq *Request) (*Response, error) {
	r, begun, err := c.try(ctx, rq, false)
	if err != nil && (errors.Is(err, errUnsent) || errors.Is(err, ErrStale) && rq.Body == nil && rq.Length == 0 && Idempotent(rq.Method)) {
		r, begun, err = c.try(ctx, rq, true)
	}
	if !begun {
		closeBody(rq.Body)
	}
	return r, err
}

// Idempotent reports whether a call of method may be repeated.
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// afterFuncer is a context that does what context.AfterFunc does for others.
type afterFuncer interface {
	AfterFunc(f func()) (stop func() bool)
}

// try makes a call on one connection. begun says that the body is being read.
func (c *Client) try(ctx context.Context, rq *Request, fresh bool) (r *Response, begun bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, callError(ctx, err, false)
	}
	k, err := c.get(ctx, fresh)
	if err != nil {
		return nil, false, &api.Error{Code: api.CodeInstanceLost, Message: "the instance does not answer", Cause: fmt.Errorf("%w: %w", ErrUnanswered, err)}
	}
	r = &Response{c: c, k: k, ctx: ctx}
	k.deadline(rq.Deadline)
	// Whoever cancels makes the connection's reads and writes fail at once.
	if a, ok := ctx.(afterFuncer); ok {
		r.stop = a.AfterFunc(k.interrupt)
	} else {
		r.stop = context.AfterFunc(ctx, k.interrupt)
	}
	k.out = appendHead(k.out[:0], rq)
	var n int
	if rq.Body == nil {
		k.r = 0
		n, k.w, err = socket.Exchange(k.nc, k.out, k.buf)
	} else {
		n, err = k.nc.Write(k.out)
	}
	if err != nil && n == 0 && k.used && errors.Is(err, syscall.EPIPE) {
		// The program closed the connection before: it saw nothing of this.
		r.Close()
		return nil, false, callError(ctx, fmt.Errorf("%w: %w: %w", errUnsent, ErrUnanswered, err), false)
	}
	if err != nil && n == len(k.out) {
		return nil, false, r.lost(err)
	}
	if err == nil && rq.Body != nil {
		begun, r.pumped = true, true
		go r.pump(k, rq)
	}
	// A write fails also when the program has answered and closed without
	// reading all; the answer then says more than the error.
	for {
		var herr error
		r.Status, r.Header, herr = k.head(rq.Method, r.arr[:0])
		if herr != nil {
			if err == nil {
				err = herr
			}
			return nil, begun, r.lost(err)
		}
		if r.Status >= 200 || r.Status == 101 {
			break
		}
		if rq.Informational != nil && r.Status != 100 {
			rq.Informational(r.Status, append(frame.Fields(nil), r.Header...))
		}
	}
	if r.Status == 101 {
		if rq.Upgrade == "" {
			r.Close()
			return nil, begun, &api.Error{Code: api.CodeInstanceLost, Message: "the instance answered 101 without being asked to", Cause: ErrMalformed}
		}
		k.mode, k.ended, k.keep = bodyClose, false, false
	}
	return r, begun, nil
}

// lost ends a call that got no answer.
func (r *Response) lost(err error) error {
	k := r.k
	stale := k.used
	began := k.w > k.r
	var body error
	if r.bodyErr.Load() != nil {
		body = *r.bodyErr.Load()
	}
	r.Close()
	switch {
	case body != nil:
		return bodyError(body)
	case errors.Is(err, ErrMalformed):
		return &api.Error{Code: api.CodeInstanceLost, Message: "the function's answer is not valid HTTP", Cause: err}
	case errors.Is(err, os.ErrDeadlineExceeded) || r.ctx.Err() != nil:
		return callError(r.ctx, err, false)
	case began:
		return callError(r.ctx, err, true)
	case stale:
		err = fmt.Errorf("%w: %w: %w", ErrStale, ErrUnanswered, err)
	default:
		err = fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	return callError(r.ctx, err, false)
}

func appendHead(b []byte, rq *Request) []byte {
	b = append(append(append(b, rq.Method...), ' '), rq.Target...)
	b = append(append(append(b, " HTTP/1.1\r\nHost: "...), rq.Host...), "\r\n"...)
	for i := range rq.Header {
		b = append(append(b, rq.Header[i].Name...), ": "...)
		b = append(append(b, rq.Header[i].Value...), "\r\n"...)
	}
	switch {
	case rq.Length > 0:
		b = strconv.AppendInt(append(b, "Content-Length: "...), rq.Length, 10)
		b = append(b, "\r\n"...)
	case rq.Length < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case rq.Method == "POST" || rq.Method == "PUT" || rq.Method == "PATCH":
		b = append(b, "Content-Length: 0\r\n"...)
	}
	if rq.Upgrade != "" {
		b = append(append(append(b, "Connection: Upgrade\r\nUpgrade: "...), rq.Upgrade...), "\r\n"...)
	}
	b = append(b, "\r\n"...)
	if rq.Length < 0 && len(rq.First) > 0 {
		return appendChunk(b, rq.First)
	}
	return append(b, rq.First...)
}

func appendChunk(b, p []byte) []byte {
	b = strconv.AppendInt(b, int64(len(p)), 16)
	b = append(b, "\r\n"...)
	return append(append(b, p...), "\r\n"...)
}

func closeBody(body io.Reader) {
	if c, ok := body.(io.Closer); ok {
		c.Close()
	}
}

// pump sends the body.
func (r *Response) pump(k *conn, rq *Request) {
	defer closeBody(rq.Body)
	buf, out, left := make([]byte, 32<<10), []byte(nil), rq.Length-int64(len(rq.First))
	for {
		n, err := rq.Body.Read(buf)
		if n > 0 {
			p := buf[:n]
			if rq.Length < 0 {
				out = appendChunk(out[:0], p)
				p = out
			} else if left -= int64(n); left < 0 {
				err = errors.New("the body is longer than its length")
				p = nil
			}
			if _, werr := k.nc.Write(p); werr != nil {
				return
			}
		}
		if err == nil {
			continue
		}
		if err != io.EOF || left > 0 {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			r.bodyErr.Store(&err)
			k.nc.SetDeadline(time.Unix(1, 0)) // the call ends
			return
		}
		if rq.Length < 0 {
			out = append(out[:0], "0\r\n"...)
			if rq.Trailer != nil {
				for _, f := range rq.Trailer() {
					out = append(append(append(append(out, f.Name...), ": "...), f.Value...), "\r\n"...)
				}
			}
			if _, werr := k.nc.Write(append(out, "\r\n"...)); werr != nil {
				return
			}
		}
		r.sent.Store(true)
		return
	}
}
