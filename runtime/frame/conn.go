package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	readSize  = 32 << 10  // first size of the read buffer
	keepSize  = 128 << 10 // buffers larger than this are not kept
	fullSize  = 512 << 10 // pending bytes above which body writers wait
	stuckTime = 10 * time.Second
)

// peer is the part of a connection that differs between host and instance. Its
// methods are called by the goroutine that reads. p is valid during the call.
type peer interface {
	// control handles a frame of stream 0; without the lock.
	control(h Header, p []byte) error
	// open handles a REQUEST or RESPONSE; with the lock.
	open(h Header, p []byte) error
	// lost is called once after the connection has failed; without the lock.
	lost()
}

// conn is what both sides share: framing, streams, windows, writing. mu guards
// all fields but those of the reader.
type conn struct {
	nc   net.Conn
	peer peer
	done chan struct{} // closed when err is set

	mu      sync.Mutex
	err     error
	streams map[uint32]*stream
	last    uint32 // highest stream id in use so far
	free    []*stream
	wbuf    []byte // pending
	spare   []byte // the other buffer while wbuf is being filled
	writing bool
	since   time.Time // start of the write under way
	idle    *sync.Cond
	waiting []*stream // body writers that wait for wbuf to shrink

	// Who reads; see lead.go. The buffer belongs to the goroutine that has the
	// role: unread bytes are rbuf[r:w].
	lazy      bool // nobody needs to read while no call is open
	reading   bool
	armed     bool
	used      time.Time // last time a call gave up the role
	readUntil time.Time // deadline set on nc's reads; zero: none
	rbuf      []byte
	r, w      int
}

func (c *conn) start(nc net.Conn, p peer) {
	c.nc, c.peer = nc, p
	c.done = make(chan struct{})
	c.streams = map[uint32]*stream{}
	c.rbuf = make([]byte, readSize)
	c.idle = sync.NewCond(&c.mu)
}

var errPeerClosed = errors.New("the peer closed the connection")

// fail ends the connection. It is called with the lock.
func (c *conn) fail(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	c.nc.Close()
	for _, s := range c.streams {
		s.failed(err)
	}
	clear(c.streams)
	c.idle.Broadcast()
}

// close ends the connection from this side.
func (c *conn) close() {
	c.mu.Lock()
	c.fail(ErrClosed)
	c.mu.Unlock()
}

// flush writes what is pending unless someone does so already. It is called
// with the lock, which it gives up while it writes, and returns with it.
func (c *conn) flush() {
	if c.writing || c.err != nil {
		return
	}
	c.writing = true
	if len(c.streams) > 2 {
		// Others are about to send too: let them add to the same write.
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	c.drainLocked()
	c.writing = false
	c.idle.Broadcast()
}

// drainLocked writes until nothing is pending. The caller has set writing.
func (c *conn) drainLocked() {
	for len(c.wbuf) > 0 && c.err == nil {
		b := c.wbuf
		c.wbuf = c.spare[:0]
		c.since = time.Now()
		for _, s := range c.waiting {
			s.wake()
		}
		c.waiting = c.waiting[:0]
		c.mu.Unlock()
		_, err := c.nc.Write(b)
		c.mu.Lock()
		if c.spare = b[:0]; cap(b) > keepSize {
			c.spare = nil
		}
		if err != nil {
			c.fail(fmt.Errorf("write: %w", err))
		}
	}
}

// kick has another goroutine write what is pending: the reader itself must
// never wait for the peer to read. It is called with the lock.
func (c *conn) kick() {
	if c.writing || c.err != nil || len(c.wbuf) == 0 {
		return
	}
	go func() {
		c.mu.Lock()
		c.flush()
		c.mu.Unlock()
	}()
}

// stuck ends the connection when one write has taken too long. It is called
// with the lock, from timers.
func (c *conn) stuck() {
	if c.writing && time.Since(c.since) > stuckTime {
		c.fail(errors.New("the peer does not read"))
	}
}

// send queues a frame and writes it.
func (c *conn) send(stream uint32, typ, flags byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.wbuf = AppendFrame(c.wbuf, stream, typ, flags, payload)
	c.flush()
	return c.err
}

// fill reads once.
func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
		if len(c.rbuf) > keepSize {
			c.rbuf = make([]byte, readSize)
		}
	} else if c.w == len(c.rbuf) {
		need := HeaderSize
		if c.w-c.r >= HeaderSize {
			need += int(binary.BigEndian.Uint32(c.rbuf[c.r:])) // checked by handleAll
		}
		to := c.rbuf
		if need > len(to) {
			to = make([]byte, need+readSize)
		}
		c.w = copy(to, c.rbuf[c.r:c.w])
		c.rbuf, c.r = to, 0
	}
	n, err := c.nc.Read(c.rbuf[c.w:])
	c.w += n
	if err != nil && n == 0 {
		if err == io.EOF {
			err = errPeerClosed // not io.EOF, which ends a body well
		}
		return err
	}
	return nil
}

// handleAll handles every whole frame that was read.
func (c *conn) handleAll() error {
	for c.w-c.r >= HeaderSize {
		h, err := ParseHeader(c.rbuf[c.r:])
		if err != nil {
			return err
		}
		end := c.r + HeaderSize + int(h.Length)
		if end > c.w {
			return nil
		}
		p := c.rbuf[c.r+HeaderSize : end]
		c.r = end
		if err := c.handle(h, p); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) handle(h Header, p []byte) error {
	switch {
	case h.Type >= 128:
		return nil
	case h.Type == TypePing || h.Type == TypePong:
		if h.Stream != 0 || len(p) != 8 {
			return fmt.Errorf("%w: a malformed PING", ErrProtocol)
		}
		if h.Type == TypePing {
			c.mu.Lock()
			c.wbuf = AppendFrame(c.wbuf, 0, TypePong, 0, p)
			c.kick()
			c.mu.Unlock()
			return nil
		}
		return c.peer.control(h, p)
	case h.Stream == 0:
		return c.peer.control(h, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	switch h.Type {
	case TypeRequest, TypeResponse:
		return c.peer.open(h, p)
	case TypeData, TypeTrailers, TypeWindow, TypeCancel:
	default:
		return fmt.Errorf("%w: a frame of type %d on stream %d", ErrProtocol, h.Type, h.Stream)
	}
	s := c.streams[h.Stream]
	if s == nil {
		if h.Stream > c.last && c.last < 1<<31 {
			return fmt.Errorf("%w: a frame on stream %d, which was never opened", ErrProtocol, h.Stream)
		}
		return nil // it crossed a CANCEL or the end
	}
	switch h.Type {
	case TypeData:
		return s.take(p, h.End())
	case TypeTrailers:
		var err error
		if s.trailer, _, err = ParseBlock(p, nil); err != nil {
			return err
		}
		return s.take(nil, true)
	case TypeWindow:
		if len(p) != 4 {
			return fmt.Errorf("%w: a malformed WINDOW", ErrProtocol)
		}
		n := binary.BigEndian.Uint32(p)
		if n > maxWindow || s.sendWin+int(n) > maxWindow {
			return fmt.Errorf("%w: a window of more than %d bytes", ErrProtocol, maxWindow)
		}
		s.sendWin += int(n)
		s.wake()
	case TypeCancel:
		s.canceled(string(p))
	}
	return nil
}
