package frame

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Request is one call. Its strings and fields are only read during Do, its Body
// until the answer is closed.
type Request struct {
	Method, Target, Authority, Scheme, Remote, ID string

	// Deadline is the time left for the call: the instance is told, and when it
	// has passed the call is cancelled and fails with api.CodeTimeout, until
	// the answer is closed or Response.SetDeadline changes it. 0: none.
	Deadline time.Duration
	// Header has no hop-by-hop fields; those of an upgrade (connection,
	// upgrade) excepted.
	Header Fields
	// Body is read by another goroutine until it ends or the call is over; nil
	// is none. Where it has a method Close, that is called when it is no longer
	// read, also when Do fails; a Read that blocks then must be ended by its
	// owner.
	Body io.Reader
	// Trailer gives the trailers once Body has ended; nil: none.
	Trailer func() Fields
	// First holds the first bytes of the body, sent with the head; Body follows.
	First []byte
	// Upgrade keeps the request's half open for an answer 101.
	Upgrade bool
	// Informational is called for answers 100 to 199, from Do; nil drops them.
	Informational func(status int, h Fields)
}

// Response is an answer whose head has come. It must be closed.
type Response struct {
	Status int
	Header Fields

	c   *Client
	s   *stream // nil once closed
	ctx context.Context
	arr [12]Field
}

// Do makes a call and returns when the head of the answer is there. ctx ends
// the call also later, while the answer is read. The errors are *api.Error:
// CodeInstanceLost (ErrUnanswered or ErrCallFailed in the chain say which kind),
// CodeTimeout, CodeCanceled, CodeTooLarge for a head that does not fit.
func (c *Client) Do(ctx context.Context, rq *Request) (*Response, error) {
	r := &Response{c: c, ctx: ctx}
	if err := ctx.Err(); err != nil {
		closeBody(rq.Body)
		return nil, canceledBy(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		closeBody(rq.Body)
		return nil, c.callError(c.err, false)
	}
	s := c.get(c.nextID())
	r.s = s
	s.resp = r
	if err := c.appendRequest(s, rq); err != nil {
		delete(c.streams, s.id)
		s.unref()
		closeBody(rq.Body)
		return nil, err
	}
	s.setDeadline(rq.Deadline, expire)
	if rq.Body != nil {
		s.refs++
		go r.pump(s, rq.Body, rq.Trailer)
	}
	c.flush()
	if c.lazy && !c.reading {
		c.reading = true
		if len(c.streams) == 1 && rq.Body == nil {
			c.lead(s)
		} else {
			go c.readLoop()
		}
	}
	for {
		err := s.err
		if len(s.infos) > 0 && rq.Informational != nil {
			infos := s.infos
			s.infos = nil
			c.mu.Unlock()
			for _, i := range infos {
				rq.Informational(i.Status, i.Header)
			}
			c.mu.Lock()
			continue
		}
		if s.started {
			if rq.Upgrade && r.Status != 101 && !s.sendEnd && rq.Body == nil {
				s.write(ctx, nil, true)
			}
			return r, nil
		}
		if err == nil {
			c.mu.Unlock()
			select {
			case <-s.sig:
			case <-ctx.Done():
				err = ctx.Err()
			}
			c.mu.Lock()
			if err == nil || s.started {
				continue
			}
			s.abort("the caller is gone")
		}
		err = c.callError(err, false)
		r.release()
		return nil, err
	}
}

// nextID chooses a stream id that is not in use.
func (c *Client) nextID() uint32 {
	id := c.last
	for {
		if id++; id == 0 || id > math.MaxInt32 {
			id = 1
		}
		if _, used := c.streams[id]; !used {
			return id
		}
	}
}

// appendRequest queues the REQUEST, with the first bytes of the body.
func (c *Client) appendRequest(s *stream, rq *Request) error {
	ms := uint32(0)
	if rq.Deadline > 0 {
		ms = uint32(min(max(rq.Deadline.Milliseconds(), 1), math.MaxUint32))
	}
	var flags byte
	if rq.Body == nil && !rq.Upgrade {
		flags, s.sendEnd = FlagEnd, true
	}
	before := len(c.wbuf)
	b, at := begin(c.wbuf, s.id, TypeRequest, flags)
	b, err := AppendHead(b, &Head{ms, rq.Method, rq.Target, rq.Authority, rq.Scheme, rq.Remote, rq.ID, rq.Header})
	if err == nil && len(rq.First) > 0 {
		if len(rq.First) > InitialWindow {
			err = fmt.Errorf("%d first bytes are more than the window", len(rq.First))
		}
		b = append(b, rq.First...)
		s.sendWin -= len(rq.First)
	}
	if err == nil && len(b)-at-HeaderSize > MaxPayload {
		err = fmt.Errorf("a head of %d bytes", len(b)-at)
	}
	if err != nil {
		c.wbuf = b[:before]
		return api.Errorf(api.CodeTooLarge, "the request does not fit the loader protocol: %w", err)
	}
	patch(b, at)
	c.wbuf = b
	return nil
}

// pump sends the body.
func (r *Response) pump(s *stream, body io.Reader, trailer func() Fields) {
	c := r.c
	defer closeBody(body)
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		c.mu.Lock()
		end := err == io.EOF && trailer == nil
		if n > 0 || end {
			if _, werr := s.write(r.ctx, buf[:n], end); werr != nil {
				s.unref()
				c.mu.Unlock()
				return
			}
		}
		if err == nil && s.err == nil {
			c.mu.Unlock()
			continue
		}
		switch {
		case err == io.EOF && trailer != nil:
			s.writeTrailer(trailer())
		case err != nil && err != io.EOF && !s.sendEnd:
			if s.err == nil {
				s.err = &bodyError{err}
			}
			s.abort("the request's body ended early")
			s.over()
		}
		s.unref()
		c.mu.Unlock()
		return
	}
}

