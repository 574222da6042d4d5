package frame

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// stream is one call's state on a connection; c.mu guards all of it. It is used
// again for later calls once nobody refers to it: refs counts the users (the
// answer's holder, the goroutine that sends the body).
type stream struct {
	c    *conn
	id   uint32
	refs int

	sig  chan struct{} // something came in; capacity 1
	wsig chan struct{} // something may be sent; capacity 1

	// Receiving half.
	started bool // RESPONSE or REQUEST came
	infos   []Info
	in      []byte // received and not yet taken: in[off:]
	off     int
	spare   []byte
	recvWin int
	credit  int // taken, not yet given back by WINDOW
	recvEnd bool
	trailer Fields
	err     error     // ends both halves
	resp    *Response // client: where the head of the answer goes

	// Sending half.
	sendWin int
	sendEnd bool

	timer    *time.Timer
	deadline time.Time
	expired  func(*stream) // with the lock, when the deadline has passed
	cancelFn func()        // server: ends the handler's context
	headAt   int           // server: where the RESPONSE queued last begins
}

// Info is an informational answer (100 to 199, not 101).
type Info struct {
	Status int
	Header Fields
}

// get makes a stream ready for use, with the lock.
func (c *conn) get(id uint32) *stream {
	var s *stream
	if n := len(c.free); n > 0 {
		s, c.free = c.free[n-1], c.free[:n-1]
		select {
		case <-s.sig:
		default:
		}
		select {
		case <-s.wsig:
		default:
		}
	} else {
		s = &stream{c: c, sig: make(chan struct{}, 1), wsig: make(chan struct{}, 1)}
	}
	s.id, s.refs = id, 1
	s.recvWin, s.sendWin = InitialWindow, InitialWindow
	c.streams[id] = s
	if id > c.last {
		c.last = id
	}
	return s
}

