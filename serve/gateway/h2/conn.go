package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
)

// side is what a server's and a client's connection do differently. All methods
// are called by the reading goroutine, with the lock.
type side interface {
	// section takes a whole field section. s is nil where no such stream is open.
	section(id uint32, s *stream, end bool) error
	// stray says what a frame for a stream that is not open means: nil where it
	// may still have been under way, else the connection's end.
	stray(h frameHead) error
	// reset is told that the peer has reset s.
	reset(s *stream) error
	goAway(last uint32, c code)
	pong()
	// read is called when all that came with one read was handled.
	read()
	// wait sets the deadline of the next read.
	wait()
	// overdue is called when it has passed; an error ends the connection.
	overdue() error
}

// conn is what both sides of a connection have.
type conn struct {
	nc   net.Conn
	side side

	// Of the reading goroutine.
	in       []byte
	r, w     int // unhandled bytes are in[r:w]
	dec      *hpack.Decoder
	sect     section
	settings bool // the peer's first frame has come

	mu      sync.Mutex // guards what follows, and all streams
	awake   []*stream  // to be woken when the read is handled
	readBy  time.Time  // the read deadline; zero: none
	err     error      // why it ended
	streams map[uint32]*stream
	recent  *stream // the one of them DATA came for last; nil: none
	out     []byte  // to be written
	spare   []byte
	writing bool
	writeBy time.Time
	room    sync.Cond // out was written

	enc     *hpack.Encoder
	encoded bytes.Buffer

	sendWin   int64 // bytes the peer takes on all streams
	firstSend int64 // and on a new one
	peerFrame int
	window    int // of what is received, on all streams; each has windowEach
	each      int
	recvWin   int // what the peer may still send
	taken     int // of window: handled and not yet given back
}

func (c *conn) init(nc net.Conn, s side, window, each int) {
	c.nc, c.side = nc, s
	c.in = make([]byte, 2*maxFrame)
	c.streams = map[uint32]*stream{}
	c.room.L = &c.mu
	c.enc = hpack.NewEncoder(&c.encoded)
	c.dec = hpack.NewDecoder(tableSize, c.sect.add)
	c.dec.SetMaxStringLength(maxSection)
	c.sendWin, c.firstSend, c.peerFrame = firstWindow, firstWindow, maxFrame
	c.window, c.each, c.recvWin = window, each, window
}

// readLoop handles frames until the connection ends, and says why it did.
func (c *conn) readLoop() error {
	for {
		c.mu.Lock()
		err := c.frames()
		c.side.read()
		for i, s := range c.awake {
			if s != nil {
				s.wake()
				c.awake[i] = nil
			}
		}
		c.awake = c.awake[:0]
		c.flushLater()
		if err == nil {
			err = c.err
		}
		if err == nil {
			c.side.wait()
		}
		c.mu.Unlock()
		if err != nil {
			return err
		}
		if c.r == c.w {
			c.r, c.w = 0, 0
		} else if len(c.in)-c.r < headSize+maxFrame {
			c.w = copy(c.in, c.in[c.r:c.w])
			c.r = 0
		}
		n, err := c.nc.Read(c.in[c.w:])
		c.w += n
		if err == nil || n > 0 {
			continue
		}
		var t net.Error
		if errors.As(err, &t) && t.Timeout() {
			c.mu.Lock()
			err = c.side.overdue()
			c.flushLater()
			c.mu.Unlock()
		}
		if err != nil {
			return err
		}
	}
}

// frames handles every whole frame that was read.
func (c *conn) frames() error {
	for c.w-c.r >= headSize {
		h := parseHead(c.in[c.r:])
		if h.length > maxFrame {
			return broken(codeFrameSize, "a frame of %d bytes", h.length)
		}
		if c.w-c.r < headSize+h.length {
			return nil
		}
		p := c.in[c.r+headSize : c.r+headSize+h.length]
		c.r += headSize + h.length
		if !c.settings && (h.kind != frameSettings || h.has(flagAck)) {
			return broken(codeProtocol, "the first frame is not SETTINGS")
		}
		c.settings = true
		if err := c.frame(h, p); err != nil {
			return err
		}
		if len(c.out) > 4*maxPending && !c.writing {
			return broken(codeCalm, "answers are asked for and not read")
		}
	}
	return nil
}

