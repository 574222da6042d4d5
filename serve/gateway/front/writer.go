package front

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/serve/gateway/socket"
)

// How an answer's end is told.
const (
	undecided = iota // its head waits for the first flush, or the end
	bodiless         // there is no body
	counted          // Content-Length
	chunked          // chunks
)

// writer is the http.ResponseWriter of a connection, used again and again. It
// collects head and body, so that an answer that fits leaves in one write.
type writer struct {
	c        *conn
	header   http.Header
	status   int // 0: the head is not written
	mode     int
	length   int64 // told
	written  int64
	close    bool // after this answer
	timed    bool // a write deadline is set
	err      error
	*buffers // nil between requests
	names    []string
	trailer  []string // names announced
}

// buffers are what a writer collects in.
type buffers struct {
	out     []byte // to be sent; while undecided the head without its last line end
	pending []byte // body while undecided
}

func (w *writer) begin(c *conn) {
	if w.header == nil {
		w.header = http.Header{}
	}
	clear(w.header)
	b, ok := c.s.free.Get().(*buffers)
	if !ok {
		b = &buffers{}
	}
	*w = writer{c: c, header: w.header, buffers: b, names: w.names[:0], close: c.head.close || c.s.conns.Closing()}
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	switch {
	case w.status != 0:
		return
	case status < 200 && status >= 100 && status != 101:
		w.out = w.line(w.out, status)
		w.fields(status)
		w.out = append(w.out, "\r\n"...)
		w.send(nil)
		return
	}
	w.status, w.length = status, -1
	if v := w.header["Content-Length"]; len(v) > 0 {
		if n, err := strconv.ParseInt(strings.TrimSpace(v[0]), 10, 64); err == nil && n >= 0 {
			w.length = n
		}
	}
	switch {
	case status == 204 || status == 304 || status < 200 || w.c.head.method == "HEAD":
		w.mode = bodiless
	case w.length >= 0:
		w.mode = counted
	}
	if listed(w.header["Connection"], "close") || !w.c.body.buffered() {
		w.close = true
	}
	w.out = w.line(w.out, status)
	w.fields(status)
	if w.mode == counted || w.mode == bodiless && w.length >= 0 && status != 204 && status != 304 && status >= 200 {
		w.out = append(strconv.AppendInt(append(w.out, "Content-Length: "...), w.length, 10), "\r\n"...)
	}
	if w.header["Date"] == nil {
		w.out = append(append(append(w.out, "Date: "...), w.c.s.date.Now()...), "\r\n"...)
	}
	if w.close {
		w.out = append(w.out, "Connection: close\r\n"...)
	}
	if w.mode != undecided {
		w.out = append(w.out, "\r\n"...)
	}
}

func (w *writer) line(b []byte, status int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = append(strconv.AppendInt(b, int64(status), 10), ' ')
	reason := http.StatusText(status)
	if reason == "" {
		reason = "status code " + strconv.Itoa(status)
	}
	return append(append(b, reason...), "\r\n"...)
}

// fields writes the header but for what is the server's own: lengths, connection.
func (w *writer) fields(status int) {
	names := w.names[:0]
	if status >= 200 {
		for _, v := range w.header["Trailer"] {
			for t := range strings.SplitSeq(v, ",") {
				w.trailer = append(w.trailer, http.CanonicalHeaderKey(strings.TrimSpace(t)))
			}
		}
	}
	for name := range w.header {
		switch name {
		case "Content-Length", "Transfer-Encoding", "Connection":
			continue
		case "Content-Type":
			if status == 304 {
				continue
			}
		}
		if strings.HasPrefix(name, http.TrailerPrefix) || listed(w.trailer, name) {
			continue
		}
		names = append(names, name)
		for i := len(names) - 1; i > 0 && names[i] < names[i-1]; i-- { // few
			names[i], names[i-1] = names[i-1], names[i]
		}
	}
	for _, name := range names {
		w.out = appendField(w.out, name, w.header[name])
	}
	w.names = names
}

// appendField appends a field's lines; what could be taken for another line is
// not written.
func appendField(b []byte, name string, values []string) []byte {
	for i := range len(name) {
		if kind[name[i]]&token == 0 {
			return b
		}
	}
	if name == "" {
		return b
	}
	for _, v := range values {
		b = append(append(b, name...), ": "...)
		for i := range len(v) {
			if v[i] == '\r' || v[i] == '\n' {
				v = strings.TrimSpace(strings.NewReplacer("\r", " ", "\n", " ").Replace(v))
				break
			}
		}
		b = append(append(b, v...), "\r\n"...)
	}
	return b
}

