package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hearth-run/hearth/serve/gateway/drain"
	"github.com/hearth-run/hearth/serve/gateway/lazy"
	"github.com/hearth-run/hearth/serve/gateway/socket"
)

// Config of a server. Handler and Log are needed.
type Config struct {
	Handler http.Handler
	Log     *slog.Logger
	// HeaderTime bounds the wait for the first frame and for the rest of a
	// frame or field section; 10 s. IdleTime the wait while no call is open; 2
	// minutes.
	HeaderTime, IdleTime time.Duration
	MaxStreams           int // calls open at a time on one connection; 250
	// Context, if it is given, makes the context whose values requests have.
	Context func(nc net.Conn) context.Context
}

// Windows of what clients send: on one stream, and on all of a connection.
const (
	serverEach   = 256 << 10
	serverWindow = 1 << 20
)

// Server answers connections that speak HTTP/2. Make one with New.
type Server struct {
	c    Config
	work chan *call // to handlers' goroutines that have nothing to do
	done chan struct{}
	once sync.Once

	conns drain.Group[*serverConn]
	date  lazy.Date
}

// New makes a server.
func New(c Config) *Server {
	if c.HeaderTime <= 0 {
		c.HeaderTime = 10 * time.Second
	}
	if c.IdleTime <= 0 {
		c.IdleTime = 2 * time.Minute
	}
	if c.MaxStreams <= 0 {
		c.MaxStreams = 250
	}
	return &Server{c: c, work: make(chan *call), done: make(chan struct{})}
}

// serverConn is one client's connection.
type serverConn struct {
	conn
	s      *Server
	remote string
	tls    *tls.ConnectionState
	base   context.Context // values only; nil: none

	last     uint32  // highest stream of the client
	running  int     // handlers
	fresh    []*call // to be handed to handlers when the read is handled
	resets   int     // by the client, less what was answered
	canon    map[string]string
	half     time.Time // since when a frame or section is not whole; zero: none is
	leaving  bool      // the end is announced
	draining bool      // and which stream is the last
}

// ServeConn answers the calls of nc until it ends, and closes it. early are
// bytes that were read from it; state is that of TLS, or nil.
func (s *Server) ServeConn(nc net.Conn, early []byte, state *tls.ConnectionState) {
	c := &serverConn{s: s, remote: nc.RemoteAddr().String(), tls: state, canon: map[string]string{}}
	if s.c.Context != nil {
		c.base = s.c.Context(nc)
	}
	c.init(socket.Wrap(nc), c, serverWindow, serverEach)
	if !s.conns.Add(c) {
		nc.Close()
		return
	}
	defer s.conns.Remove(c)
	err := c.greet(early)
	if err == nil {
		err = c.readLoop()
	}
	c.say(c.last, err)
	c.mu.Lock()
	c.fail(err)
	c.mu.Unlock()
}

// greet reads the client's preface and sends ours.
func (c *serverConn) greet(early []byte) error {
	c.w = copy(c.in, early)
	if c.w < len(early) {
		return broken(codeProtocol, "too much came before the preface was read")
	}
	c.mu.Lock()
	c.readUntil(time.Now().Add(c.s.c.HeaderTime))
	c.mu.Unlock()
	for c.w < len(Preface) {
		n, err := c.nc.Read(c.in[c.w:])
		if c.w += n; err != nil {
			return err
		}
	}
	if string(c.in[:len(Preface)]) != Preface {
		return broken(codeProtocol, "no preface")
	}
	c.r = len(Preface)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = appendSettings(c.out, settingMaxStreams, uint32(c.s.c.MaxStreams), settingInitialWindow, serverEach, settingMaxHeader, maxSection)
	c.out = appendWindow(c.out, 0, serverWindow-firstWindow)
	c.flushLater()
	return nil
}

// Shutdown tells clients to open no more streams, and waits until those that are
// open have their answer, or ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	defer s.once.Do(func() { close(s.done) })
	return s.conns.Shutdown(ctx, (*serverConn).leave)
}

// Close ends all connections at once.
func (s *Server) Close() error {
	s.conns.Close(func(c *serverConn) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fail(http.ErrServerClosed)
	})
	s.once.Do(func() { close(s.done) })
	return nil
}

