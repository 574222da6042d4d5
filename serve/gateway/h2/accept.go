package h2

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"

	"github.com/hearth-run/hearth/serve/gateway/lazy"
)

// call is a stream of a client with its request and answer. It is used again.
type call struct {
	stream
	s      *serverConn
	ctx    *requestContext
	rq     *http.Request
	url    url.URL
	header http.Header
	values []string // of header
	rest   body
	w      writer
}

var calls = sync.Pool{New: func() any { return &call{header: http.Header{}} }}

// section implements side: a request, or the trailers of one.
func (c *serverConn) section(id uint32, s *stream, end bool) error {
	if s != nil {
		return c.trailer(s, end)
	}
	list := c.sect.list
	switch {
	case id%2 == 0:
		return broken(codeProtocol, "stream %d of a client", id)
	case id <= c.last:
		if len(list) > 0 && list[0].IsPseudo() {
			return broken(codeClosed, "stream %d is opened again", id)
		}
		return nil // trailers of a call that is over
	case c.draining:
		return nil // above the last stream we said we take
	}
	c.last = id
	k := calls.Get().(*call)
	k.reset()
	k.s = c
	k.init(&c.conn, id)
	switch {
	case len(c.streams) > c.s.c.MaxStreams, c.running+len(c.fresh) >= 2*c.s.c.MaxStreams:
		k.refuse(codeRefused)
		if c.resets++; c.resets > maxResets {
			return broken(codeCalm, "too many calls at a time")
		}
		return nil
	case c.sect.big:
		k.recvEnd = end
		k.deny(http.StatusRequestHeaderFieldsTooLarge)
		return nil
	}
	if !k.request(list, end) {
		k.refuse(codeProtocol)
		if c.resets += 2; c.resets > maxResets {
			return broken(codeCalm, "too many malformed requests")
		}
		return nil
	}
	k.recvEnd = end
	c.fresh = append(c.fresh, k)
	return nil
}

// refuse ends a call no handler has seen.
func (k *call) refuse(why code) {
	k.abort(why)
	k.close()
}

// deny answers a call no handler shall see.
func (k *call) deny(status int) {
	c := k.c
	c.field(":status", strconv.Itoa(status))
	c.field("content-length", "0")
	c.appendSection(k.id, true)
	if !k.recvEnd {
		c.out = appendReset(c.out, k.id, codeNo)
	}
	k.close()
}

func (k *call) reset() {
	clear(k.header)
	clear(k.values)
	data, lent, trailers := k.data[:0], k.lent[:0], k.trailers[:0]
	if cap(data) > 64<<10 {
		data = nil
	}
	if cap(lent) > 64<<10 {
		lent = nil
	}
	w := k.w
	*k = call{header: k.header, values: k.values[:0]}
	k.data, k.lent, k.trailers = data, lent, trailers
	k.w = writer{header: w.header, buf: w.buf[:0]}
}

// request makes the request of a field section; false: it is malformed (RFC 9113,
// section 8).
func (k *call) request(list []hpack.HeaderField, end bool) bool {
	var method, scheme, path, authority string
	var seen int // pseudo fields, as bits
	n := 0
	for i := range list {
		f := &list[i]
		if !validValue(f.Value) {
			return false
		}
		if !f.IsPseudo() {
			if !validName(f.Name) || connectionField(f.Name) {
				return false
			}
			n++
			continue
		}
		if n > 0 {
			return false // behind a regular one
		}
		var bit int
		switch f.Name {
		case ":method":
			bit, method = 1, f.Value
		case ":scheme":
			bit, scheme = 2, f.Value
		case ":path":
			bit, path = 4, f.Value
		case ":authority":
			bit, authority = 8, f.Value
		default:
			return false
		}
		if seen&bit != 0 {
			return false
		}
		seen |= bit
	}
	connect := method == http.MethodConnect
	switch {
	case !httpguts.ValidHeaderFieldName(method):
		return false
	case connect && (scheme != "" || path != "" || authority == ""):
		return false
	case !connect && (scheme != "http" && scheme != "https" || path == ""):
		return false
	}
	if cap(k.values) < n {
		k.values = make([]string, 0, max(n, 16))
	}
	length, hosted, continues := int64(-1), "", false
	for i := range list {
		f := &list[i]
		if f.IsPseudo() {
			continue
		}
		switch f.Name {
		case "host":
			if hosted != "" || f.Value == "" {
				return false
			}
			hosted = f.Value
			continue
		case "te":
			if f.Value != "trailers" {
				return false
			}
		case "content-length":
			v, err := strconv.ParseUint(f.Value, 10, 63)
			if err != nil || length >= 0 && length != int64(v) || f.Value[0] == '+' {
				return false
			}
			length = int64(v)
		case "expect":
			if strings.EqualFold(f.Value, "100-continue") {
				continues = true
				continue
			}
		case "trailer":
			k.announce(f.Value)
			continue
		}
		k.add(f.Name, f.Value)
	}
	if authority == "" {
		authority = hosted
	} else if hosted != "" && !strings.EqualFold(hosted, authority) {
		return false // one of them would be believed by someone
	}
	if authority == "" || !httpguts.ValidHostHeader(authority) {
		return false
	}
	if end {
		if length > 0 {
			return false
		}
		length = 0
	}
	k.left = length
	return k.make(method, path, authority, length, continues && !end)
}

