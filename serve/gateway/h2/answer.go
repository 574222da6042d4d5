package h2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/hearth-run/hearth/runtime/frame"
)

// Answer is what came back for a call. Close ends it.
type Answer struct {
	stream
	cc      *clientConn
	status  int // 0: has not come
	fields  frame.Fields
	infos   []info
	unwatch func() bool
	timer   *time.Timer
}

type info struct {
	status int
	fields frame.Fields
}

// Do makes a call and returns when its answer begins. Errors are ctx's, or
// os.ErrDeadlineExceeded, or wrap ErrUnanswered, ErrReset or ErrLost.
func (cl *Client) Do(ctx context.Context, r *Request) (*Answer, error) {
	closeBody := func() {
		if b, ok := r.Body.(io.Closer); ok {
			b.Close()
		}
	}
	c, err := cl.open(ctx)
	if err != nil {
		closeBody()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnanswered, err)
	}
	a := &Answer{cc: c}
	a.answer = a
	a.init(&c.conn, c.next)
	a.data, a.lent = c.buffer(), c.buffer()
	c.next += 2
	c.request(a, r)
	if r.Body != nil {
		go a.send(r, closeBody)
	}
	c.flush()
	a.arm(ctx, r.Deadline)
	for a.status == 0 && a.err == nil {
		for len(a.infos) > 0 {
			i := a.infos[0]
			if a.infos = a.infos[1:]; r.Informational != nil {
				c.mu.Unlock()
				r.Informational(i.status, i.fields)
				c.mu.Lock()
			}
		}
		if a.status == 0 && a.err == nil {
			a.cond.Wait()
		}
	}
	if a.status == 0 {
		err := failure(a.err)
		c.mu.Unlock()
		a.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	c.mu.Unlock()
	return a, nil
}

// request writes the head, and what comes with it.
func (c *clientConn) request(a *Answer, r *Request) {
	c.field(":method", r.Method)
	c.field(":scheme", r.Scheme)
	c.field(":path", r.Target)
	c.field(":authority", r.Host)
	for i := range r.Header {
		f := &r.Header[i]
		c.field(lower(f.Name), f.Value)
	}
	if r.Length > 0 || r.Length == 0 && (r.Method == "POST" || r.Method == "PUT" || r.Method == "PATCH") {
		c.field("content-length", strconv.FormatInt(r.Length, 10))
	}
	whole := r.Body == nil
	c.appendSection(a.id, whole && len(r.First) == 0)
	switch {
	case whole && len(r.First) == 0:
		a.sendEnd = true
	case whole && int64(len(r.First)) > min(a.sendWin, c.sendWin):
		// The windows are smaller than what is called a small body.
		first := append([]byte(nil), r.First...)
		go func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			a.write(first, true)
			c.flush()
		}()
	case len(r.First) > 0:
		a.write(r.First, whole)
	}
}

