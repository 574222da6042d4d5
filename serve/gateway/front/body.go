package front

import "io"

// body is a request's body of known length.
type body struct {
	c    *conn
	left int64
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (n int, err error) {
	c := b.c
	switch {
	case b.left == 0:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	case c.r < c.w:
		n = copy(p[:min(int64(len(p)), b.left)], c.buf[c.r:c.w])
		c.r += n
	default:
		n, err = c.nc.Read(p[:min(int64(len(p)), b.left)])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
	}
	if b.left -= int64(n); b.left == 0 {
		c.arm()
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error { return nil }

// buffered reports whether all of it has come.
func (b *body) buffered() bool { return b.left == 0 || b.left <= int64(b.c.w-b.c.r) }

// drop takes what was not read out of the connection's buffer; false: it has not
// all come.
func (b *body) drop() bool {
	if !b.buffered() {
		return false
	}
	b.c.r += int(b.left)
	b.left = 0
	return true
}
