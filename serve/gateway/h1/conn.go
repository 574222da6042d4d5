package h1

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/runtime/frame"
)

// How the length of an answer's body is known.
const (
	bodyNone = iota
	bodyLength
	bodyChunked
	bodyClose // it ends with the connection
)

// conn is one connection; one call has it at a time.
type conn struct {
	nc   net.Conn
	used bool // it has served a call before
	buf  []byte
	r, w int
	out  []byte // request head and first bytes

	until     time.Time // the deadline that is set; zero: none
	interrupt func()    // makes reads and writes fail at once

	mode    int
	left    int64 // of the body, or of the chunk
	ended   bool  // the body's last byte has been taken
	keep    bool
	trailer frame.Fields
}

// deadline gives the call d from now; 0: no deadline. It may come late by a
// hundredth of d: connections are used again so soon that one deadline does for
// many calls.
func (c *conn) deadline(d time.Duration) {
	switch now := time.Now(); {
	case d == 0 && !c.until.IsZero():
		c.until = time.Time{}
	case d > 0 && (c.until.Before(now.Add(d)) || c.until.After(now.Add(d+d/100))):
		c.until = now.Add(d + d/100)
	default:
		return
	}
	c.nc.SetDeadline(c.until)
}

// fill reads once; it makes room first.
func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if c.w == len(c.buf) {
		if c.r > 0 {
			c.w = copy(c.buf, c.buf[c.r:c.w])
			c.r = 0
		} else {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
	}
	n, err := c.nc.Read(c.buf[c.w:])
	if c.w += n; n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// block returns the lines up to an empty one, which it takes as well.
func (c *conn) block() ([]byte, error) {
	at := c.r // start of the line being looked for
	for {
		i := bytes.IndexByte(c.buf[at:c.w], '\n')
		if i < 0 {
			if c.w-c.r > MaxHead {
				return nil, fmt.Errorf("%w: more than %d bytes of header", ErrMalformed, MaxHead)
			}
			off := at - c.r
			if err := c.fill(); err != nil {
				return nil, err
			}
			at = c.r + off
			continue
		}
		line := c.buf[at : at+i]
		at += i + 1
		if len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			b := c.buf[c.r:at]
			c.r = at
			return b, nil
		}
		if at-c.r > MaxHead {
			return nil, fmt.Errorf("%w: more than %d bytes of header", ErrMalformed, MaxHead)
		}
	}
}

// head reads the status line and header of an answer to method.
func (c *conn) head(method string, into frame.Fields) (int, frame.Fields, error) {
	b, err := c.block()
	if err != nil {
		return 0, nil, err
	}
	i := bytes.IndexByte(b, '\n')
	status, minor, err := statusLine(bytes.TrimSuffix(b[:i], []byte("\r")))
	if err != nil {
		return 0, nil, err
	}
	f, err := fields(b[i+1:], into)
	if err != nil {
		return 0, nil, err
	}
	return status, f, c.frame(method, status, minor, f)
}

// statusLine reads "HTTP/1.x NNN reason".
func statusLine(b []byte) (status, minor int, err error) {
	if len(b) < 12 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' || b[8] != ' ' || len(b) > 12 && b[12] != ' ' {
		return 0, 0, fmt.Errorf("%w: status line %.40q", ErrMalformed, b)
	}
	for _, d := range b[9:12] {
		if d < '0' || d > '9' {
			return 0, 0, fmt.Errorf("%w: status line %.40q", ErrMalformed, b)
		}
		status = status*10 + int(d-'0')
	}
	if status < 100 {
		return 0, 0, fmt.Errorf("%w: status %d", ErrMalformed, status)
	}
	return status, int(b[7] - '0'), nil
}

// fields reads header lines up to the empty one. Names become lower case, in b.
func fields(b []byte, into frame.Fields) (frame.Fields, error) {
	for at := 0; b[at] != '\n' && (b[at] != '\r' || b[at+1] != '\n'); {
		end := at + bytes.IndexByte(b[at:], '\n')
		if b[at] == ' ' || b[at] == '\t' {
			return nil, fmt.Errorf("%w: a folded header line", ErrMalformed)
		}
		i := at
		for ; b[i] != ':' && token[b[i]] != 0; i++ {
			b[i] = token[b[i]]
		}
		if i == at || b[i] != ':' {
			return nil, fmt.Errorf("%w: header line %.60q", ErrMalformed, b[at:end])
		}
		at = end + 1
	}
	s := string(b) // the one allocation; all fields are cut from it
	for s[0] != '\n' && (s[0] != '\r' || s[1] != '\n') {
		end, colon := strings.IndexByte(s, '\n'), strings.IndexByte(s, ':')
		name, value := s[:colon], s[colon+1:end]
		s = s[end+1:]
		value = strings.TrimSuffix(value, "\r")
		for value != "" && (value[0] == ' ' || value[0] == '\t') {
			value = value[1:]
		}
		for value != "" && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
			value = value[:len(value)-1]
		}
		for i := range len(value) {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				return nil, fmt.Errorf("%w: a control character in %s", ErrMalformed, name)
			}
		}
		into = append(into, frame.Field{Name: name, Value: value})
	}
	return into, nil
}