func (c *conn) frame(h frameHead, p []byte) error {
	if c.sect.open && (h.kind != frameContinuation || h.stream != c.sect.stream) {
		return broken(codeProtocol, "a field section is interrupted")
	}
	switch h.kind {
	case frameData:
		return c.data(h, p)
	case frameHeaders:
		if h.stream == 0 {
			return broken(codeProtocol, "HEADERS without a stream")
		}
		p, err := unpad(h, p)
		if err != nil {
			return err
		}
		if h.has(flagPriority) {
			if len(p) < 5 {
				return broken(codeFrameSize, "HEADERS with half a priority")
			}
			p = p[5:]
		}
		c.sect.begin(h.stream, h.has(flagEndStream))
		return c.fragment(h, p)
	case frameContinuation:
		if !c.sect.open {
			return broken(codeProtocol, "CONTINUATION of nothing")
		}
		return c.fragment(h, p)
	case framePriority:
		if h.stream == 0 || h.length != 5 {
			return broken(codeFrameSize, "a malformed PRIORITY")
		}
	case frameReset:
		if h.stream == 0 || h.length != 4 {
			return broken(codeFrameSize, "a malformed RST_STREAM")
		}
		s := c.streams[h.stream]
		if s == nil {
			return c.side.stray(h)
		}
		s.end(&streamError{code(binary.BigEndian.Uint32(p)), true})
		return c.side.reset(s)
	case frameSettings:
		return c.peerSettings(h, p)
	case framePush:
		return broken(codeProtocol, "a push, which nobody allowed")
	case framePing:
		if h.stream != 0 || h.length != 8 {
			return broken(codeFrameSize, "a malformed PING")
		}
		if h.has(flagAck) {
			c.side.pong()
			return nil
		}
		c.out = append(appendHead(c.out, 8, framePing, flagAck, 0), p...)
	case frameGoAway:
		if h.stream != 0 || h.length < 8 {
			return broken(codeFrameSize, "a malformed GOAWAY")
		}
		c.side.goAway(binary.BigEndian.Uint32(p)&maxWindow, code(binary.BigEndian.Uint32(p[4:])))
	case frameWindow:
		return c.moreWindow(h, p)
	}
	return nil
}

// fragment takes a part of a field section.
func (c *conn) fragment(h frameHead, p []byte) error {
	if err := c.sect.take(c.dec, p); err != nil {
		return err
	}
	if !h.has(flagEndHeaders) {
		return nil
	}
	c.sect.open = false
	if err := c.dec.Close(); err != nil {
		return broken(codeCompression, "%v", err)
	}
	return c.side.section(h.stream, c.streams[h.stream], c.sect.end)
}

func (c *conn) data(h frameHead, p []byte) error {
	if h.stream == 0 {
		return broken(codeProtocol, "DATA without a stream")
	}
	if c.recvWin -= h.length; c.recvWin < 0 {
		return broken(codeFlow, "more DATA than the window allows")
	}
	p, err := unpad(h, p)
	if err != nil {
		return err
	}
	s := c.recent
	if s == nil || s.id != h.stream {
		if s = c.streams[h.stream]; s == nil {
			c.giveBack(h.length)
			return c.side.stray(h)
		}
		c.recent = s
	}
	s.receive(h, p)
	return nil
}

func (c *conn) peerSettings(h frameHead, p []byte) error {
	switch {
	case h.stream != 0:
		return broken(codeProtocol, "SETTINGS of a stream")
	case h.has(flagAck) && h.length != 0, h.length%6 != 0:
		return broken(codeFrameSize, "malformed SETTINGS")
	case h.has(flagAck):
		return nil
	}
	for ; len(p) > 0; p = p[6:] {
		v := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingTableSize:
			c.enc.SetMaxDynamicTableSizeLimit(min(v, tableSize))
		case settingPush:
			if v > 1 {
				return broken(codeProtocol, "ENABLE_PUSH %d", v)
			}
		case settingMaxStreams:
			if k, ok := c.side.(*clientConn); ok {
				k.most, k.told = int(min(v, maxStreams)), true
			}
		case settingInitialWindow:
			if v > maxWindow {
				return broken(codeFlow, "a window of %d", v)
			}
			more := int64(v) - c.firstSend
			c.firstSend = int64(v)
			for _, s := range c.streams {
				if s.sendWin += more; s.sendWin > maxWindow {
					return broken(codeFlow, "a window of more than %d", maxWindow)
				}
				s.unblock()
			}
		case settingMaxFrame:
			if v < maxFrame || v > 1<<24-1 {
				return broken(codeProtocol, "frames of %d bytes", v)
			}
		}
	}
	c.out = appendHead(c.out, 0, frameSettings, flagAck, 0)
	return nil
}

