package gateway

import (
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/hearth-run/hearth/runtime/frame"
)

// defaultRoute tells a program whether its request came for no tag.
const defaultRoute = "Knative-Serving-Default-Route"

const base32 = "abcdefghijklmnopqrstuvwxyz234567"

// identify keeps or makes the request's id and trace.
func (c *call) identify() {
	id := first(c.r.Header, "X-Request-Id")
	if !validID(id) {
		id = ""
	}
	b := c.scratch[:0]
	if id == "" {
		v, w := rand.Uint64(), rand.Uint64()
		for range 8 {
			b = append(b, base32[v&31], base32[w&31])
			v, w = v>>5, w>>5
		}
	}
	b = appendTrace(b, first(c.r.Header, "Traceparent"))
	s := string(b) // one allocation for both
	if id == "" {
		id, s = s[:16], s[16:]
	}
	c.scratch, c.id, c.trace = b, id, s
}

// appendTrace appends a W3C traceparent that continues parent, with a new span,
// or begins a trace, which is not sampled.
func appendTrace(b []byte, parent string) []byte {
	var span [8]byte
	fill(span[:])
	if validTrace(parent) {
		b = append(append(b, "00-"...), parent[3:36]...)
		b = append(hex.AppendEncode(b, span[:]), '-')
		return append(b, parent[53:55]...)
	}
	var trace [16]byte
	fill(trace[:])
	b = append(hex.AppendEncode(append(b, "00-"...), trace[:]), '-')
	return append(hex.AppendEncode(b, span[:]), "-00"...)
}

func fill(p []byte) {
	for i := 0; i < len(p); i += 8 {
		v := rand.Uint64() | 1 // never all zero
		for j := range 8 {
			p[i+j] = byte(v >> (8 * j))
		}
	}
}

// validTrace checks version-traceid-spanid-flags in lower-case hexadecimal; a
// later version may have more behind it.
func validTrace(s string) bool {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || s[:2] == "ff" || len(s) > 55 && (s[:2] == "00" || s[55] != '-') {
		return false
	}
	zero := func(p string) bool { return strings.Trim(p, "0") == "" }
	for i := range 55 {
		if c := s[i]; i != 2 && i != 35 && i != 52 && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return !zero(s[3:35]) && !zero(s[36:52])
}

func validID(s string) bool {
	if s == "" || len(s) > 192 {
		return false
	}
	for i := range len(s) {
		if s[i] < '!' || s[i] > '~' {
			return false
		}
	}
	return true
}

// first is h's first value under a canonical name.
func first(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// hop reports whether a canonical name is a hop-by-hop header.
func hop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// ours reports whether a client may not send a header: what the gateway says of
// a request must come from it alone. Some servers take an underscore for a
// hyphen, so neither may hide behind one.
func ours(name string) bool {
	if len(name) < 8 || name[0] != 'X' || name[1] != '-' && name[1] != '_' {
		return false
	}
	under := strings.IndexByte(name, '_') >= 0
	if under {
		name = strings.ReplaceAll(name, "_", "-")
	}
	const a, b = "X-Hearth-", "X-Forwarded-"
	switch {
	case len(name) >= len(a) && strings.EqualFold(name[:len(a)], a):
		return true
	case under:
		return len(name) >= len(b) && strings.EqualFold(name[:len(b)], b) || strings.EqualFold(name, "X-Request-Id")
	}
	return false
}

// header builds the header the function sees, in c.fields.
func (c *call) header() {
	f := c.fields[:0]
	in := c.r.Header
	connection := in["Connection"]
	proto, fhost := "http", c.r.Host
	if c.r.TLS != nil {
		proto = "https"
	}
	if c.g.c.TrustForwarded {
		if v := first(in, "X-Forwarded-Proto"); v != "" {
			proto = v
		}
		if v := first(in, "X-Forwarded-Host"); v != "" {
			fhost = v
		}
	}
	for name, values := range in {
		switch name {
		case "Content-Length", "Expect", "X-Request-Id", "Traceparent", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded", "Host":
			continue
		case "Authorization", "Cookie":
			if c.invoked {
				continue
			}
		case "K-Proxy-Request", "Knative-Serving-Revision", "Knative-Serving-Namespace":
			continue // between parts of a Knative, not for programs
		case defaultRoute:
			continue // clients do not know
		case "Te":
			if httpguts.HeaderValuesContainsToken(values, "trailers") {
				f = append(f, frame.Field{Name: "Te", Value: "trailers"})
			}
			continue
		}
		if hop(name) || ours(name) || connection != nil && httpguts.HeaderValuesContainsToken(connection, name) {
			continue
		}
		for _, v := range values {
			f = append(f, frame.Field{Name: name, Value: v})
		}
	}
	ip := c.r.RemoteAddr
	if i := strings.LastIndexByte(ip, ':'); i >= 0 {
		ip = strings.Trim(ip[:i], "[]")
	}
	b := c.scratch[:0]
	for _, v := range in["X-Forwarded-For"] {
		b = append(append(b, v...), ", "...)
	}
	b = append(b, ip...)
	cut := len(b)
	for _, v := range in["Forwarded"] {
		b = append(append(b, v...), ", "...)
	}
	b = append(b, "for="...)
	if strings.IndexByte(ip, ':') >= 0 {
		b = append(append(append(b, `"[`...), ip...), `]"`...)
	} else {
		b = append(b, ip...)
	}
	b = append(b, ";host="...)
	if token(fhost) {
		b = append(b, fhost...)
	} else {
		b = strconv.AppendQuote(b, fhost)
	}
	b = append(append(b, ";proto="...), proto...)
	s := string(b)
	c.scratch = b
	f = append(f,
		frame.Field{Name: "X-Request-Id", Value: c.id}, frame.Field{Name: "Traceparent", Value: c.trace},
		frame.Field{Name: "X-Forwarded-For", Value: s[:cut]}, frame.Field{Name: "X-Forwarded-Host", Value: fhost},
		frame.Field{Name: "X-Forwarded-Proto", Value: proto}, frame.Field{Name: "Forwarded", Value: s[cut:]})
	if c.prefix != "" {
		f = append(f, frame.Field{Name: "X-Forwarded-Prefix", Value: c.prefix})
	}
	for name, value := range c.vars {
		f = append(f, frame.Field{Name: "X-Hearth-Params-" + name, Value: headerValue(value)})
	}
	if c.mirrored {
		f = append(f, frame.Field{Name: "X-Hearth-Mirror", Value: "true"})
	}
	if x := c.target.rules; x != nil {
		if x.tell {
			f = append(f, frame.Field{Name: defaultRoute, Value: strconv.FormatBool(!c.tagged && !c.target.ofTag)})
		}
		if x.request != nil {
			f = x.request.fields(f)
		}
	}
	c.fields = f
}

// token reports whether s needs no quotes as a header's parameter.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

// headerValue is s where a header can carry it, and percent-encoded otherwise.
func headerValue(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return url.PathEscape(s)
		}
	}
	return s
}