func closeBody(body io.Reader) {
	if c, ok := body.(io.Closer); ok {
		c.Close()
	}
}

// bodyError says that reading the request's body failed.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "reading the request's body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// open implements peer: a RESPONSE.
func (c *Client) open(h Header, p []byte) error {
	if h.Type != TypeResponse {
		return fmt.Errorf("%w: a REQUEST from an instance", ErrProtocol)
	}
	if len(p) < 2 {
		return fmt.Errorf("%w: a RESPONSE cut short", ErrProtocol)
	}
	status := int(binary.BigEndian.Uint16(p))
	if status < 100 || status > 999 {
		return fmt.Errorf("%w: status %d", ErrProtocol, status)
	}
	s := c.streams[h.Stream]
	if s == nil {
		if h.Stream > c.last && c.last < 1<<31 {
			return fmt.Errorf("%w: an answer on stream %d, which was never opened", ErrProtocol, h.Stream)
		}
		return nil
	}
	if s.started {
		return fmt.Errorf("%w: a second RESPONSE on stream %d", ErrProtocol, h.Stream)
	}
	if status < 200 && status != 101 {
		f, rest, err := ParseBlock(p[2:], nil)
		if err != nil || len(rest) > 0 || h.End() {
			return fmt.Errorf("%w: a malformed informational RESPONSE", ErrProtocol)
		}
		if len(s.infos) < 16 {
			s.infos = append(s.infos, Info{status, f})
		}
		s.notify()
		return nil
	}
	f, rest, err := ParseBlock(p[2:], s.resp.arr[:0])
	if err != nil {
		return err
	}
	s.resp.Status, s.resp.Header, s.started = status, f, true
	return s.take(rest, h.End())
}

// expire cancels a call whose deadline has passed.
func expire(s *stream) {
	s.err = errDeadline
	s.abort("the deadline has passed")
	s.over()
}

var errDeadline = errors.New("the deadline has passed")

// callError is what a call's caller is told of err.
func (c *Client) callError(err error, started bool) error {
	var body *bodyError
	switch {
	case err == errDeadline:
		return &api.Error{Code: api.CodeTimeout, Message: "the function did not answer in time", Cause: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return canceledBy(err)
	case errors.As(err, &body):
		var e *api.Error
		if errors.As(body.err, &e) {
			return e
		}
		return canceledBy(err)
	case errors.Is(err, ErrCallFailed):
		return &api.Error{Code: api.CodeInstanceLost, Message: "the function gave up the call", Cause: err}
	case started:
		return &api.Error{Code: api.CodeInstanceLost, Message: "the instance was lost while it answered", Cause: err}
	}
	return &api.Error{Code: api.CodeInstanceLost, Message: "the instance was lost before it answered", Cause: fmt.Errorf("%w: %w", ErrUnanswered, err)}
}

func canceledBy(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &api.Error{Code: api.CodeTimeout, Message: "the function did not answer in time", Cause: err}
	}
	return &api.Error{Code: api.CodeCanceled, Message: "the caller went away", Cause: err}
}