// token has the lower-case form of every byte that may be in a field's name, and
// 0 for the others.
var token = func() (t [256]byte) {
	for c := byte('0'); c < 0x7f; c++ {
		switch {
		case c >= 'A' && c <= 'Z':
			t[c] = c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c <= '9':
			t[c] = c
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] = c
	}
	return t
}()

// frame finds how long the body is.
func (c *conn) frame(method string, status, minor int, f frame.Fields) error {
	c.keep = minor == 1
	c.trailer, c.ended = nil, false
	length, chunked := int64(-1), false
	for i := range f {
		switch v := f[i].Value; f[i].Name {
		case "content-length":
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil || n < 0 || v[0] == '+' || length >= 0 && n != length {
				return fmt.Errorf("%w: content-length %.40q", ErrMalformed, v)
			}
			length = n
		case "transfer-encoding":
			if chunked || !strings.EqualFold(v, "chunked") {
				return fmt.Errorf("%w: transfer-encoding %.40q", ErrMalformed, v)
			}
			chunked = true
		case "connection":
			for t := range strings.SplitSeq(v, ",") {
				switch t = strings.TrimSpace(t); {
				case strings.EqualFold(t, "close"):
					c.keep = false
				case strings.EqualFold(t, "keep-alive") && minor == 0:
					c.keep = true
				}
			}
		}
	}
	if chunked && (length >= 0 || minor == 0) {
		return fmt.Errorf("%w: transfer-encoding beside content-length", ErrMalformed)
	}
	switch {
	case method == "HEAD", status < 200, status == 204, status == 304:
		c.mode, c.left, c.ended = bodyNone, 0, true
	case chunked:
		c.mode, c.left = bodyChunked, 0
	case length >= 0:
		c.mode, c.left, c.ended = bodyLength, length, length == 0
	default:
		c.mode, c.keep = bodyClose, false
	}
	return nil
}

// next returns body bytes that are valid until the next call; it waits for some
// only when there are none. At the end it returns io.EOF.
func (c *conn) next() ([]byte, error) {
	if c.ended {
		return nil, io.EOF
	}
	if c.mode == bodyChunked && c.left == 0 {
		if err := c.chunk(); err != nil {
			return nil, err
		}
	}
	if c.r == c.w {
		if err := c.fill(); err != nil {
			if err == io.EOF && c.mode == bodyClose {
				c.ended = true
				return nil, io.EOF
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	b := c.buf[c.r:c.w]
	if c.mode != bodyClose {
		if int64(len(b)) > c.left {
			b = b[:c.left]
		}
		c.left -= int64(len(b))
	}
	c.r += len(b)
	switch c.mode {
	case bodyLength:
		c.ended = c.left == 0
	case bodyChunked:
		if c.left == 0 {
			// What follows the chunk is often here already: knowing the end
			// now lets the answer leave in one piece.
			if err := c.chunkEnd(); err != nil {
				return nil, err
			}
			c.peek()
		}
	}
	return b, nil
}

// chunkEnd takes the line end behind a chunk. It must not move what next
// returns, so it reads into the room behind it or, where there is none, byte by
// byte into a copy.
func (c *conn) chunkEnd() error {
	for n := 0; ; n++ {
		if c.r == c.w {
			var one [1]byte
			if _, err := io.ReadFull(c.nc, one[:]); err != nil {
				return err
			}
			if n == 0 && one[0] == '\r' {
				continue
			}
			if one[0] == '\n' {
				return nil
			}
			return fmt.Errorf("%w: a chunk longer than its size", ErrMalformed)
		}
		b := c.buf[c.r]
		c.r++
		if n == 0 && b == '\r' {
			continue
		}
		if b == '\n' {
			return nil
		}
		return fmt.Errorf("%w: a chunk longer than its size", ErrMalformed)
	}
}

// peek ends a chunked body whose last chunk, without trailers, has come.
func (c *conn) peek() {
	if string(c.buf[c.r:c.w]) == "0\r\n\r\n" {
		c.r, c.ended = c.w, true
	}
}

// chunk reads the size of the next chunk and, behind the last, the trailers.
func (c *conn) chunk() error {
	var i int
	for {
		if i = bytes.IndexByte(c.buf[c.r:c.w], '\n'); i >= 0 {
			break
		}
		if c.w-c.r > 4<<10 {
			return fmt.Errorf("%w: a chunk's size of more than 4 KiB", ErrMalformed)
		}
		if err := c.fill(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	line := bytes.TrimSuffix(c.buf[c.r:c.r+i], []byte("\r"))
	c.r += i + 1
	if j := bytes.IndexByte(line, ';'); j >= 0 {
		line = bytes.TrimRight(line[:j], " \t")
	}
	var n int64
	for _, d := range line {
		switch {
		case d >= '0' && d <= '9':
			d -= '0'
		case d >= 'a' && d <= 'f':
			d -= 'a' - 10
		case d >= 'A' && d <= 'F':
			d -= 'A' - 10
		default:
			return fmt.Errorf("%w: chunk size %.20q", ErrMalformed, line)
		}
		n = n<<4 | int64(d)
	}
	if len(line) == 0 || len(line) > 15 {
		return fmt.Errorf("%w: chunk size %.20q", ErrMalformed, line)
	}
	if c.left = n; n > 0 {
		return nil
	}
	b, err := c.block()
	if err != nil {
		return err
	}
	if c.trailer, err = fields(b, nil); err != nil {
		return err
	}
	c.ended = true
	return io.EOF
}
