package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/h1"
)

// h2 speaks HTTP/2 without TLS to one instance, over as few connections as its
// limit of streams allows.
type h2 struct {
	t *http.Transport

	mu     sync.Mutex
	conns  map[*h2conn]bool
	closed bool
}

type h2conn struct {
	net.Conn
	h *h2
}

func newH2(in engine.Instance) *h2 {
	h := &h2{conns: map[*h2conn]bool{}}
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	h.t = &http.Transport{
		Protocols: p, DisableCompression: true,
		HTTP2: &http.HTTP2Config{SendPingTimeout: time.Minute, PingTimeout: 15 * time.Second, MaxReceiveBufferPerStream: 1 << 20},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			nc, err := in.Dial(ctx)
			if err != nil {
				return nil, err
			}
			return h.add(nc)
		},
	}
	return h
}

func (h *h2) add(nc net.Conn) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		nc.Close()
		return nil, net.ErrClosed
	}
	c := &h2conn{nc, h}
	h.conns[c] = true
	return c, nil
}

// Close implements net.Conn.
func (c *h2conn) Close() error {
	c.h.mu.Lock()
	delete(c.h.conns, c)
	c.h.mu.Unlock()
	return c.Conn.Close()
}

// close ends every connection.
func (h *h2) close() {
	h.mu.Lock()
	h.closed = true
	all := make([]*h2conn, 0, len(h.conns))
	for c := range h.conns {
		all = append(all, c)
	}
	h.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
	h.t.CloseIdleConnections()
}

var errLate = errors.New("its time is over")

// do makes c's call.
func (h *h2) do(c *call, left time.Duration) (*h2answer, error) {
	ctx, cancel := context.WithCancelCause(c.r.Context())
	a := &h2answer{outer: c.r.Context(), ctx: ctx, cancel: cancel}
	a.timer = time.AfterFunc(left, func() { cancel(errLate) })
	if d := grpcTimeout(first(c.r.Header, "Grpc-Timeout")); d > 0 {
		a.until = c.start.Add(d)
	}
	header := make(http.Header, len(c.fields))
	for _, f := range c.fields {
		header[f.Name] = append(header[f.Name], f.Value)
	}
	if header["User-Agent"] == nil {
		header["User-Agent"] = nil // do not make one up
	}
	path := c.path
	if strings.HasPrefix(path, "//") { // which would be taken for an authority
		path = "http://" + c.r.Host + path
	}
	rq := (&http.Request{
		Method: c.r.Method, URL: &url.URL{Scheme: "http", Host: "instance", Opaque: path}, Host: c.r.Host, Header: header,
		Proto: "HTTP/2.0", ProtoMajor: 2, ContentLength: c.r.ContentLength, Body: http.NoBody,
	}).WithContext(ctx)
	if b := c.streamed(); b != nil {
		rq.Body = &h2body{pumped: b.(*pumped), trailer: c.trailer(), to: &rq.Trailer}
		for name := range c.r.Trailer {
			if !hop(name) && !ours(name) {
				if rq.Trailer == nil {
					rq.Trailer = http.Header{}
				}
				rq.Trailer[name] = nil
			}
		}
	} else if first := c.first(); len(first) > 0 {
		rq.Body = io.NopCloser(bytes.NewReader(first))
	} else {
		rq.ContentLength = 0
	}
	res, err := h.t.RoundTrip(rq)
	if err != nil {
		a.Close()
		return nil, a.error(err, false)
	}
	a.res = res
	a.fields = make(frame.Fields, 0, len(res.Header)+1)
	for name, values := range res.Header {
		if name == "Content-Length" && len(res.Trailer) > 0 {
			continue // HTTP/1.1 has trailers only behind chunks
		}
		for _, v := range values {
			a.fields = append(a.fields, frame.Field{Name: name, Value: v})
		}
	}
	for name := range res.Trailer {
		a.fields = append(a.fields, frame.Field{Name: "trailer", Value: name})
	}
	return a, nil
}

// h2body is a body the transport reads. The transport may close it in the middle
// of a Read; it is no longer read when both are over.
type h2body struct {
	*pumped
	trailer func() frame.Fields
	to      *http.Header

	mu              sync.Mutex
	reading, closed bool
}

// Read implements io.Reader.
func (b *h2body) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	}
	b.reading = true
	b.mu.Unlock()
	n, err := b.pumped.Read(p)
	if err == io.EOF && b.trailer != nil && *b.to != nil {
		for _, f := range b.trailer() {
			b.to.Add(f.Name, f.Value)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reading = false; b.closed {
		b.pumped.Close()
	}
	return n, err
}

// Close implements io.Closer.
func (b *h2body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	if b.closed = true; !b.reading {
		b.pumped.Close()
	}
	return nil
}

// h2answer is an answer of HTTP/2. What comes is passed on as it comes.
type h2answer struct {
	res    *http.Response
	fields frame.Fields
	buf    []byte
	ended  bool
	outer  context.Context
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	until  time.Time // as the caller said; zero: he did not
}

// Head implements answer.
func (a *h2answer) Head() (int, frame.Fields) { return a.res.StatusCode, a.fields }

// Next implements answer.
func (a *h2answer) Next() ([]byte, error) {
	if a.buf == nil {
		a.buf = make([]byte, smallBody)
	}
	n, err := a.res.Body.Read(a.buf)
	if err == io.EOF {
		a.ended = true
		if n > 0 {
			err = nil
		}
	}
	if err != nil && err != io.EOF {
		err = a.error(err, true)
	}
	return a.buf[:n], err
}

// Buffered implements answer; the transport does not tell what it has.
func (a *h2answer) Buffered() (int, bool) {
	return 0, a.ended || a.res.ContentLength == 0 && len(a.res.Trailer) == 0
}

// Trailer implements answer.
func (a *h2answer) Trailer() (f frame.Fields) {
	for name, values := range a.res.Trailer {
		for _, v := range values {
			f = append(f, frame.Field{Name: name, Value: v})
		}
	}
	return f
}

// SetDeadline implements answer.
func (a *h2answer) SetDeadline(d time.Duration) {
	if d > 0 {
		a.timer.Reset(d)
	} else {
		a.timer.Stop()
	}
}

// Close implements answer: an answer that has not ended is cancelled.
func (a *h2answer) Close() error {
	a.timer.Stop()
	a.cancel(context.Canceled)
	if a.res != nil {
		return a.res.Body.Close()
	}
	return nil
}

// error says what went wrong; begun: after the head of the answer.
func (a *h2answer) error(err error, begun bool) error {
	var own *api.Error
	var reset http2.StreamError
	switch {
	case errors.As(err, &own): // of the request's body
		return own
	case a.outer.Err() != nil:
		return ended(a.outer.Err())
	case context.Cause(a.ctx) == errLate:
		return ended(context.DeadlineExceeded)
	case errors.As(err, &reset) && !a.until.IsZero() && !time.Now().Before(a.until):
		return ended(context.DeadlineExceeded) // the time the caller gave it is over, which both of them measure
	case errors.As(err, &reset):
		return &api.Error{Code: api.CodeInstanceLost, Message: "the function broke the call off", Cause: errors.Join(frame.ErrCallFailed, err)}
	case begun:
		return &api.Error{Code: api.CodeInstanceLost, Message: "the instance went away in the middle of its answer", Cause: err}
	}
	return &api.Error{Code: api.CodeInstanceLost, Message: "the instance does not answer", Cause: errors.Join(h1.ErrUnanswered, err)}
}
