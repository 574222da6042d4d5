package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/h1"
	"github.com/hearth-run/hearth/serve/gateway/relay"
)

// opened is a connection that has changed its protocol, to be joined with the
// instance's when the handler has returned. The call lasts as long as the pair.
type opened struct {
	pair  relay.Pair
	lease engine.Lease
}

// limits are those of a connection that has changed its protocol. The answer has
// begun with that, and what follows is its body.
func (c *call) limits() (l relay.Limits) {
	if t := c.times; t != nil {
		l.Quiet = t.idle
		if t.whole > 0 {
			l.Until = c.start.Add(t.whole)
			return l
		}
	}
	l.Silence = c.timeout
	return l
}

// hijack answers 101 to the client and takes its connection over, with what the
// client has sent already.
func (c *call) hijack(fields frame.Fields) (nc net.Conn, early []byte, err error) {
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
	// Not through rw: the end of its input would end the request's context, and
	// the client may only have closed its half.
	early, _ = rw.Reader.Peek(rw.Reader.Buffered())
	if k, ok := nc.(*guard); ok {
		nc, early = k.Conn, append(early[:len(early):len(early)], k.early...)
	}
	return nc, early, nil
}

// splice prepares to join two connections after 101.
func (c *call) splice(r *h1.Response) error {
	client, early, err := c.hijack(r.Header)
	if err != nil {
		r.Close()
		return err
	}
	c.opened = &opened{pair: relay.Pair{A: client, FromA: early, Limits: c.limits()}}
	c.opened.pair.B, c.opened.pair.FromB = r.Raw()
	return nil
}

// tunnel joins a socket with a raw stream of frames after 101.
func (c *call) tunnel(r *frame.Response) error {
	defer r.Close()
	client, early, err := c.hijack(r.Header)
	if err != nil {
		return err
	}
	defer client.Close()
	var mu sync.Mutex
	limits, fromClient, fromInstance := c.limits(), time.Now(), time.Now()
	came := func(from *time.Time) {
		mu.Lock()
		defer mu.Unlock()
		*from = time.Now()
		r.SetDeadline(max(time.Until(limits.Next(fromClient, fromInstance)), 1))
	}
	came(&fromInstance)
	up := make(chan struct{})
	go func() {
		defer close(up)
		buf := make([]byte, 32<<10)
		for in := io.MultiReader(bytes.NewReader(early), client); ; {
			n, err := in.Read(buf)
			if n > 0 {
				came(&fromClient)
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
		came(&fromInstance)
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
