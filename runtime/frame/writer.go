package frame

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// responseWriter answers one call. Small answers leave in one frame.
type responseWriter struct {
	c      *serverConn
	s      *stream // nil once finished
	ctx    context.Context
	header http.Header
	status int
	sent   bool // RESPONSE has left
	raw    bool // 101
	done   bool // the handler returned; false: it panicked
	buf    *[]byte
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter; informational ones leave at once.
func (w *responseWriter) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status >= 100 && status < 200 && status != 101 {
		w.c.mu.Lock()
		defer w.c.mu.Unlock()
		w.head(status, 0)
		w.c.flush()
		return
	}
	w.status = status
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if len(*w.buf)+len(p) <= 32<<10 {
		*w.buf = append(*w.buf, p...)
		return len(p), nil
	}
	if err := w.FlushError(); err != nil {
		return 0, err
	}
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return w.s.write(w.ctx, p, false)
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() { w.FlushError() }

// FlushError sends what there is.
func (w *responseWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return w.push(false)
}

// push sends head and buffered bytes, with the lock.
func (w *responseWriter) push(end bool) error {
	s := w.s
	if s.err != nil {
		return s.err
	}
	b := *w.buf
	*w.buf = b[:0]
	if !w.sent {
		if err := w.head(w.status, 0); err != nil {
			return err
		}
		w.sent = true
		n := min(len(b), s.sendWin)
		w.c.wbuf = append(w.c.wbuf, b[:n]...)
		w.grow(n)
		s.sendWin -= n
		b = b[n:]
		if end && len(b) == 0 {
			w.flagEnd()
			s.sendEnd = true
			s.leave()
			w.c.flush()
			return nil
		}
	}
	if len(b) > 0 || end {
		_, err := s.write(w.ctx, b, end)
		return err
	}
	w.c.flush()
	return nil
}

// head queues a RESPONSE; grow and flagEnd change the one queued last. The lock
// is held throughout.
func (w *responseWriter) head(status int, flags byte) error {
	var f Fields
	for k, vs := range w.header {
		if strings.HasPrefix(k, http.TrailerPrefix) {
			continue
		}
		for _, v := range vs {
			f = append(f, Field{k, v})
		}
	}
	b, at := begin(w.c.wbuf, w.s.id, TypeResponse, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(status))
	b, err := AppendBlock(b, f)
	if err != nil {
		w.c.wbuf = b[:at]
		return err
	}
	patch(b, at)
	w.c.wbuf, w.s.headAt = b, at
	return nil
}

func (w *responseWriter) grow(n int) {
	l := binary.BigEndian.Uint32(w.c.wbuf[w.s.headAt:])
	binary.BigEndian.PutUint32(w.c.wbuf[w.s.headAt:], l+uint32(n))
}

func (w *responseWriter) flagEnd() { w.c.wbuf[w.s.headAt+9] |= FlagEnd }

// trailers are the fields announced by Trailer or prefixed as net/http does.
func (w *responseWriter) trailers() (f Fields) {
	for _, list := range w.header["Trailer"] {
		for k := range strings.SplitSeq(list, ",") {
			for _, v := range w.header.Values(strings.TrimSpace(k)) {
				f = append(f, Field{strings.TrimSpace(k), v})
			}
		}
	}
	for k, vs := range w.header {
		if name, ok := strings.CutPrefix(k, http.TrailerPrefix); ok {
			for _, v := range vs {
				f = append(f, Field{name, v})
			}
		}
	}
	return f
}

// finish ends the call when the handler has returned.
func (w *responseWriter) finish() {
	w.WriteHeader(http.StatusOK)
	c, s := w.c, w.s
	if !w.done && recover() != nil {
		c.mu.Lock()
		s.abort("the handler panicked")
		c.mu.Unlock()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !w.raw && s.err == nil && !s.sendEnd {
		if f := w.trailers(); len(f) == 0 {
			w.push(true)
		} else if w.push(false) == nil {
			s.writeTrailer(f)
		}
	}
	if w.raw && !s.sendEnd {
		s.write(w.ctx, nil, true)
	}
	s.cancelFn()
	if s.err == nil && !s.recvEnd {
		// The answer is complete without the rest of the request's body: take
		// what still comes without waiting for it.
		delete(c.streams, s.id)
	}
	w.s = nil
	if cap(*w.buf) <= 32<<10 {
		*w.buf = (*w.buf)[:0]
		c.in.bufs.Put(w.buf)
	}
	s.unref()
}

// Upgrade answers 101 and returns the raw stream, which ends when the handler
// returns. Hijack does the same for handlers that know nothing of frames.
func (w *responseWriter) Upgrade() (io.ReadWriteCloser, error) {
	if w.status != 0 {
		return nil, fmt.Errorf("the answer has begun with %d", w.status)
	}
	w.status, w.raw = http.StatusSwitchingProtocols, true
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if err := w.push(false); err != nil {
		return nil, err
	}
	return &rawConn{w: w}, nil
}

// Hijack implements http.Hijacker. The head the handler then writes ("HTTP/1.1
// 101 …") is taken apart and travels as the RESPONSE; what follows is raw.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.status != 0 {
		return nil, nil, fmt.Errorf("the answer has begun with %d", w.status)
	}
	w.status, w.raw = http.StatusSwitchingProtocols, true
	c := &rawConn{w: w, head: []byte{}}
	return c, bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriter(c)), nil
}