// add puts a field into the header.
func (k *call) add(name, value string) {
	key := k.s.canonical(name)
	if old := k.header[key]; old != nil {
		if name == "cookie" {
			old[0] += "; " + value
			return
		}
		k.header[key] = append(old, value)
		return
	}
	i := len(k.values)
	k.values = append(k.values, value)
	k.header[key] = k.values[i : i+1 : i+1]
}

func (c *serverConn) canonical(name string) string {
	if s, ok := c.canon[name]; ok {
		return s
	}
	s := http.CanonicalHeaderKey(name)
	if len(c.canon) < 200 {
		c.canon[name] = s
	}
	return s
}

// announce notes the names of trailers.
func (k *call) announce(names string) {
	for name := range strings.SplitSeq(names, ",") {
		name = http.CanonicalHeaderKey(strings.TrimSpace(name))
		switch name {
		case "", "Transfer-Encoding", "Trailer", "Content-Length":
			continue
		}
		if k.rest.trailer == nil {
			k.rest.trailer = http.Header{}
		}
		k.rest.trailer[name] = nil
	}
}

func (k *call) make(method, path, authority string, length int64, continues bool) bool {
	target := path
	switch {
	case method == http.MethodConnect:
		k.url, target = url.URL{Host: authority}, authority
	case path == "*":
		if method != http.MethodOptions {
			return false
		}
		k.url = url.URL{Path: "*"}
	case path[0] != '/':
		return false
	case plainPath(path):
		p, query, asked := strings.Cut(path, "?")
		k.url = url.URL{Path: p, RawQuery: query, ForceQuery: asked && query == ""}
	default:
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return false
		}
		k.url = *u
	}
	k.ctx = &requestContext{values: k.s.base}
	k.rest.k, k.rest.continues = k, continues
	k.rq = (&http.Request{
		Method: method, URL: &k.url, Proto: "HTTP/2.0", ProtoMajor: 2, Header: k.header, Body: http.NoBody, ContentLength: length,
		Host: authority, RemoteAddr: k.s.remote, RequestURI: target, TLS: k.s.tls, Trailer: k.rest.trailer,
	}).WithContext(k.ctx)
	k.onEnd = k.ctx.Cancel
	return true
}

// requestContext has the values of its connection.
type requestContext struct {
	lazy.Context
	values interface{ Value(any) any }
}

// Value implements context.Context.
func (x *requestContext) Value(key any) any {
	if x.values == nil {
		return nil
	}
	return x.values.Value(key)
}

// plainPath reports whether a path needs no decoding. Two slashes in front would
// be taken for a host.
func plainPath(s string) bool {
	if strings.HasPrefix(s, "//") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("/-._~!$&'()*+,;=:@?", c) >= 0 {
			continue
		}
		return false
	}
	return true
}

// trailer takes the field section that ends a request.
func (c *serverConn) trailer(s *stream, end bool) error {
	if s.recvEnd {
		return broken(codeClosed, "fields behind the end of stream %d", s.id)
	}
	if !end || c.sect.big || s.left > 0 {
		s.abort(codeProtocol)
		return nil
	}
	for _, f := range c.sect.list {
		if f.IsPseudo() || !validName(f.Name) || !validValue(f.Value) || connectionField(f.Name) {
			s.abort(codeProtocol)
			return nil
		}
		s.trailers = append(s.trailers, f)
	}
	s.recvEnd = true
	s.later()
	return nil
}
