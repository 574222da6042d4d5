package h2

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// outSize is how much of an answer waits for its end or a flush.
const outSize = 16 << 10

// writer is the http.ResponseWriter of a call.
type writer struct {
	k      *call
	header http.Header
	status int
	sent   bool // the head is
	length int64
	wrote  int64
	buf    []byte
	names  []string // of trailers announced
	err    error
}

// serve has the handler answer k.
func (k *call) serve() {
	c := k.s
	c.mu.Lock()
	rq := k.rq
	if rq.Body = http.NoBody; !k.recvEnd || len(k.data) > 0 || len(k.trailers) > 0 {
		if rq.Body = &k.rest; k.recvEnd && rq.ContentLength < 0 && len(k.trailers) == 0 {
			rq.ContentLength = int64(len(k.data)) // all of it is here
		}
	} else {
		rq.ContentLength = 0
	}
	c.mu.Unlock()
	w := &k.w
	w.k, w.length = k, -1
	if w.header == nil {
		w.header = http.Header{}
	} else {
		clear(w.header)
	}
	whole := false
	defer func() {
		var p any
		if !whole {
			if p = recover(); p != nil && p != http.ErrAbortHandler {
				c.s.c.Log.Error("a handler panicked", "remote", c.remote, "panic", p, "stack", string(debug.Stack()))
			}
		}
		c.mu.Lock()
		w.finish(whole)
		k.close()
		c.ended()
		c.flush()
		c.mu.Unlock()
		k.ctx.Cancel()
		calls.Put(k)
	}()
	c.s.c.Handler.ServeHTTP(w, rq)
	whole = true
}

// finish ends the answer. It is called with the lock.
func (w *writer) finish(whole bool) {
	k := w.k
	if k.err != nil {
		return
	}
	if !whole || w.err != nil {
		k.abort(codeInternal)
		k.cond.Broadcast()
		return
	}
	w.WriteHeader(http.StatusOK)
	bodiless := w.status == 204 || w.status == 304 || k.rq.Method == http.MethodHead
	if w.length >= 0 && w.wrote < w.length && !bodiless {
		k.abort(codeInternal) // the client must see that it is not whole
		k.cond.Broadcast()
		return
	}
	trailers := w.trailers()
	if w.length < 0 && !w.sent && !trailers && !bodiless {
		w.length = int64(len(w.buf))
		w.header["Content-Length"] = []string{strconv.Itoa(len(w.buf))}
	}
	if w.push(!trailers) == nil && trailers {
		w.sendTrailers()
	}
	if !k.recvEnd && k.err == nil {
		// The answer is whole without the rest of the request.
		k.abort(codeNo)
	}
	k.cond.Broadcast()
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *writer) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	if status >= 100 && status < 200 {
		c := w.k.c
		c.mu.Lock()
		defer c.mu.Unlock()
		if w.k.err == nil && status != http.StatusSwitchingProtocols {
			c.field(":status", strconv.Itoa(status))
			w.fields()
			c.appendSection(w.k.id, false)
			c.flush()
		}
		return
	}
	w.status = status
	if v := w.header["Content-Length"]; len(v) > 0 {
		if n, err := strconv.ParseInt(v[0], 10, 64); err == nil && n >= 0 {
			w.length = n
		} else {
			delete(w.header, "Content-Length")
		}
	}
	if status == 204 || status == 304 {
		w.length = -1
		delete(w.header, "Content-Length") // some clients then wait for a body
	}
	for _, v := range w.header["Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			w.names = append(w.names, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	switch {
	case w.err != nil:
		return 0, w.err
	case w.k.rq.Method == http.MethodHead:
		return len(p), nil
	case w.status == 204 || w.status == 304:
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && w.wrote+int64(len(p)) > w.length:
		w.err = http.ErrContentLength
		return 0, w.err
	}
	w.wrote += int64(len(p))
	if len(w.buf)+len(p) <= outSize {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	c := w.k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.err = w.push(false); w.err != nil {
		return 0, w.err
	}
	var n int
	n, w.err = w.k.write(p, false)
	c.flush()
	return n, w.err
}

