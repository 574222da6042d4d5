package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/h1"
	"github.com/hearth-run/hearth/serve/gateway/socket"
)

// hijack answers 101 to the client and takes its connection over. The reader
// has what the client has sent already.
func (c *call) hijack(fields frame.Fields) (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		return nil, nil, &api.Error{Code: api.CodeUnsupported, Message: "this connection cannot change its protocol", Cause: err}
	}
	if k := guarded(c.r); k != nil {
		k.state = guardOff // nothing looks at the bytes any more
	}
	c.status = http.StatusSwitchingProtocols
	nc.SetDeadline(time.Time{})
	h := c.w.Header()
	c.copyHeader(h, fields)
	delete(h, "Content-Length")
	delete(h, "Content-Type")
	for i := range fields {
		if fields[i].Name == "upgrade" {
			h.Set("Upgrade", fields[i].Value)
		}
	}
	h.Set("Connection", "Upgrade")
	rw.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	h.Write(rw)
	rw.WriteString("\r\n")
	if err := rw.Flush(); err != nil {
		nc.Close()
		return nil, nil, &api.Error{Code: api.CodeCanceled, Message: "the caller went away", Cause: err}
	}
	if k, ok := nc.(*guard); ok && len(k.early) == 0 {
		nc = k.Conn // the kernel can splice it
	}
	return nc, rw, nil
}

// splice joins two sockets after 101.
func (c *call) splice(r *h1.Response) error {
	client, rw, err := c.hijack(r.Header)
	if err != nil {
		r.Close()
		return err
	}
	defer client.Close()
	inst, early := r.Raw()
	defer inst.Close()
	if b, _ := rw.Reader.Peek(rw.Reader.Buffered()); len(b) > 0 {
		if _, err := inst.Write(b); err != nil {
			return nil
		}
		c.body.n.Add(int64(len(b)))
	}
	if len(early) > 0 {
		if _, err := client.Write(early); err != nil {
			return nil
		}
		c.out += int64(len(early))
	}
	var alive atomic.Int64
	alive.Store(time.Now().UnixNano())
	up := make(chan struct{})
	go func() {
		defer close(up)
		c.body.n.Add(c.relay(inst, client, &alive))
	}()
	c.out += c.relay(client, inst, &alive)
	<-up
	return nil
}

// relay copies until src ends, then ends dst's half. When either side fails, or
// nothing has passed in both directions for the call's timeout, both end.
func (c *call) relay(dst, src net.Conn, alive *atomic.Int64) (n int64) {
	for {
		src.SetReadDeadline(time.Now().Add(c.timeout))
		m, err := messages(dst, src)
		if err == nil {
			var more int64
			more, err = io.Copy(dst, src)
			m += more
		}
		if err == io.EOF {
			err = nil
		}
		n += m
		now := time.Now()
		if m > 0 {
			alive.Store(now.UnixNano())
		}
		switch {
		case err == nil:
			if w, ok := dst.(interface{ CloseWrite() error }); ok {
				w.CloseWrite()
			} else {
				dst.Close()
			}
			return n
		case errors.Is(err, os.ErrDeadlineExceeded) && now.Sub(time.Unix(0, alive.Load())) < c.timeout:
			continue
		}
		dst.Close()
		src.Close()
		return n
	}
}

// messages copies as long as little comes at a time, as with most protocols that
// connections are upgraded to: two system calls for each message. It returns nil
// when there is more, which the kernel had better move, and else why it ended.
func messages(dst, src net.Conn) (n int64, err error) {
	in, out := socket.Wrap(src), socket.Wrap(dst)
	buf := make([]byte, 4<<10) // of every open connection, so not much
	for full := 0; full < 4; {
		m, err := in.Read(buf)
		if m > 0 {
			if _, err := out.Write(buf[:m]); err != nil {
				return n, err
			}
			n += int64(m)
		}
		if err != nil {
			return n, err
		}
		if full++; m < len(buf) {
			full = 0
		}
	}
	return n, nil
}

// tunnel joins a socket with a raw stream of frames after 101.
func (c *call) tunnel(r *frame.Response) error {
	defer r.Close()
	client, rw, err := c.hijack(r.Header)
	if err != nil {
		return err
	}
	defer client.Close()
	r.SetDeadline(c.timeout)
	up := make(chan struct{})
	go func() {
		defer close(up)
		buf := make([]byte, 32<<10)
		// Not through rw: the end of its input would end the request's context,
		// and the client may only have closed its half.
		early, _ := rw.Reader.Peek(rw.Reader.Buffered())
		for in := io.MultiReader(bytes.NewReader(early), client); ; {
			n, err := in.Read(buf)
			if n > 0 {
				r.SetDeadline(c.timeout)
				c.body.n.Add(int64(n))
				if _, werr := r.Write(buf[:n]); werr != nil {
					client.Close()
					return
				}
			}
			if err != nil {
				r.CloseWrite()
				return
			}
		}
	}()
	for {
		b, err := r.Next()
		if err != nil {
			break
		}
		r.SetDeadline(c.timeout)
		m, err := client.Write(b)
		c.out += int64(m)
		if err != nil {
			break
		}
	}
	client.Close()
	<-up
	return nil
}
