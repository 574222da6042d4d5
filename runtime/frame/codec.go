package frame

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Header is the fixed part of a frame.
type Header struct {
	Length uint32
	Stream uint32
	Type   byte
	Flags  byte
}

// End reports whether the frame ends its sender's half of the stream.
func (h Header) End() bool { return h.Flags&FlagEnd != 0 || h.Type == TypeTrailers }

// AppendHeader appends the header of a frame with a payload of n bytes.
func AppendHeader(b []byte, n int, stream uint32, typ, flags byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(b, typ, flags, 0, 0)
}

// AppendFrame appends a whole frame.
func AppendFrame(b []byte, stream uint32, typ, flags byte, payload []byte) []byte {
	return append(AppendHeader(b, len(payload), stream, typ, flags), payload...)
}

// ParseHeader reads a header from the first HeaderSize bytes of b, which must
// be there. It fails when the frame is longer than the protocol allows.
func ParseHeader(b []byte) (Header, error) {
	h := Header{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), b[8], b[9]}
	if h.Length > MaxPayload {
		return h, fmt.Errorf("%w: a frame of %d bytes", ErrProtocol, h.Length)
	}
	return h, nil
}

// begin appends a header whose length patch fills in later.
func begin(b []byte, stream uint32, typ, flags byte) ([]byte, int) {
	at := len(b)
	return AppendHeader(b, 0, stream, typ, flags), at
}

// patch sets the length of the frame that begins at at to all that follows.
func patch(b []byte, at int) {
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-HeaderSize))
}

// Field is one header field.
type Field struct{ Name, Value string }

// Fields are header fields in the order they travel. Names may repeat. Names
// that were decoded are in lower case where the peer keeps the protocol; those
// to be encoded may be in any case and travel in lower case.
type Fields []Field

// Get returns the first value of name, which must be in lower case, or "".
func (f Fields) Get(name string) string {
	for i := range f {
		if f[i].Name == name {
			return f[i].Value
		}
	}
	return ""
}

// size is the length of f's header block.
func (f Fields) size() int {
	n := 2
	for i := range f {
		n += 6 + len(f[i].Name) + len(f[i].Value)
	}
	return n
}

// AppendBlock appends f as a header block. It fails when the block would be
// larger than the protocol allows.
func AppendBlock(b []byte, f Fields) ([]byte, error) {
	if n := f.size(); n > MaxBlock || len(f) > math.MaxUint16 {
		return b, fmt.Errorf("a header block of %d bytes is more than %d", n, MaxBlock)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(f)))
	for i := range f {
		name, value := f[i].Name, f[i].Value
		if len(name) > math.MaxUint16 {
			return b, fmt.Errorf("a header name of %d bytes", len(name))
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
		for j := range len(name) {
			c := name[j]
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			b = append(b, c)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
		b = append(b, value...)
	}
	return b, nil
}

// blockSize checks the header block p begins with and returns its length.
func blockSize(p []byte) (int, error) {
	if len(p) < 2 {
		return 0, fmt.Errorf("%w: a header block cut short", ErrProtocol)
	}
	n, at := int(binary.BigEndian.Uint16(p)), 2
	for range n {
		if len(p)-at < 2 {
			return 0, fmt.Errorf("%w: a header block cut short", ErrProtocol)
		}
		at += 2 + int(binary.BigEndian.Uint16(p[at:]))
		if len(p)-at < 4 {
			return 0, fmt.Errorf("%w: a header block cut short", ErrProtocol)
		}
		v := binary.BigEndian.Uint32(p[at:])
		at += 4
		if v > MaxBlock || int(v) > len(p)-at {
			return 0, fmt.Errorf("%w: a header block cut short", ErrProtocol)
		}
		at += int(v)
	}
	if at > MaxBlock {
		return 0, fmt.Errorf("%w: a header block of %d bytes", ErrProtocol, at)
	}
	return at, nil
}

// ParseBlock appends to into the header block p begins with and returns also
// what follows it. The fields are copies: p may be reused.
func ParseBlock(p []byte, into Fields) (Fields, []byte, error) {
	size, err := blockSize(p)
	if err != nil {
		return into, nil, err
	}
	s := string(p[:size]) // the one allocation; all fields are cut from it
	n, at := int(binary.BigEndian.Uint16(p)), 2
	for range n {
		l := int(binary.BigEndian.Uint16(p[at:]))
		name := s[at+2 : at+2+l]
		at += 2 + l
		v := int(binary.BigEndian.Uint32(p[at:]))
		into = append(into, Field{name, s[at+4 : at+4+v]})
		at += 4 + v
	}
	return into, p[size:], nil
}

// Head is the call head of a REQUEST.
type Head struct {
	DeadlineMS uint32 // milliseconds left; 0: no deadline
	Method     string
	Target     string
	Authority  string
	Scheme     string
	Remote     string
	ID         string
	Header     Fields
}

// AppendHead appends h as it travels. It fails when a part is too long.
func AppendHead(b []byte, h *Head) ([]byte, error) {
	b = binary.BigEndian.AppendUint32(b, h.DeadlineMS)
	for _, s := range [...]string{h.Method, h.Target, h.Authority, h.Scheme, h.Remote, h.ID} {
		if len(s) > math.MaxUint16 {
			return b, fmt.Errorf("a part of the call head has %d bytes", len(s))
		}
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return AppendBlock(b, h.Header)
}

// ParseHead reads the call head p begins with into h, whose Header is appended
// to, and returns what follows it. Nothing of h refers to p.
func ParseHead(p []byte, h *Head) ([]byte, error) {
	if len(p) < 4 {
		return nil, fmt.Errorf("%w: a call head cut short", ErrProtocol)
	}
	h.DeadlineMS = binary.BigEndian.Uint32(p)
	p = p[4:]
	for _, s := range [...]*string{&h.Method, &h.Target, &h.Authority, &h.Scheme, &h.Remote, &h.ID} {
		if len(p) < 2 || len(p)-2 < int(binary.BigEndian.Uint16(p)) {
			return nil, fmt.Errorf("%w: a call head cut short", ErrProtocol)
		}
		n := int(binary.BigEndian.Uint16(p))
		*s, p = string(p[2:2+n]), p[2+n:]
	}
	var err error
	h.Header, p, err = ParseBlock(p, h.Header)
	return p, err
}

// Log is the payload of a LOG frame.
type Log struct {
	Stream  int // 1 stdout, 2 stderr
	Request string
	Text    []byte // shares the payload
}

// ParseLog reads the payload of a LOG frame.
func ParseLog(p []byte) (Log, error) {
	if len(p) < 3 || p[0] != 1 && p[0] != 2 || len(p)-3 < int(binary.BigEndian.Uint16(p[1:])) {
		return Log{}, fmt.Errorf("%w: a malformed LOG", ErrProtocol)
	}
	n := int(binary.BigEndian.Uint16(p[1:]))
	return Log{int(p[0]), string(p[3 : 3+n]), p[3+n:]}, nil
}

// AppendLog appends the payload of a LOG frame; a request id is cut at 65 535
// bytes.
func AppendLog(b []byte, stream int, request string, text []byte) []byte {
	if len(request) > math.MaxUint16 {
		request = request[:math.MaxUint16]
	}
	b = append(b, byte(stream))
	b = binary.BigEndian.AppendUint16(b, uint16(len(request)))
	return append(append(b, request...), text...)
}
