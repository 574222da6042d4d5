package h2

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
)

// streamError is a call's end before its time.
type streamError struct {
	code code
	peer bool // it was the peer's wish
}

func (e *streamError) Error() string {
	if e.peer {
		return "http2: the peer reset the stream: " + e.code.String()
	}
	return "http2: the stream was reset: " + e.code.String()
}

// stream is one call. Everything is guarded by its connection's lock.
type stream struct {
	c    *conn
	id   uint32
	cond *sync.Cond // something came, was allowed, or is over
	err  error      // why nothing more goes in either direction

	sendWin int64
	sendEnd bool
	blocked bool // on a window

	recvWin  int
	taken    int // of it: consumed and not yet given back
	recvEnd  bool
	data     []byte // received; data[off:] is not consumed
	off      int
	lent     []byte // what next gave out last, to be used again
	left     int64  // of the content-length; -1: not told
	trailers []hpack.HeaderField

	readBy, writeBy time.Time // zero: none
	awoken          bool      // is on the connection's list
	answer          *Answer   // of a client's stream
	onEnd           func()    // called once, with the lock, when err is set; nil: nothing is
}

func (s *stream) init(c *conn, id uint32) {
	s.c, s.id, s.left = c, id, -1
	s.cond = sync.NewCond(&c.mu)
	s.sendWin, s.recvWin = c.firstSend, c.each
	c.streams[id] = s
}

// wake continues who waits.
func (s *stream) wake() {
	s.awoken = false
	s.cond.Broadcast()
}

// later has s woken when the read is handled.
func (s *stream) later() {
	if !s.awoken {
		s.awoken = true
		s.c.awake = append(s.c.awake, s)
	}
}

func (s *stream) unblock() {
	if s.blocked && s.sendWin > 0 && s.c.sendWin > 0 {
		s.blocked = false
		s.later()
	}
}

// receive takes a DATA frame whose payload without padding is p.
func (s *stream) receive(h frameHead, p []byte) {
	c := s.c
	if s.recvEnd {
		c.giveBack(h.length)
		s.abort(codeClosed)
		return
	}
	if s.recvWin -= h.length; s.recvWin < 0 {
		c.giveBack(h.length)
		s.abort(codeFlow)
		return
	}
	if s.err != nil {
		c.giveBack(h.length)
		return
	}
	if pad := h.length - len(p); pad > 0 {
		s.consumed(pad)
	}
	if s.left >= 0 {
		if s.left -= int64(len(p)); s.left < 0 || h.has(flagEndStream) && s.left > 0 {
			c.giveBack(len(p))
			s.abort(codeProtocol)
			return
		}
	}
	s.data = append(s.data, p...)
	if h.has(flagEndStream) {
		s.recvEnd = true
	}
	s.later()
}

// consumed gives n bytes of the windows back.
func (s *stream) consumed(n int) {
	s.c.giveBack(n)
	if s.recvEnd || s.err != nil {
		return
	}
	if s.taken += n; s.taken >= s.c.each/2 {
		s.c.out = appendWindow(s.c.out, s.id, s.taken)
		s.recvWin += s.taken
		s.taken = 0
	}
}

// buffered is how much has come and was not consumed, and whether it is the end.
func (s *stream) buffered() (n int, last bool) { return len(s.data) - s.off, s.recvEnd }

// read consumes what has come, waiting for some where there is none.
func (s *stream) read(p []byte) (int, error) {
	if err := s.await(); err != nil {
		return 0, err
	}
	n := copy(p, s.data[s.off:])
	if s.off += n; s.off == len(s.data) {
		s.data, s.off = s.data[:0], 0
	}
	s.consumed(n)
	s.c.flush()
	return n, nil
}

// next consumes all that has come. The bytes are the caller's until he asks
// again.
func (s *stream) next() ([]byte, error) {
	if err := s.await(); err != nil {
		return nil, err
	}
	b := s.data[s.off:]
	s.data, s.lent, s.off = s.lent[:0], s.data, 0
	s.consumed(len(b))
	if s.c.out != nil {
		s.c.flush()
	}
	return b, nil
}

// await waits for data; io.EOF is their end.
func (s *stream) await() error {
	for s.off == len(s.data) {
		switch {
		case s.recvEnd:
			return io.EOF
		case s.err != nil:
			return s.err
		case passed(s.readBy):
			return os.ErrDeadlineExceeded
		}
		s.pause(s.readBy)
	}
	return nil
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// pause waits until s is woken, or a time has come.
func (s *stream) pause(until time.Time) {
	if until.IsZero() {
		s.cond.Wait()
		return
	}
	c, cond := s.c, s.cond // s may be used again when the timer fires
	t := time.AfterFunc(time.Until(until), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		cond.Broadcast()
	})
	s.cond.Wait()
	t.Stop()
}

// write sends p as the windows allow, and the end of the stream behind it.
func (s *stream) write(p []byte, end bool) (n int, err error) {
	c := s.c
	for {
		switch {
		case s.err != nil:
			return n, s.err
		case c.err != nil:
			return n, c.err
		case s.sendEnd:
			return n, errors.New("http2: a write behind the end")
		case passed(s.writeBy):
			return n, os.ErrDeadlineExceeded
		case len(p) > 0 && (s.sendWin <= 0 || c.sendWin <= 0):
			s.blocked = true
			c.flush()
			if s.blocked && s.err == nil && c.err == nil {
				s.pause(s.writeBy)
			}
			continue
		case len(c.out) > maxPending:
			if c.flush(); len(c.out) > maxPending && c.err == nil && s.err == nil {
				c.room.Wait()
			}
			continue
		}
		m := int(min(int64(len(p)), s.sendWin, c.sendWin, int64(c.peerFrame)))
		var flags byte
		if end && m == len(p) {
			flags, s.sendEnd = flagEndStream, true
		}
		c.out = append(appendHead(c.out, m, frameData, flags, s.id), p[:m]...)
		s.sendWin -= int64(m)
		c.sendWin -= int64(m)
		n += m
		if p = p[m:]; len(p) == 0 {
			return n, nil
		}
	}
}

// end notes that nothing more goes in either direction.
func (s *stream) end(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.later()
	if s.onEnd != nil {
		s.onEnd()
	}
}

// abort ends s and tells the peer.
func (s *stream) abort(k code) {
	if s.err == nil {
		s.c.out = appendReset(s.c.out, s.id, k)
	}
	s.end(&streamError{k, false})
}

// close takes s out of its connection. What was not consumed is given back.
func (s *stream) close() {
	c := s.c
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	if c.recent == s {
		c.recent = nil
	}
	if s.awoken {
		for i := range c.awake {
			if c.awake[i] == s {
				c.awake[i] = nil
			}
		}
	}
	c.giveBack(len(s.data) - s.off)
	s.data, s.off = s.data[:0], 0
}
