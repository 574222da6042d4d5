package socket

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// short is how many bytes are soon copied; the scheduler is told of longer calls.
const short = 64 << 10

// Conn is a connection over a socket. Unlike a net.Conn's, its Read and its
// Write are each for one goroutine at a time.
type Conn struct {
	net.Conn
	raw syscall.RawConn

	in, out                      []byte // what is to be read or written
	got                          int
	inErr                        error
	outErr                       error
	first                        bool // of an exchange
	reading, writing, exchanging func(uintptr) bool
}

// Wrap returns nc with cheaper reads and writes where nc is a socket, and nc
// itself where not.
func Wrap(nc net.Conn) net.Conn {
	switch nc.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return nc
	}
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return nc
	}
	c := &Conn{Conn: nc, raw: raw}
	c.reading, c.writing, c.exchanging = c.read, c.write, c.exchange
	return c
}

// Unwrap returns what Wrap was given.
func Unwrap(nc net.Conn) net.Conn {
	if c, ok := nc.(*Conn); ok {
		return c.Conn
	}
	return nc
}

// CloseWrite ends the sending half.
func (c *Conn) CloseWrite() error { return c.Conn.(interface{ CloseWrite() error }).CloseWrite() }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 || len(p) > short {
		return c.Conn.Read(p)
	}
	c.in, c.got, c.inErr = p, 0, nil
	err := c.raw.Read(c.reading)
	c.in = nil
	if err != nil {
		return 0, err
	}
	return c.got, c.inErr
}

func (c *Conn) read(fd uintptr) bool {
	for {
		n, errno := transfer(syscall.SYS_RECVFROM, fd, c.in)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			c.inErr = c.failed("read", errno)
		case n == 0:
			c.inErr = io.EOF
		default:
			c.got = n
		}
		return true
	}
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 || len(p) > short {
		return c.Conn.Write(p)
	}
	c.out, c.outErr = p, nil
	err := c.raw.Write(c.writing)
	n := len(p) - len(c.out)
	c.out = nil
	if err == nil {
		err = c.outErr
	}
	return n, err
}

func (c *Conn) write(fd uintptr) bool {
	for len(c.out) > 0 {
		n, errno := transfer(syscall.SYS_SENDTO, fd, c.out)
		switch {
		case errno == syscall.EINTR:
		case errno == syscall.EAGAIN:
			return false
		case errno != 0:
			c.outErr = c.failed("write", errno)
			return true
		default:
			c.out = c.out[n:]
		}
	}
	return true
}

// Exchange writes p and then waits for bytes from the peer, of which it reads as
// many as in has room for. wrote is how much of p was written. All that came
// earlier must have been read: what is an answer to p cannot be there before p
// was written, so nothing is tried before, and a peer that has closed its
// sending half only, and before, is noticed at the deadline.
func Exchange(nc net.Conn, p, in []byte) (wrote, n int, err error) {
	c, ok := nc.(*Conn)
	if !ok || len(p) == 0 || len(p) > short || len(in) == 0 || len(in) > short {
		return exchange(nc, p, in)
	}
	c.out, c.outErr, c.in, c.got, c.inErr, c.first = p, nil, in, 0, nil, true
	err = c.raw.Read(c.exchanging)
	rest := c.out
	wrote = len(p) - len(rest)
	c.in, c.out = nil, nil
	switch {
	case err != nil:
		return wrote, 0, err
	case c.outErr != nil:
		return wrote, 0, c.outErr
	case len(rest) > 0: // it did not fit
		m, n, err := exchange(c, rest, in)
		return wrote + m, n, err
	}
	return wrote, c.got, c.inErr
}

func (c *Conn) exchange(fd uintptr) bool {
	if c.first { // the poller has forgotten earlier events: the next one is the answer's
		c.first = false
		return !c.write(fd) || c.outErr != nil
	}
	return c.read(fd)
}

// transfer is recvfrom or sendto, which are a little cheaper than read and write.
func transfer(call, fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

func (c *Conn) failed(op string, errno syscall.Errno) error {
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, errno)}
}