// rawConn is a stream after 101.
type rawConn struct {
	w    *responseWriter
	head []byte // collected head of a hijacked answer; nil once it has left
}

func (r *rawConn) Read(p []byte) (int, error) {
	c := r.w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.w.s == nil {
		return 0, io.ErrClosedPipe
	}
	return r.w.s.read(r.w.ctx, p)
}

func (r *rawConn) Write(p []byte) (int, error) {
	c := r.w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.w.s == nil {
		return 0, io.ErrClosedPipe
	}
	if r.head == nil {
		return r.w.s.write(r.w.ctx, p, false)
	}
	r.head = append(r.head, p...)
	head, rest, found := strings.Cut(string(r.head), "\r\n\r\n")
	if !found {
		if len(r.head) > MaxBlock {
			return 0, fmt.Errorf("a head of more than %d bytes", MaxBlock)
		}
		return len(p), nil
	}
	r.head = nil
	lines := strings.Split(head, "\r\n")
	var status int
	if _, err := fmt.Sscanf(lines[0], "HTTP/1.1 %d", &status); err != nil || status != 101 {
		return 0, fmt.Errorf("a hijacked answer must begin with HTTP/1.1 101, not %q", lines[0])
	}
	for _, l := range lines[1:] {
		k, v, _ := strings.Cut(l, ":")
		r.w.header.Add(k, strings.TrimSpace(v))
	}
	if err := r.w.push(false); err != nil {
		return 0, err
	}
	if rest != "" {
		if _, err := r.w.s.write(r.w.ctx, []byte(rest), false); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// Close ends the sending half.
func (r *rawConn) Close() error {
	c := r.w.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.w.s == nil || r.w.s.sendEnd {
		return nil
	}
	_, err := r.w.s.write(r.w.ctx, nil, true)
	return err
}

// CloseWrite ends the sending half.
func (r *rawConn) CloseWrite() error { return r.Close() }

// LocalAddr, RemoteAddr and the deadlines make a rawConn a net.Conn; deadlines
// are those of the call.
func (r *rawConn) LocalAddr() net.Addr              { return r.w.c.nc.LocalAddr() }
func (r *rawConn) RemoteAddr() net.Addr             { return r.w.c.nc.RemoteAddr() }
func (r *rawConn) SetDeadline(time.Time) error      { return nil }
func (r *rawConn) SetReadDeadline(time.Time) error  { return nil }
func (r *rawConn) SetWriteDeadline(time.Time) error { return nil }
