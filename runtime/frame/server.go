package frame

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
)

// graceTime is how long after a call's deadline an instance ends it by itself.
const graceTime = 500 * time.Millisecond

// ServeOptions of an instance.
type ServeOptions struct {
	Hello Hello // Version is set by Serve
	// Load handles LOAD; until it has returned nil, calls are answered "warm".
	// An *api.Error's Detail becomes the traceback. nil: calls reach the
	// handler from the start, and LOAD is answered with LOADED.
	Load func(l Load) error
	// Drain is called when DRAIN came; nil closes the listener.
	Drain func()
}

// Instance answers calls that come as frames; the peer of Client.
type Instance struct {
	h    http.Handler
	o    ServeOptions
	bufs sync.Pool

	mu      sync.Mutex
	loaded  bool
	control *serverConn
	conns   map[*serverConn]struct{}
}

// NewInstance makes an instance that answers with h.
func NewInstance(h http.Handler, o ServeOptions) *Instance {
	o.Hello.Version = 1
	in := &Instance{h: h, o: o, loaded: o.Load == nil, conns: map[*serverConn]struct{}{}}
	in.bufs.New = func() any { b := make([]byte, 0, 4<<10); return &b }
	return in
}

// Serve answers connections of l with h until l is closed. It returns the error
// of Accept.
func Serve(l net.Listener, h http.Handler, o ServeOptions) error {
	if o.Drain == nil {
		o.Drain = func() { l.Close() }
	}
	in := NewInstance(h, o)
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		in.ServeConn(nc)
	}
}

// ServeConn takes over one connection and returns at once.
func (in *Instance) ServeConn(nc net.Conn) {
	c := &serverConn{in: in}
	c.start(nc, c)
	p, _ := json.Marshal(in.o.Hello)
	in.mu.Lock()
	in.conns[c] = struct{}{}
	in.mu.Unlock()
	c.mu.Lock()
	c.wbuf = AppendFrame(c.wbuf, 0, TypeHello, 0, p)
	c.kick()
	c.reading = true
	c.mu.Unlock()
	go c.readLoop()
}

// Close ends all connections.
func (in *Instance) Close() error {
	in.mu.Lock()
	conns := in.conns
	in.conns = map[*serverConn]struct{}{}
	in.mu.Unlock()
	for c := range conns {
		c.close()
	}
	return nil
}