func listed(values []string, name string) bool {
	for _, v := range values {
		if strings.EqualFold(v, name) {
			return true
		}
	}
	return false
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case w.mode == bodiless && w.c.head.method != "HEAD":
		return 0, http.ErrBodyNotAllowed
	case w.mode == bodiless || len(p) == 0:
		return len(p), nil
	case w.mode == counted && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if w.mode == undecided {
		if len(w.out)+len(w.pending)+len(p) <= outSize {
			w.pending = append(w.pending, p...)
			return len(p), nil
		}
		w.decide()
	}
	if w.mode == chunked {
		w.out = append(strconv.AppendInt(w.out, int64(len(p)), 16), "\r\n"...)
	}
	if len(w.out)+len(p) > outSize {
		w.send(p)
	} else {
		w.out = append(w.out, p...)
	}
	if w.mode == chunked {
		w.out = append(w.out, "\r\n"...)
	}
	return len(p), w.err
}

// decide makes an answer whose end is not known one in chunks.
func (w *writer) decide() {
	w.mode = chunked
	w.out = append(w.out, "Transfer-Encoding: chunked\r\n\r\n"...)
	if len(w.pending) > 0 {
		w.out = append(strconv.AppendInt(w.out, int64(len(w.pending)), 16), "\r\n"...)
		w.out = append(append(w.out, w.pending...), "\r\n"...)
		w.pending = w.pending[:0]
	}
}

// send writes what is collected, and p behind it.
func (w *writer) send(p []byte) {
	if w.err != nil {
		return
	}
	if len(p) == 0 {
		_, w.err = w.c.nc.Write(w.out)
	} else {
		both := net.Buffers{w.out, p}
		_, w.err = both.WriteTo(socket.Unwrap(w.c.nc))
	}
	w.out = w.out[:0]
}

// FlushError implements what http.ResponseController looks for.
func (w *writer) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.mode == undecided {
		w.decide()
	}
	if len(w.out) > 0 {
		w.send(nil)
	}
	return w.err
}

// Flush implements http.Flusher.
func (w *writer) Flush() { w.FlushError() }

// end finishes the answer.
func (w *writer) end() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch w.mode {
	case undecided:
		if w.trailers() {
			w.decide()
			break
		}
		w.out = strconv.AppendInt(append(w.out, "Content-Length: "...), int64(len(w.pending)), 10)
		w.out = append(append(w.out, "\r\n\r\n"...), w.pending...)
	case counted:
		if w.written != w.length {
			w.close = true // the client must see that it is not whole
		}
	}
	if w.mode == chunked {
		w.out = append(w.out, "0\r\n"...)
		for name, values := range w.header {
			if n, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
				w.out = appendField(w.out, http.CanonicalHeaderKey(n), values)
			} else if listed(w.trailer, name) {
				w.out = appendField(w.out, name, values)
			}
		}
		w.out = append(w.out, "\r\n"...)
	}
	if len(w.out) > 0 {
		w.send(nil)
	}
	if w.timed {
		w.c.nc.SetWriteDeadline(time.Time{})
	}
}

// free gives the buffers back.
func (w *writer) free() {
	b := w.buffers
	w.buffers = nil
	if b.out, b.pending = b.out[:0], b.pending[:0]; cap(b.out) <= 2*outSize {
		w.c.s.free.Put(b)
	}
}

// trailers reports whether there are any.
func (w *writer) trailers() bool {
	if len(w.trailer) > 0 {
		return true
	}
	for name := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			return true
		}
	}
	return false
}

// SetReadDeadline implements what http.ResponseController looks for.
func (w *writer) SetReadDeadline(t time.Time) error {
	if w.c.body.buffered() {
		return nil // nothing needs to come any more
	}
	w.c.deadline(t)
	return nil
}

// SetWriteDeadline implements what http.ResponseController looks for.
func (w *writer) SetWriteDeadline(t time.Time) error {
	w.timed = true
	return w.c.nc.SetWriteDeadline(t)
}

// EnableFullDuplex implements what http.ResponseController looks for: a small
// body does not stand in an answer's way.
func (w *writer) EnableFullDuplex() error { return nil }

var (
	_ http.ResponseWriter = (*writer)(nil)
	_ http.Flusher        = (*writer)(nil)
)