// send is the goroutine that sends a body.
func (a *Answer) send(r *Request, closeBody func()) {
	defer closeBody()
	c := &a.cc.conn
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		c.mu.Lock()
		if n > 0 {
			if _, werr := a.write(buf[:n], false); werr != nil {
				c.mu.Unlock()
				return
			}
		}
		switch {
		case err == io.EOF:
			a.finish(r.Trailer)
		case err != nil:
			a.err = cmp.Or(a.err, err)
			c.out = appendReset(c.out, a.id, codeCancel)
			a.cond.Broadcast()
		}
		c.flush()
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// finish ends the request's half of the stream, with the lock.
func (a *Answer) finish(trailer func() frame.Fields) {
	if a.err != nil || a.sendEnd {
		return
	}
	var f frame.Fields
	if trailer != nil {
		f = trailer()
	}
	if len(f) == 0 {
		a.write(nil, true)
		return
	}
	for _, x := range f {
		a.c.field(lower(x.Name), x.Value)
	}
	a.c.appendSection(a.id, true)
	a.sendEnd = true
}

// arm watches ctx and the clock, with the lock.
func (a *Answer) arm(ctx context.Context, d time.Duration) {
	if a.err != nil || a.recvEnd {
		return
	}
	over := func() {
		a.c.mu.Lock()
		defer a.c.mu.Unlock()
		a.cancel(context.Cause(ctx))
	}
	if x, ok := ctx.(interface {
		AfterFunc(f func()) (stop func() bool)
	}); ok { // what context.AfterFunc would use, with less around it
		a.unwatch = x.AfterFunc(over)
	} else {
		a.unwatch = context.AfterFunc(ctx, over)
	}
	if d > 0 {
		a.timer = time.AfterFunc(d, a.expire)
	}
}

func (a *Answer) expire() {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.cancel(os.ErrDeadlineExceeded)
}

// cancel breaks the call off, with the lock.
func (a *Answer) cancel(why error) {
	if a.err != nil || a.recvEnd && a.sendEnd {
		return
	}
	a.c.out = appendReset(a.c.out, a.id, codeCancel)
	a.end(why)
	a.cond.Broadcast()
	a.c.flush()
}

// failure names what went wrong.
func failure(err error) error {
	var e *streamError
	switch {
	case errors.As(err, &e) && e.peer && e.code == codeRefused:
		return fmt.Errorf("%w: %w", ErrUnanswered, err)
	case errors.As(err, &e):
		return fmt.Errorf("%w: %w", ErrReset, err)
	}
	return err
}

// section implements side: the head of an answer, or its trailers.
func (c *clientConn) section(id uint32, s *stream, end bool) error {
	if s == nil {
		return c.stray(frameHead{stream: id})
	}
	a := s.answer
	if a.err != nil {
		return nil
	}
	if c.sect.big {
		a.abort(codeInternal)
		return nil
	}
	list := c.sect.list
	if a.status != 0 {
		if !end || a.recvEnd {
			a.abort(codeProtocol)
			return nil
		}
		for i := range list {
			if f := &list[i]; !understood(f) {
				a.abort(codeProtocol)
				return nil
			}
		}
		a.trailers = append(a.trailers, list...)
		a.recvEnd = true
		a.later()
		return nil
	}
	if len(list) == 0 || list[0].Name != ":status" {
		a.abort(codeProtocol)
		return nil
	}
	status, err := strconv.Atoi(list[0].Value)
	if err != nil || status < 100 || status > 999 || status == 101 || status < 200 && end {
		a.abort(codeProtocol)
		return nil
	}
	fields := make(frame.Fields, 0, len(list)+1)
	for i := range list[1:] {
		f := &list[1+i]
		if !understood(f) {
			a.abort(codeProtocol)
			return nil
		}
		if connectionField(f.Name) {
			continue
		}
		if f.Name == "content-length" && status >= 200 {
			if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil && n >= 0 && !end {
				a.left = n
			}
		}
		fields = append(fields, frame.Field{Name: f.Name, Value: f.Value})
	}
	if status < 200 {
		if len(a.infos) < 16 {
			a.infos = append(a.infos, info{status, fields})
		}
		a.later()
		return nil
	}
	a.status, a.fields, a.recvEnd = status, fields, end
	a.later()
	return nil
}

// understood reports whether a field of an answer is a good one. Spaces around a
// value, which programs write without knowing better, are taken off.
func understood(f *hpack.HeaderField) bool {
	f.Value = strings.Trim(f.Value, " \t")
	return !f.IsPseudo() && validName(f.Name) && validValue(f.Value)
}

// Head is the status and the header, with names in lower case.
func (a *Answer) Head() (int, frame.Fields) { return a.status, a.fields }

// Next returns what has come of the body, waiting for some; io.EOF is its end.
// The bytes are valid until the next call.
func (a *Answer) Next() ([]byte, error) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	b, err := a.next()
	if err != nil && err != io.EOF {
		err = failure(err)
	}
	return b, err
}

// Buffered is how many bytes Next gives without waiting, and whether nothing
// comes behind them.
func (a *Answer) Buffered() (n int, last bool) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	return a.buffered()
}

// Trailer is known once Next has returned io.EOF.
func (a *Answer) Trailer() (f frame.Fields) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	for _, t := range a.trailers {
		f = append(f, frame.Field{Name: t.Name, Value: t.Value})
	}
	return f
}

// SetDeadline breaks the call off in d; 0: never.
func (a *Answer) SetDeadline(d time.Duration) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	switch {
	case d <= 0:
		if a.timer != nil {
			a.timer.Stop()
		}
	case a.timer == nil:
		a.timer = time.AfterFunc(d, a.expire)
	default:
		a.timer.Reset(d)
	}
}

// Close ends the call; one that is not over is broken off.
func (a *Answer) Close() error {
	if a.unwatch != nil {
		a.unwatch()
	}
	c := a.cc
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
	if a.err == nil && (!a.recvEnd || !a.sendEnd) {
		a.cancel(context.Canceled)
	}
	a.close()
	c.keep(a.data)
	c.keep(a.lent)
	a.data, a.lent = nil, nil
	if c.alone && len(c.streams) == 0 {
		c.readUntil(time.Now()) // overdue ends it
	}
	return nil
}
