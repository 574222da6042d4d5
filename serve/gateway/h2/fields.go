package h2

import (
	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// maxSection bounds a field section that is read, each field with its overhead
// of 32 bytes, as SETTINGS_MAX_HEADER_LIST_SIZE counts.
const maxSection = 64 << 10

// section is the field section being read.
type section struct {
	open   bool
	stream uint32
	end    bool // END_STREAM
	list   []hpack.HeaderField
	size   int // of the list, decoded
	raw    int // as it came
	parts  int
	big    bool
}

func (s *section) begin(stream uint32, end bool) {
	clear(s.list)
	*s = section{open: true, stream: stream, end: end, list: s.list[:0]}
}

// add is the decoder's. Of a section that is too large the rest is decoded, as
// later ones build on it, and dropped.
func (s *section) add(f hpack.HeaderField) {
	if s.size += int(f.Size()); s.size > maxSection {
		s.big = true
		return
	}
	s.list = append(s.list, f)
}

func (s *section) take(d *hpack.Decoder, p []byte) error {
	s.raw += len(p)
	s.parts++
	if s.raw > 4*maxSection || s.parts > 64 {
		return broken(codeCalm, "a field section without end")
	}
	if _, err := d.Write(p); err != nil {
		return broken(codeCompression, "%v", err)
	}
	return nil
}

// validName reports whether s may be the name of a field: a token in lower case.
func validName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			return false
		}
	}
	return httpguts.ValidHeaderFieldName(s)
}

// validValue reports whether s may be the value of a field.
func validValue(s string) bool {
	return httpguts.ValidHeaderFieldValue(s) && (s == "" || !space(s[0]) && !space(s[len(s)-1]))
}

func space(c byte) bool { return c == ' ' || c == '\t' }

// connectionField reports whether a field belongs to HTTP/1.1's connections.
func connectionField(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	}
	return false
}

// field writes one into the section being encoded.
func (c *conn) field(name, value string) {
	c.enc.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: unindexed(name, value)})
}

// unindexed reports whether a field stays out of the tables: one that could be
// guessed from them, and one whose value does not come again, which would only
// push others out.
func unindexed(name, value string) bool {
	switch name {
	case "authorization", "x-request-id", "traceparent":
		return true
	case "cookie":
		return len(value) < 20
	}
	return false
}

// appendSection appends the encoded section as HEADERS, with CONTINUATION where
// it is long, and begins a new one.
func (c *conn) appendSection(stream uint32, end bool) {
	b := c.encoded.Bytes()
	kind, flags := byte(frameHeaders), byte(0)
	if end {
		flags = flagEndStream
	}
	for {
		n := min(len(b), c.peerFrame)
		if n == len(b) {
			flags |= flagEndHeaders
		}
		c.out = append(appendHead(c.out, n, kind, flags, stream), b[:n]...)
		if b = b[n:]; len(b) == 0 {
			break
		}
		kind, flags = frameContinuation, 0
	}
	c.encoded.Reset()
}
