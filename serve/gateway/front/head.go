package front

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// What became of reading a head.
const (
	incomplete = 0  // more bytes are needed
	foreign    = -1 // net/http's business
)

// head is a plain request's head. It is used again and again; all strings are
// cut from one.
type head struct {
	method, target, host string
	url                  url.URL
	header               http.Header
	values               []string // what header's slices are cut from
	length               int64
	close                bool
}

// parse reads the head that b begins with and returns its length, incomplete or
// foreign. Bytes before seen were looked at by an earlier call.
func (h *head) parse(b []byte, seen, most int) int {
	if len(b) == 0 {
		return incomplete
	}
	if b[0] < 'A' || b[0] > 'Z' {
		return foreign
	}
	end := 0
	for at := seen; ; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			return incomplete
		}
		if at += i; at == 0 || b[at-1] != '\r' {
			return foreign
		}
		if at++; at >= 4 && b[at-3] == '\n' {
			end = at
			break
		}
	}
	s := string(b[:end]) // the one allocation
	line, s, _ := strings.Cut(s, "\r\n")
	var ok bool
	if h.method, line, ok = strings.Cut(line, " "); !ok || !common(h.method) {
		return foreign
	}
	var proto string
	if h.target, proto, ok = strings.Cut(line, " "); !ok || proto != "HTTP/1.1" || !h.address() {
		return foreign
	}
	if h.fields(s) == foreign || h.length > int64(most) {
		return foreign
	}
	return end
}

func common(method string) bool {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// address reads the target.
func (h *head) address() bool {
	t := h.target
	if t == "" || t[0] != '/' {
		return false
	}
	query, simple := -1, len(t) < 2 || t[1] != '/'
	for i := range len(t) {
		switch k := kind[t[i]]; {
		case k&printed == 0:
			return false
		case query >= 0:
		case t[i] == '?':
			query = i
		case k&plainPath == 0:
			simple = false
		}
	}
	if !simple {
		u, err := url.ParseRequestURI(t)
		if err != nil {
			return false
		}
		h.url = *u
		return true
	}
	h.url = url.URL{Path: t}
	if query >= 0 {
		h.url.Path, h.url.RawQuery = t[:query], t[query+1:]
		h.url.ForceQuery = query == len(t)-1
	}
	return true
}

// fields reads the lines of a header up to the empty one.
func (h *head) fields(s string) int {
	if h.header == nil {
		h.header = http.Header{}
	}
	clear(h.header)
	h.values = h.values[:0]
	h.host, h.length, h.close = "", 0, false
	hosts, lengths := 0, 0
	for s != "\r\n" {
		var line string
		line, s, _ = strings.Cut(s, "\r\n")
		colon := strings.IndexByte(line, ':')
		if colon <= 0 {
			return foreign
		}
		name, value := line[:colon], line[colon+1:]
		for i := range len(name) {
			if kind[name[i]]&token == 0 {
				return foreign
			}
		}
		for value != "" && (value[0] == ' ' || value[0] == '\t') {
			value = value[1:]
		}
		for value != "" && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
			value = value[:len(value)-1]
		}
		for i := range len(value) {
			if kind[value[i]]&text == 0 {
				return foreign
			}
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		switch name {
		case "Host":
			if hosts++; hosts > 1 || value == "" {
				return foreign
			}
			for i := range len(value) {
				if kind[value[i]]&hostName == 0 {
					return foreign
				}
			}
			h.host = value
			continue
		case "Content-Length":
			if lengths++; lengths > 1 || value == "" || len(value) > 15 {
				return foreign
			}
			for i := range len(value) {
				if value[i] < '0' || value[i] > '9' {
					return foreign
				}
				h.length = h.length*10 + int64(value[i]-'0')
			}
		case "Connection":
			switch {
			case h.header["Connection"] != nil:
				return foreign
			case strings.EqualFold(value, "close"):
				h.close = true
			case !strings.EqualFold(value, "keep-alive"):
				return foreign
			}
		case "Transfer-Encoding", "Expect", "Upgrade", "Trailer", "Te", "Http2-Settings", "Pragma":
			return foreign
		}
		if old := h.header[name]; old != nil {
			h.header[name] = append(old, value)
			continue
		}
		h.values = append(h.values, value)
		n := len(h.values)
		h.header[name] = h.values[n-1 : n : n]
	}
	if hosts == 0 {
		return foreign
	}
	return incomplete
}

// Kinds of bytes.
const (
	token     = 1 << iota // in a header's name
	text                  // in a header's value
	printed               // in a target
	plainPath             // in a path that is written the one way net/url writes it
	hostName              // in Host
)

var kind = kinds()

func kinds() (k [256]byte) {
	for i := range k {
		c := byte(i)
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		in := func(set string) bool { return letter || strings.IndexByte(set, c) >= 0 }
		if in("!#$%&'*+-.^_`|~") {
			k[i] |= token
		}
		if c >= ' ' && c != 0x7f || c == '\t' {
			k[i] |= text
		}
		if c > ' ' && c < 0x7f {
			k[i] |= printed
		}
		if in("-_.~/$&+,:;=@") {
			k[i] |= plainPath
		}
		if in("-_.:[]") {
			k[i] |= hostName
		}
	}
	return k
}
