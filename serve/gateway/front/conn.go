package front

import (
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/serve/gateway/lazy"
	"github.com/hearth-run/hearth/serve/gateway/socket"
)

// What a connection is doing.
const (
	fresh   int32 = iota // nothing has come yet
	waiting              // between requests
	busy                 // with a request, from its first byte
	left                 // closed by Shutdown
)

// conn is one client's connection.
type conn struct {
	s      *Server
	nc     net.Conn
	remote string
	state  atomic.Int32

	// Of the connection's goroutine; while a handler runs, of the watcher.
	buf   []byte
	r, w  int       // unread bytes are buf[r:w]
	until time.Time // the read deadline that is set; zero: none, or not known

	head head
	body body
	out  writer

	mu    sync.Mutex // guards what follows
	ended sync.Cond  // the watcher has
	watch watching
	timer *time.Timer
	ctx   *lazy.Context
}

// How a running handler's client is watched.
type watching int

const (
	notWatched watching = iota
	armed               // the timer runs
	watched             // a goroutine reads
)

func (c *conn) serve() {
	s := c.s
	nc, read := c.plain()
	s.conns.Remove(c)
	if nc != nil {
		s.c.Hand(nc, read)
	}
}

// plain answers requests as long as they are. Where one is not it returns the
// connection and what was read of it.
func (c *conn) plain() (nc net.Conn, read []byte) {
	c.ended.L = &c.mu
	c.buf = make([]byte, readSize)
	for {
		switch n := c.readHead(); n {
		case incomplete:
			c.nc.Close()
			return nil, nil
		case foreign:
			c.nc.SetReadDeadline(time.Time{})
			return socket.Unwrap(c.nc), c.buf[c.r:c.w]
		default:
			c.r += n
		}
		if !c.exchange() {
			c.finish()
			return nil, nil
		}
	}
}

// readHead waits for a head. incomplete means that there is none to come.
func (c *conn) readHead() int {
	skip := 0
	if c.head.method == "POST" {
		skip = 4 // some clients send an empty line behind a body; net/http forgives as many bytes
	}
	for seen := 0; ; {
		for ; skip > 0 && c.r < c.w; skip-- {
			if b := c.buf[c.r]; b != '\r' && b != '\n' {
				skip = 1
			} else {
				c.r++
			}
		}
		if n := c.head.parse(c.buf[c.r:c.w], seen, c.s.c.MaxBody); n != incomplete {
			return n
		}
		switch {
		case c.r == c.w:
			if !c.wait() {
				return incomplete
			}
			c.r, c.w = 0, 0
		case seen == 0:
			// The rest has its own time, and it is rare that there is one.
			c.deadline(time.Now().Add(c.s.c.HeaderTime))
		}
		if seen = c.w - c.r; c.w == len(c.buf) {
			to := c.buf
			if c.r == 0 {
				if len(c.buf) == headSize {
					return foreign
				}
				to = make([]byte, headSize)
			}
			c.w = copy(to, c.buf[c.r:c.w])
			c.buf, c.r = to, 0
		}
		n, err := c.nc.Read(c.buf[c.w:])
		if n == 0 && err != nil || seen == 0 && !c.state.CompareAndSwap(waiting, busy) && !c.state.CompareAndSwap(fresh, busy) {
			return incomplete // it has left
		}
		c.w += n
	}
}

// wait prepares for waiting for a request's first byte; false: none is awaited.
func (c *conn) wait() bool {
	now := time.Now()
	if c.state.Load() == fresh {
		c.deadline(now.Add(c.s.c.HeaderTime))
		return !c.s.conns.Closing()
	}
	c.state.Store(waiting)
	if most := now.Add(c.s.c.IdleTime + c.s.c.IdleTime/10); c.until.Sub(now) < c.s.c.IdleTime || c.until.After(most) {
		c.deadline(most)
	}
	return !c.s.conns.Closing()
}

func (c *conn) deadline(t time.Time) {
	c.until = t
	c.nc.SetReadDeadline(t)
}

// leave ends a connection that waits. It is called by Shutdown, once.
func (c *conn) leave() {
	switch {
	case c.state.CompareAndSwap(waiting, left):
		c.nc.Close()
	case c.state.Load() == fresh:
		c.nc.SetReadDeadline(time.Now().Add(graceTime))
	}
}

// exchange has the handler answer the request that was read, and reports whether
// another may follow.
func (c *conn) exchange() (keep bool) {
	h := &c.head
	ctx := &lazy.Context{}
	rq := (&http.Request{
		Method: h.method, URL: &h.url, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h.header, Body: http.NoBody,
		ContentLength: h.length, Close: h.close, Host: h.host, RemoteAddr: c.remote, RequestURI: h.target,
	}).WithContext(ctx)
	c.body = body{c: c, left: h.length}
	if h.length > 0 {
		rq.Body = &c.body
	}
	c.ctx = ctx
	c.out.begin(c)
	if !c.body.buffered() {
		c.deadline(time.Time{}) // the handler knows how long it may take
	}
	if h.length == 0 {
		c.arm()
	}
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				c.s.c.Log.Error("a handler panicked", "remote", c.remote, "panic", p, "stack", string(debug.Stack()))
			}
			c.disarm()
			ctx.Cancel()
			c.nc.Close()
			keep = false
		}
	}()
	c.s.c.Handler.ServeHTTP(&c.out, rq)
	c.out.end()
	c.out.free()
	gone := c.disarm()
	ctx.Cancel()
	if !c.body.drop() {
		c.out.close = true
	}
	return !gone && !c.out.close && c.out.err == nil && !c.s.conns.Closing()
}

// finish closes the connection after its last answer.
func (c *conn) finish() {
	if cw, ok := c.nc.(interface{ CloseWrite() error }); ok && c.out.err == nil && (c.body.left > 0 || c.r < c.w) {
		cw.CloseWrite()
		c.nc.SetReadDeadline(time.Now().Add(lingerTime))
		io.CopyN(io.Discard, c.nc, 256<<10)
	}
	c.nc.Close()
}

// arm begins to count the time until the client is watched. The request's body
// must have been read.
func (c *conn) arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = armed
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(watchAfter, c.look)
	} else {
		c.timer.Reset(watchAfter)
	}
}

// disarm ends watching and reports whether the client was found gone.
func (c *conn) disarm() (gone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.watch == watched {
		c.nc.SetReadDeadline(time.Unix(1, 0))
		for c.watch == watched {
			c.ended.Wait()
		}
		c.deadline(time.Time{})
	}
	c.watch = notWatched
	return c.ctx.Err() != nil
}

// look reads while the handler runs: what comes is kept for the next request,
// and a failure is the client's end.
func (c *conn) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch != armed || c.w == len(c.buf) {
		return
	}
	c.watch = watched
	c.nc.SetReadDeadline(time.Time{})
	c.mu.Unlock()
	n, err := c.nc.Read(c.buf[c.w:])
	c.mu.Lock()
	c.w += n
	c.watch = notWatched
	c.ended.Broadcast()
	if t, ok := err.(net.Error); err != nil && n == 0 && !(ok && t.Timeout()) {
		c.ctx.Cancel()
	}
}