// Log sends text to the host, on the control connection, as written to stream
// (1 stdout, 2 stderr) by the call with id request; it is dropped without one.
func (in *Instance) Log(stream int, request string, text []byte) error {
	in.mu.Lock()
	c := in.control
	in.mu.Unlock()
	if c == nil {
		return ErrClosed
	}
	for len(text) > 0 {
		n := min(len(text), MaxPayload/2)
		if err := c.send(0, TypeLog, 0, AppendLog(nil, stream, request, text[:n])); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// serverConn is one connection of an instance.
type serverConn struct {
	conn
	in *Instance
}

func (c *serverConn) lost() {
	c.in.mu.Lock()
	delete(c.in.conns, c)
	if c.in.control == c {
		c.in.control = nil
	}
	c.in.mu.Unlock()
}

func (c *serverConn) control(h Header, p []byte) error {
	switch h.Type {
	case TypeHello:
		var hello Hello
		if err := json.Unmarshal(p, &hello); err != nil || hello.Version != 1 {
			return fmt.Errorf("%w: a malformed HELLO", ErrProtocol)
		}
		if hello.Role == RoleControl {
			c.in.mu.Lock()
			c.in.control = c
			c.in.mu.Unlock()
		}
		return nil
	case TypeLoad:
		var l Load
		if err := json.Unmarshal(p, &l); err != nil {
			return fmt.Errorf("%w: a malformed LOAD", ErrProtocol)
		}
		go c.load(l)
		return nil
	case TypePong:
		return nil
	case TypeDrain:
		if c.in.o.Drain != nil {
			go c.in.o.Drain()
		}
		return nil
	}
	return fmt.Errorf("%w: a frame of type %d on the connection", ErrProtocol, h.Type)
}

func (c *serverConn) load(l Load) {
	begin := time.Now()
	if c.in.o.Load != nil {
		if err := c.in.o.Load(l); err != nil {
			f := Failed{Message: err.Error(), Stage: "import"}
			var e *api.Error
			if errors.As(err, &e) {
				f.Traceback = e.Detail
			}
			p, _ := json.Marshal(f)
			c.send(0, TypeFailed, 0, p)
			return
		}
	}
	c.in.mu.Lock()
	c.in.loaded = true
	c.in.mu.Unlock()
	p, _ := json.Marshal(Loaded{MS: float64(time.Since(begin).Microseconds()) / 1000})
	c.send(0, TypeLoaded, 0, p)
}

// open implements peer: a REQUEST.
func (c *serverConn) open(h Header, p []byte) error {
	if h.Type != TypeRequest {
		return fmt.Errorf("%w: a RESPONSE from the host", ErrProtocol)
	}
	if _, used := c.streams[h.Stream]; used {
		return fmt.Errorf("%w: stream %d is in use", ErrProtocol, h.Stream)
	}
	var head Head
	rest, err := ParseHead(p, &head)
	if err != nil {
		return err
	}
	s := c.get(h.Stream)
	s.started = true
	ctx, cancel := context.WithCancel(context.Background())
	if head.DeadlineMS > 0 {
		// The host cancels in time; this is for one that does not.
		cancel()
		ctx, cancel = context.WithTimeout(context.Background(), time.Duration(head.DeadlineMS)*time.Millisecond+graceTime)
	}
	s.cancelFn = cancel
	if err := s.take(rest, h.End()); err != nil {
		return err
	}
	go c.serve(ctx, s, head)
	return nil
}

func (c *serverConn) serve(ctx context.Context, s *stream, head Head) {
	w := &responseWriter{c: c, s: s, ctx: ctx, header: http.Header{}, buf: c.in.bufs.Get().(*[]byte)}
	defer w.finish()
	rq, err := c.request(ctx, s, head, w)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.in.mu.Lock()
	loaded := c.in.loaded
	c.in.mu.Unlock()
	if !loaded {
		io.WriteString(w, "warm")
		return
	}
	c.in.h.ServeHTTP(w, rq)
	w.done = true
}

func (c *serverConn) request(ctx context.Context, s *stream, head Head, w *responseWriter) (*http.Request, error) {
	u, err := url.ParseRequestURI(head.Target)
	if err != nil {
		return nil, err
	}
	rq := &http.Request{
		Method: head.Method, URL: u, RequestURI: head.Target, Host: head.Authority, RemoteAddr: head.Remote,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header, len(head.Header)), ContentLength: -1,
	}
	for _, f := range head.Header {
		rq.Header.Add(f.Name, f.Value)
	}
	if n, err := strconv.ParseInt(rq.Header.Get("Content-Length"), 10, 64); err == nil && n >= 0 && n < math.MaxInt64 {
		rq.ContentLength = n
	}
	c.mu.Lock()
	empty := s.recvEnd && s.off == len(s.in)
	c.mu.Unlock()
	rq.Body = http.NoBody
	if !empty {
		b := &requestBody{w: w}
		rq.Body = b
		b.rq = rq.WithContext(ctx)
		return b.rq, nil
	}
	rq.ContentLength = 0
	return rq.WithContext(ctx), nil
}

// requestBody is the body of a call, as its handler reads it.
type requestBody struct {
	w  *responseWriter
	rq *http.Request
}

func (b *requestBody) Read(p []byte) (int, error) {
	w := b.w
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.s == nil {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := w.s.read(w.ctx, p)
	if err == io.EOF && len(w.s.trailer) > 0 {
		if b.rq.Trailer == nil {
			b.rq.Trailer = http.Header{}
		}
		for _, f := range w.s.trailer {
			b.rq.Trailer.Add(f.Name, f.Value)
		}
		w.s.trailer = nil
	}
	return n, err
}

func (b *requestBody) Close() error { return nil }