// leave announces the end: streams that are under way are still taken, until the
// client has seen it, which the answer to a ping shows.
func (c *serverConn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leaving || c.err != nil {
		return
	}
	c.leaving = true
	c.out = appendGoAway(c.out, maxWindow, codeNo, "")
	c.out = append(appendHead(c.out, 8, framePing, 0, 0), "leaving!"...)
	c.readUntil(time.Now().Add(time.Second)) // overdue goes on without the answer
	c.flushLater()
}

// pong implements side.
func (c *serverConn) pong() { c.drain() }

// drain says which stream is the last.
func (c *serverConn) drain() {
	if c.leaving && !c.draining {
		c.draining = true
		c.out = appendGoAway(c.out, c.last, codeNo, "")
	}
}

func (c *serverConn) idle() bool { return len(c.streams) == 0 && c.running == 0 }

// wait implements side. A deadline that comes too early costs a look, so it is
// moved seldom.
func (c *serverConn) wait() {
	now := time.Now()
	switch half := c.sect.open || c.r < c.w; {
	case !half:
		c.half = time.Time{}
	case c.half.IsZero():
		c.half = now
	}
	switch {
	case c.draining && c.idle():
		c.readUntil(now)
	case c.leaving:
	case !c.half.IsZero():
		if by := c.half.Add(c.s.c.HeaderTime); c.readBy.IsZero() || c.readBy.After(by) {
			c.readUntil(by)
		}
	case c.idle():
		c.rest(now)
	}
}

// rest sets the deadline of a connection that has nothing to do.
func (c *serverConn) rest(now time.Time) {
	if by := now.Add(c.s.c.IdleTime); c.readBy.IsZero() || c.readBy.After(by) || by.Sub(c.readBy) > c.s.c.IdleTime/10 {
		c.readUntil(by)
	}
}

// overdue implements side.
func (c *serverConn) overdue() error {
	now := time.Now()
	switch {
	case c.leaving && !c.draining:
		c.drain()
	case c.idle() && (c.draining || c.half.IsZero()):
		return errIdle
	case !c.half.IsZero() && now.Sub(c.half) >= c.s.c.HeaderTime:
		return broken(codeCalm, "half a frame, and no more")
	}
	c.readUntil(time.Time{})
	c.wait()
	return nil
}

var errIdle = errors.New("http2: nothing to do")

// ended is called with the lock when a handler has returned.
func (c *serverConn) ended() {
	c.running--
	if c.resets > 0 {
		c.resets--
	}
	switch {
	case !c.idle() || c.err != nil:
	case c.draining:
		c.readUntil(time.Now())
	case !c.leaving:
		c.rest(time.Now())
	}
}

// goAway implements side; a client that leaves ends the connection itself.
func (c *serverConn) goAway(uint32, code) {}

// stray implements side.
func (c *serverConn) stray(h frameHead) error {
	if h.stream > c.last || h.stream%2 == 0 {
		return broken(codeProtocol, "a frame for stream %d, which is idle", h.stream)
	}
	return nil // closed on our side; the client may not have known
}

// maxResets is how many calls a client may break off beyond those it lets end.
const maxResets = 1000

// reset implements side.
func (c *serverConn) reset(s *stream) error {
	if c.resets += 2; c.resets > maxResets {
		return broken(codeCalm, "too many calls are broken off")
	}
	return nil
}

// read implements side: calls that one read brought begin together.
func (c *serverConn) read() {
	for i, k := range c.fresh {
		c.fresh[i] = nil
		c.running++
		select {
		case c.s.work <- k:
		default:
			go c.s.handle(k)
		}
	}
	c.fresh = c.fresh[:0]
}

// handle runs handlers, one after the other.
func (s *Server) handle(k *call) {
	for {
		k.serve()
		t := time.NewTimer(10 * time.Second)
		select {
		case k = <-s.work:
			t.Stop()
		case <-t.C:
			return
		case <-s.done:
			t.Stop()
			return
		}
	}
}

var _ io.Closer = (*Server)(nil)
