package frame

import (
	"context"
	"io"
	"time"
)

// Read reads the body. io.EOF comes after its last byte; Trailer is then
// complete.
func (r *Response) Read(p []byte) (int, error) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.s == nil {
		return 0, io.ErrClosedPipe
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.s.read(r.ctx, p)
	if err != nil && err != io.EOF {
		err = c.callError(err, true)
	}
	return n, err
}

// Head returns status and header.
func (r *Response) Head() (int, Fields) { return r.Status, r.Header }

// Buffered tells how many bytes Next would return without waiting, and whether
// the body ends with them.
func (r *Response) Buffered() (n int, last bool) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.s == nil {
		return 0, true
	}
	return len(r.s.in) - r.s.off, r.s.recvEnd
}

// Next waits for body bytes and returns all there are, without copying. They
// are valid until the next call of Next, Read or Close. At the end it returns
// io.EOF.
func (r *Response) Next() (b []byte, err error) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s := r.s
	if s == nil {
		return nil, io.ErrClosedPipe
	}
	if err := s.wait(r.ctx); err != nil {
		if err != io.EOF {
			err = c.callError(err, true)
		}
		return nil, err
	}
	b = s.swap()
	s.taken(len(b))
	return b, nil
}

// WriteTo implements io.WriterTo with one copy less than Read.
func (r *Response) WriteTo(w io.Writer) (n int64, err error) {
	for {
		b, err := r.Next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		m, err := w.Write(b)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
}

// Trailer is what came behind the body; complete at io.EOF.
func (r *Response) Trailer() Fields {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.s == nil {
		return nil
	}
	return r.s.trailer
}

// SetDeadline replaces what is left of the call's time; 0: no deadline.
func (r *Response) SetDeadline(d time.Duration) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.s != nil {
		r.s.setDeadline(d, expire)
	}
}

// Write sends bytes on a stream that an answer 101 has made raw.
func (r *Response) Write(p []byte) (int, error) { return r.write(p, false) }

// CloseWrite ends the sending half of a raw stream.
func (r *Response) CloseWrite() error {
	_, err := r.write(nil, true)
	return err
}

func (r *Response) write(p []byte, end bool) (int, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.s == nil || r.Status != 101 {
		return 0, io.ErrClosedPipe
	}
	n, err := r.s.write(r.ctx, p, end)
	if err != nil {
		err = r.c.callError(err, true)
	}
	return n, err
}

// Close gives the call up where it is not over: the instance is sent CANCEL.
// Header and Trailer taken before stay valid. Closing twice is no error.
func (r *Response) Close() error {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.release()
	return nil
}

// release ends the use of the stream, with the lock.
func (r *Response) release() {
	s := r.s
	if s == nil {
		return
	}
	r.s = nil
	s.abort("the caller has closed the answer")
	if s.refs > 1 { // the body's goroutine still sends: end it
		if s.err == nil {
			s.err = context.Canceled
		}
		s.over()
	}
	s.setDeadline(0, nil)
	s.resp = nil
	s.unref()
}
