package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
)

// guardListener makes connections whose requests are checked for a length given
// in two ways. net/http takes Transfer-Encoding and drops Content-Length without
// a trace, which is right for it alone, but a proxy in front of it that did the
// opposite would have been smuggled a request.
type guardListener struct {
	net.Listener
	ended  chan struct{} // closed by Close
	handed chan *guard   // from package front; nil: connections are accepted, and are TLS
	once   sync.Once
}

// Accept implements net.Listener.
func (l *guardListener) Accept() (net.Conn, error) {
	if l.handed != nil {
		select {
		case g := <-l.handed:
			return g, nil
		case <-l.ended:
			return nil, net.ErrClosed
		}
	}
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &guard{Conn: nc, state: guardOff}, nil
}

// Close implements net.Listener.
func (l *guardListener) Close() error {
	l.once.Do(func() { close(l.ended) })
	return l.Listener.Close()
}

// take gives a connection, of which bytes were read already, to Accept.
func (l *guardListener) take(nc net.Conn, read []byte) {
	select {
	case l.handed <- &guard{Conn: nc, early: read}:
	case <-l.ended:
		nc.Close()
	}
}

type guardKey struct{}

// guarded is the connection of a request that came through Serve, or nil.
func guarded(r *http.Request) *guard {
	g, _ := r.Context().Value(guardKey{}).(*guard)
	return g
}

// What a guard is reading.
const (
	guardHead  = iota // the head of a request
	guardBody         // left bytes of a body
	guardSize         // a chunk's size
	guardChunk        // left bytes of a chunk and its line end
	guardTail         // trailers
	guardOff          // no HTTP/1.1, or refused
)

// guard is a client's connection. It follows the framing of what is read just
// far enough to see every head.
type guard struct {
	net.Conn
	ended atomic.Bool // reads are over
	twice atomic.Bool // a request had both lengths

	// Used by Read only, which net/http calls from one goroutine at a time.
	early   []byte // read by package front
	state   int
	left    int64
	line    []byte // the line being read, cut at lineMax
	length  int64  // of the head being read; -1: none
	chunked bool
	begun   bool // the head's first line has come
}

const lineMax = 256 // enough for the two headers that matter

// Read implements io.Reader.
func (g *guard) Read(p []byte) (int, error) {
	if g.ended.Load() {
		return 0, io.EOF
	}
	var n int
	var err error
	if len(g.early) > 0 {
		if n = copy(p, g.early); n == len(g.early) {
			g.early = nil
		} else {
			g.early = g.early[n:]
		}
	} else {
		n, err = g.Conn.Read(p)
	}
	if g.ended.Load() {
		return 0, io.EOF
	}
	if g.state != guardOff {
		g.scan(p[:n])
	}
	return n, err
}

// cut ends reading: what the client still sends is not a request.
func (g *guard) cut() {
	g.ended.Store(true)
	g.Conn.SetReadDeadline(time.Unix(1, 0))
}

// CloseWrite lets net/http end a connection without losing the answer.
func (g *guard) CloseWrite() error {
	if w, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// ReadFrom lets io.Copy use the socket's own way.
func (g *guard) ReadFrom(r io.Reader) (int64, error) {
	if f, ok := g.Conn.(io.ReaderFrom); ok {
		return f.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{g.Conn}, r)
}

func (g *guard) scan(p []byte) {
	for len(p) > 0 {
		switch g.state {
		case guardOff:
			return
		case guardBody, guardChunk:
			n := min(int64(len(p)), g.left)
			p = p[n:]
			if g.left -= n; g.left == 0 {
				if g.state == guardBody {
					g.next()
				} else {
					g.state = guardSize
				}
			}
		default:
			i := bytes.IndexByte(p, '\n')
			part := p
			if i >= 0 {
				part = p[:i]
			}
			if room := lineMax - len(g.line); room > 0 {
				g.line = append(g.line, part[:min(room, len(part))]...)
			}
			if i < 0 {
				return
			}
			p = p[i+1:]
			g.took(bytes.TrimSuffix(g.line, []byte("\r")))
			g.line = g.line[:0]
		}
	}
}

// next expects a head.
func (g *guard) next() { g.state, g.length, g.chunked, g.begun = guardHead, -1, false, false }

// took handles a whole line.
func (g *guard) took(line []byte) {
	switch g.state {
	case guardSize:
		if i := bytes.IndexByte(line, ';'); i >= 0 {
			line = line[:i]
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 62)
		switch {
		case err != nil:
			g.state = guardOff // net/http refuses it and closes
		case n == 0:
			g.state = guardTail
		default:
			g.state, g.left = guardChunk, int64(n)+2
		}
	case guardTail:
		if len(line) == 0 {
			g.next()
		}
	case guardHead:
		g.head(line)
	}
}

func (g *guard) head(line []byte) {
	switch {
	case !g.begun:
		if len(line) == 0 {
			return // empty lines may come first
		}
		if g.next(); bytes.HasPrefix(line, []byte("PRI * HTTP/2")) {
			g.state = guardOff
		}
		g.begun = true
		return
	case len(line) == 0:
		switch {
		case g.chunked && g.length >= 0:
			g.twice.Store(true)
			g.state = guardOff
		case g.chunked:
			g.state = guardSize
		case g.length > 0:
			g.state, g.left = guardBody, g.length
		default:
			g.next()
		}
		return
	}
	i := bytes.IndexByte(line, ':')
	if i < 0 {
		return
	}
	switch name := bytes.TrimSpace(line[:i]); {
	case bytes.EqualFold(name, []byte("Content-Length")):
		g.length = 0
		if n, err := strconv.ParseInt(string(bytes.TrimSpace(line[i+1:])), 10, 64); err == nil && n >= 0 {
			g.length = n
		}
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		g.chunked = true
	}
}

// refuse answers 400 to requests with two lengths and closes the connection.
type refuse struct {
	g    *Gateway
	next http.Handler
}

// ServeHTTP implements http.Handler.
func (f refuse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k := guarded(r)
	if k == nil || r.ProtoMajor != 1 || !k.twice.Load() {
		f.next.ServeHTTP(w, r)
		return
	}
	c := f.g.begin(w, r)
	defer f.g.end(c)
	w.Header().Set("Connection", "close")
	k.cut()
	c.failWith(http.StatusBadRequest, &api.Error{
		Code: api.CodeUsage, Message: "the request has both Content-Length and Transfer-Encoding", Hint: "send one of them",
	})
}