// FlushError implements what http.ResponseController looks for.
func (w *writer) FlushError() error {
	w.WriteHeader(http.StatusOK)
	c := w.k.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.err == nil {
		w.err = w.push(false)
	}
	c.flush()
	return w.err
}

// Flush implements http.Flusher.
func (w *writer) Flush() { w.FlushError() }

// push sends the head and what waits behind it, with the lock.
func (w *writer) push(end bool) error {
	k := w.k
	if k.err != nil {
		return k.err
	}
	if !w.sent {
		w.sent = true
		k.c.field(":status", statusText(w.status))
		w.fields()
		if w.header["Date"] == nil {
			k.c.field("date", k.s.s.date.Now())
		}
		only := end && len(w.buf) == 0
		k.c.appendSection(k.id, only)
		if only {
			k.sendEnd = true
			return nil
		}
	}
	if len(w.buf) == 0 && !end {
		return nil
	}
	b := w.buf
	_, err := k.write(b, end)
	w.buf = w.buf[:0]
	return err
}

func statusText(status int) string {
	switch status {
	case 200:
		return "200"
	case 204:
		return "204"
	case 304:
		return "304"
	case 404:
		return "404"
	}
	return strconv.Itoa(status)
}

// fields writes the header into the section that is encoded.
func (w *writer) fields() {
	for name, values := range w.header {
		switch name {
		case "Connection", "Transfer-Encoding", "Keep-Alive", "Proxy-Connection", "Upgrade":
			continue
		}
		if strings.HasPrefix(name, http.TrailerPrefix) || w.announced(name) {
			continue
		}
		w.write(name, values)
	}
}

func (w *writer) write(name string, values []string) {
	name = lower(name)
	if !validName(name) {
		return
	}
	for _, v := range values {
		if !validValue(v) {
			if v = strings.TrimSpace(v); !validValue(v) {
				continue
			}
		}
		w.k.c.field(name, v)
	}
}

func (w *writer) announced(name string) bool {
	for _, n := range w.names {
		if n == name {
			return true
		}
	}
	return false
}

// trailers reports whether there are any.
func (w *writer) trailers() bool {
	for name := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) || w.announced(name) {
			return true
		}
	}
	return false
}

func (w *writer) sendTrailers() {
	for name, values := range w.header {
		if n, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			w.write(n, values)
		} else if w.announced(name) {
			w.write(name, values)
		}
	}
	if w.k.c.encoded.Len() == 0 {
		w.k.write(nil, true)
		return
	}
	w.k.c.appendSection(w.k.id, true)
	w.k.sendEnd = true
}

// SetReadDeadline implements what http.ResponseController looks for: it is that
// of the request's body.
func (w *writer) SetReadDeadline(t time.Time) error {
	return w.deadline(&w.k.readBy, t)
}

// SetWriteDeadline implements what http.ResponseController looks for. It ends
// writes that wait for the client.
func (w *writer) SetWriteDeadline(t time.Time) error {
	return w.deadline(&w.k.writeBy, t)
}

func (w *writer) deadline(at *time.Time, t time.Time) error {
	w.k.c.mu.Lock()
	defer w.k.c.mu.Unlock()
	*at = t
	w.k.cond.Broadcast() // who waits, waits anew
	return nil
}

// EnableFullDuplex implements what http.ResponseController looks for; HTTP/2
// always is.
func (w *writer) EnableFullDuplex() error { return nil }

// lower is name in lower case. Names of an answer are few and the same again and
// again; the common ones cost nothing.
func lower(name string) string {
	switch name {
	case "Content-Type":
		return "content-type"
	case "Content-Length":
		return "content-length"
	case "X-Request-Id":
		return "x-request-id"
	case "Grpc-Status":
		return "grpc-status"
	case "Grpc-Message":
		return "grpc-message"
	}
	return strings.ToLower(name)
}

var (
	_ http.ResponseWriter = (*writer)(nil)
	_ http.Flusher        = (*writer)(nil)
)
