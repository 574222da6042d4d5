package h2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/socket"
)

// Errors of Do and of an Answer's methods, to be found with errors.Is.
var (
	// ErrUnanswered: the instance has not begun to handle the call.
	ErrUnanswered = errors.New("http2: the call was not taken")
	// ErrReset: the instance broke off this call, and no other.
	ErrReset = errors.New("http2: the call was reset")
	// ErrLost: the connection ended.
	ErrLost = errors.New("http2: the connection was lost")
)

// Windows of what an instance sends: on one stream, and on all of a connection.
const (
	clientEach   = 1 << 20
	clientWindow = 1 << 30
)

// maxStreams is how many calls go over one connection at a time, where the
// instance allows so many or does not say.
const maxStreams = 1000

// Times of a client's connection on which calls wait and nothing comes: then it
// is asked whether someone is there, and given up.
const (
	askTime  = time.Minute
	lostTime = 15 * time.Second
)

// Client makes calls on one instance, over as few connections as its limit of
// streams allows. It is safe for concurrent use.
type Client struct {
	dial func(context.Context) (net.Conn, error)

	mu      sync.Mutex
	conns   []*clientConn
	dialing chan struct{} // closed when the dial that is under way has ended; nil: none is
	closed  bool
}

// NewClient makes a client that opens connections with dial.
func NewClient(dial func(context.Context) (net.Conn, error)) *Client { return &Client{dial: dial} }

// Request is one call.
type Request struct {
	Method, Scheme, Target, Host string
	// Header has no hop-by-hop fields, no host and no content-length, and names
	// in lower case.
	Header frame.Fields
	// Length is the body's: 0 none, -1 unknown.
	Length int64
	// First is sent with the head; Body follows and is read by another
	// goroutine until it ends or the call is over; nil: First is all. Where it
	// has a method Close, that is called when it is no longer read, also when
	// Do fails; a Read that blocks then must be ended by its owner.
	First    []byte
	Body     io.Reader
	Trailer  func() frame.Fields // after Body; nil: none
	Deadline time.Duration       // 0: none; until Answer.SetDeadline
	// Informational takes 1xx answers; nil drops them.
	Informational func(status int, h frame.Fields)
}

// clientConn is one connection.
type clientConn struct {
	conn
	cl    *Client
	next  uint32 // stream
	most  int    // streams the instance takes at a time
	told  bool
	ready chan struct{} // closed when it has said so, or ended
	alone bool          // takes no new ones
	asked bool          // a ping is not answered
	came  bool          // something, since the last look
	free  [][]byte      // of answers that are over
}

// What a connection keeps for the bytes of its next answers.
const (
	maxFree   = 64
	maxBuffer = 64 << 10
)

// buffer is an empty one, with the lock.
func (c *clientConn) buffer() (b []byte) {
	if n := len(c.free) - 1; n >= 0 {
		b, c.free = c.free[n], c.free[:n]
	}
	return b
}

// keep takes a buffer nobody uses any more, with the lock.
func (c *clientConn) keep(b []byte) {
	if cap(b) > 0 && cap(b) <= maxBuffer && len(c.free) < maxFree {
		c.free = append(c.free, b[:0])
	}
}

// Close ends all connections, and the calls on them.
func (cl *Client) Close() error {
	cl.mu.Lock()
	cl.closed = true
	all := cl.conns
	cl.conns = nil
	cl.mu.Unlock()
	for _, c := range all {
		c.mu.Lock()
		c.fail(fmt.Errorf("%w: %w", ErrLost, net.ErrClosed))
		c.mu.Unlock()
	}
	return nil
}

// open finds a connection with room for a call and returns it locked.
func (cl *Client) open(ctx context.Context) (*clientConn, error) {
	for {
		cl.mu.Lock()
		if cl.closed {
			cl.mu.Unlock()
			return nil, net.ErrClosed
		}
		wait := cl.dialing
		for _, c := range cl.conns {
			c.mu.Lock()
			if c.err == nil && !c.alone && len(c.streams) < c.most && c.next < maxWindow-2 {
				cl.mu.Unlock()
				return c, nil
			}
			if c.ready != nil {
				wait = c.ready
			}
			c.mu.Unlock()
		}
		if wait != nil {
			cl.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		done := make(chan struct{})
		cl.dialing = done
		cl.mu.Unlock()
		nc, err := cl.dial(ctx)
		cl.mu.Lock()
		cl.dialing = nil
		close(done)
		var c *clientConn
		if err == nil {
			c, err = cl.add(nc)
		}
		cl.mu.Unlock()
		return c, err
	}
}

// add returns the new connection locked: it must not end before there is a call
// on it that would hear of that.
func (cl *Client) add(nc net.Conn) (*clientConn, error) {
	if cl.closed {
		nc.Close()
		return nil, net.ErrClosed
	}
	c := &clientConn{cl: cl, next: 1, most: 1, ready: make(chan struct{})} // one until it says how many
	c.init(socket.Wrap(nc), c, clientWindow, clientEach)
	c.out = append(c.out, Preface...)
	c.out = appendSettings(c.out, settingPush, 0, settingInitialWindow, clientEach, settingMaxHeader, maxSection)
	c.out = appendWindow(c.out, 0, clientWindow-firstWindow)
	cl.conns = append(cl.conns, c)
	c.mu.Lock()
	go c.run()
	return c, nil
}

func (c *clientConn) run() {
	err := c.readLoop()
	var e *connError
	if errors.As(err, &e) {
		c.say(0, err)
	}
	c.mu.Lock()
	c.fail(fmt.Errorf("%w: %w", ErrLost, err))
	c.known()
	c.mu.Unlock()
	c.cl.mu.Lock()
	defer c.cl.mu.Unlock()
	for i, o := range c.cl.conns {
		if o == c {
			c.cl.conns = append(c.cl.conns[:i:i], c.cl.conns[i+1:]...)
			return
		}
	}
}

// stray implements side.
func (c *clientConn) stray(h frameHead) error {
	if h.stream >= c.next || h.stream%2 == 0 {
		return broken(codeProtocol, "a frame for stream %d, which is idle", h.stream)
	}
	return nil
}

// reset implements side.
func (c *clientConn) reset(*stream) error { return nil }

// goAway implements side: no new calls; those above last were not taken.
func (c *clientConn) goAway(last uint32, k code) {
	c.alone = true
	for id, s := range c.streams {
		if id > last {
			s.end(fmt.Errorf("%w: the instance goes away (%s)", ErrUnanswered, k))
		}
	}
}

// pong implements side.
func (c *clientConn) pong() {}

// read implements side.
func (c *clientConn) read() {
	c.came, c.asked = true, false
	if c.ready != nil && c.settings {
		if !c.told {
			c.most = maxStreams
		}
		c.known()
	}
}

// known lets calls that wait for c look again.
func (c *clientConn) known() {
	if c.ready != nil {
		close(c.ready)
		c.ready = nil
	}
}

// wait implements side.
func (c *clientConn) wait() {
	if c.readBy.IsZero() {
		c.readUntil(time.Now().Add(askTime))
	}
}

// overdue implements side: it asks whether someone is there, where calls wait.
func (c *clientConn) overdue() error {
	switch {
	case c.alone && len(c.streams) == 0:
		return io.EOF
	case c.came || len(c.streams) == 0:
		c.came, c.asked = false, false
		c.readUntil(time.Now().Add(askTime))
	case c.asked:
		return errors.New("no answer to a ping")
	default:
		c.asked = true
		c.out = append(appendHead(c.out, 8, framePing, 0, 0), "anybody?"...)
		c.readUntil(time.Now().Add(lostTime))
	}
	return nil
}