// unref gives up one use, with the lock.
func (s *stream) unref() {
	if s.refs--; s.refs > 0 {
		return
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	in, spare := s.in[:0], s.spare[:0]
	if cap(in) > WindowStep {
		in = nil
	}
	if cap(spare) > WindowStep {
		spare = nil
	}
	*s = stream{c: s.c, sig: s.sig, wsig: s.wsig, timer: s.timer, in: in, spare: spare}
	if len(s.c.free) < 128 {
		s.c.free = append(s.c.free, s)
	}
}

// notify says that something came in, wake that something may be sent.
func (s *stream) notify() {
	select {
	case s.sig <- struct{}{}:
	default:
	}
}

func (s *stream) wake() {
	select {
	case s.wsig <- struct{}{}:
	default:
	}
}

// leave removes the stream from the connection once both halves are over.
func (s *stream) leave() {
	if s.recvEnd && s.sendEnd || s.err != nil {
		s.remove()
	}
}

func (s *stream) remove() {
	if s.c.streams[s.id] == s {
		delete(s.c.streams, s.id)
	}
}

// take handles body bytes of the peer.
func (s *stream) take(p []byte, end bool) error {
	if s.recvEnd {
		return fmt.Errorf("%w: body bytes after the end of stream %d", ErrProtocol, s.id)
	}
	if !s.started {
		return fmt.Errorf("%w: body bytes before the answer on stream %d", ErrProtocol, s.id)
	}
	if len(p) > s.recvWin {
		return fmt.Errorf("%w: more bytes than the window allows on stream %d", ErrProtocol, s.id)
	}
	s.recvWin -= len(p)
	if s.off == len(s.in) {
		s.in, s.off = s.in[:0], 0
	}
	s.in = append(s.in, p...)
	if end {
		s.recvEnd = true
		s.leave()
	}
	s.notify()
	return nil
}

// taken accounts for n bytes the consumer has; it gives window back in steps.
func (s *stream) taken(n int) {
	s.credit += n
	if s.recvEnd || s.err != nil || s.credit == 0 || s.credit < WindowStep && s.recvWin > 0 {
		return
	}
	c := s.c
	c.wbuf = AppendHeader(c.wbuf, 4, s.id, TypeWindow, 0)
	c.wbuf = binary.BigEndian.AppendUint32(c.wbuf, uint32(s.credit))
	s.recvWin += s.credit
	s.credit = 0
	c.flush()
}

// failed ends the stream because the connection did.
func (s *stream) failed(err error) {
	if s.err == nil {
		s.err = err
	}
	s.over()
}

// canceled ends the stream because the peer gave it up.
func (s *stream) canceled(reason string) {
	if s.err == nil && !(s.recvEnd && s.sendEnd) {
		s.err = fmt.Errorf("%w: %.200s", ErrCallFailed, reason)
	}
	s.remove()
	s.over()
}

func (s *stream) over() {
	s.sendEnd = true
	if s.cancelFn != nil {
		s.cancelFn()
	}
	s.notify()
	s.wake()
}

// abort sends CANCEL where the peer may still be busy with the stream.
func (s *stream) abort(reason string) {
	c := s.c
	if c.streams[s.id] != s {
		return
	}
	delete(c.streams, s.id)
	s.sendEnd = true
	if c.err == nil {
		c.wbuf = AppendHeader(c.wbuf, len(reason), s.id, TypeCancel, 0)
		c.wbuf = append(c.wbuf, reason...)
		c.flush()
	}
}

// setDeadline arms the timer, with the lock; 0 stops it.
func (s *stream) setDeadline(d time.Duration, expired func(*stream)) {
	if d <= 0 {
		s.deadline = time.Time{}
		if s.timer != nil {
			s.timer.Stop()
		}
		return
	}
	s.deadline, s.expired = time.Now().Add(d), expired
	if s.timer == nil {
		c := s.c // fire has no lock yet when it must know whose it is
		s.timer = time.AfterFunc(d, func() { s.fire(c) })
	} else {
		s.timer.Reset(d)
	}
}

// fire is the timer's function. The stream may by then serve another call,
// whose deadline is then a later one.
func (s *stream) fire(c *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stuck()
	if s.deadline.IsZero() || s.refs == 0 || s.err != nil {
		return
	}
	if left := time.Until(s.deadline); left > 0 {
		s.timer.Reset(left)
		return
	}
	s.expired(s)
}

// read copies body bytes to p; it waits for some. The caller holds the lock.
func (s *stream) read(ctx context.Context, p []byte) (int, error) {
	for {
		if s.off < len(s.in) {
			n := copy(p, s.in[s.off:])
			s.off += n
			s.taken(n)
			return n, nil
		}
		if err := s.wait(ctx); err != nil {
			return 0, err
		}
	}
}

// wait returns nil when there are bytes to take, io.EOF at the end.
func (s *stream) wait(ctx context.Context) error {
	for s.off == len(s.in) {
		if s.recvEnd {
			return io.EOF
		}
		if s.err != nil {
			return s.err
		}
		s.c.mu.Unlock()
		var err error
		select {
		case <-s.sig:
		case <-ctx.Done():
			err = ctx.Err()
		}
		s.c.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// swap takes all bytes there are and gives the buffer they are in. It may be
// called again only when the bytes are no longer used.
func (s *stream) swap() []byte {
	b := s.in[s.off:]
	s.in, s.spare, s.off = s.spare[:0], s.in, 0
	return b
}

// write sends body bytes in frames, as the window allows. The caller holds the
// lock. With end the last frame ends the half.
func (s *stream) write(ctx context.Context, p []byte, end bool) (int, error) {
	c, sent := s.c, 0
	for {
		if s.err != nil {
			return sent, s.err
		}
		if s.sendEnd {
			return sent, io.ErrClosedPipe
		}
		full := len(c.wbuf) >= fullSize
		if !full && (len(p) == 0 || s.sendWin > 0) {
			n := min(len(p), s.sendWin, WindowStep)
			last := end && n == len(p)
			var flags byte
			if last {
				flags = FlagEnd
			}
			if n > 0 || last {
				c.wbuf = AppendFrame(c.wbuf, s.id, TypeData, flags, p[:n])
				s.sendWin -= n
				sent += n
				p = p[n:]
			}
			if last {
				s.sendEnd = true
				s.leave()
			}
			if len(p) == 0 {
				c.flush()
				return sent, nil
			}
			continue
		}
		if full {
			c.waiting = append(c.waiting, s)
		}
		c.flush()
		if s.err != nil || len(c.wbuf) < fullSize && s.sendWin > 0 {
			continue
		}
		c.mu.Unlock()
		var err error
		select {
		case <-s.wsig:
		case <-ctx.Done():
			err = ctx.Err()
		}
		c.mu.Lock()
		if err != nil {
			return sent, err
		}
	}
}

// writeTrailer ends the half with trailers, with the lock.
func (s *stream) writeTrailer(f Fields) error {
	if s.err != nil {
		return s.err
	}
	if s.sendEnd {
		return io.ErrClosedPipe
	}
	b, at := begin(s.c.wbuf, s.id, TypeTrailers, 0)
	b, err := AppendBlock(b, f)
	if err != nil {
		return err
	}
	patch(b, at)
	s.c.wbuf, s.sendEnd = b, true
	s.leave()
	s.c.flush()
	return nil
}