func (c *conn) moreWindow(h frameHead, p []byte) error {
	if h.length != 4 {
		return broken(codeFrameSize, "a malformed WINDOW_UPDATE")
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	if h.stream == 0 {
		if n == 0 {
			return broken(codeProtocol, "a window grows by nothing")
		}
		if c.sendWin += n; c.sendWin > maxWindow {
			return broken(codeFlow, "a window of more than %d", maxWindow)
		}
		for _, s := range c.streams {
			s.unblock()
		}
		return nil
	}
	s := c.streams[h.stream]
	switch {
	case s == nil && n == 0 && c.side.stray(h) == nil:
		c.out = appendReset(c.out, h.stream, codeProtocol)
	case s == nil:
		return c.side.stray(h)
	case n == 0:
		s.abort(codeProtocol)
	default:
		if s.sendWin += n; s.sendWin > maxWindow {
			s.abort(codeFlow)
			return nil
		}
		s.unblock()
	}
	return nil
}

// giveBack lets the peer send n bytes more, on all streams together.
func (c *conn) giveBack(n int) {
	if c.taken += n; c.taken >= c.window/2 {
		c.out = appendWindow(c.out, 0, c.taken)
		c.recvWin += c.taken
		c.taken = 0
	}
}

// stallTime is how long a peer may not take anything of what is written.
const stallTime = time.Minute

// flush writes what is collected, unless someone is at it, who then writes this
// too. It is called with the lock, which is given up meanwhile.
func (c *conn) flush() {
	if c.writing || c.err != nil || len(c.out) == 0 {
		return
	}
	c.writing = true
	// Others that are about to say something can do so.
	c.mu.Unlock()
	runtime.Gosched()
	c.mu.Lock()
	for len(c.out) > 0 && c.err == nil {
		b := c.out
		c.out, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		if now := time.Now(); c.writeBy.Sub(now) < stallTime/2 {
			c.writeBy = now.Add(stallTime)
			c.nc.SetWriteDeadline(c.writeBy)
		}
		_, err := c.nc.Write(b)
		c.mu.Lock()
		if cap(b) <= maxPending {
			c.spare = b[:0]
		}
		if err != nil {
			c.fail(err)
		}
		c.room.Broadcast()
	}
	c.writing = false
	c.room.Broadcast()
}

// flushLater is flush for the reading goroutine, which must not wait for a peer
// that does not read.
func (c *conn) flushLater() {
	if c.writing || c.err != nil || len(c.out) == 0 {
		return
	}
	go func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.flush()
	}()
}

// fail ends the connection and every call on it. It is called with the lock.
func (c *conn) fail(err error) {
	if c.err != nil {
		return
	}
	if err == nil {
		err = io.EOF
	}
	c.err = err
	for _, s := range c.streams {
		s.end(err)
		s.wake()
	}
	c.room.Broadcast()
	c.nc.Close()
}

// readUntil sets the read deadline, with the lock.
func (c *conn) readUntil(t time.Time) {
	c.readBy = t
	c.nc.SetReadDeadline(t)
}

// say writes what waits and a last GOAWAY to a peer that reads.
func (c *conn) say(last uint32, why error) {
	k := codeNo
	words := ""
	var e *connError
	if errors.As(why, &e) {
		k, words = e.code, e.why
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k != codeNo {
		c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	}
	for c.writing && c.err == nil {
		c.room.Wait()
	}
	if c.err != nil {
		return
	}
	c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	c.nc.Write(appendGoAway(c.out, last, k, words))
	c.out = nil
}
