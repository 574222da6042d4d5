package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/h1"
)

// answer is a call's answer, by either protocol.
type answer interface {
	Head() (int, frame.Fields)
	Next() ([]byte, error)
	Buffered() (n int, last bool)
	Trailer() frame.Fields
	SetDeadline(time.Duration)
	Close() error
}

var (
	_ answer = (*frame.Response)(nil)
	_ answer = (*h1.Response)(nil)
	_ answer = (*h2answer)(nil)
)

// prepare makes what every attempt sends.
func (c *call) prepare() error {
	c.header()
	if c.r.Body == nil || c.r.Body == http.NoBody {
		return nil
	}
	if http1 := c.r.ProtoMajor == 1; http1 && (c.r.ContentLength < 0 || c.r.ContentLength > smallBody) {
		// An answer may begin while the body still comes in.
		http.NewResponseController(c.w).EnableFullDuplex()
	}
	return c.read()
}

// upgrade is the protocol the client wants to change to; empty: none.
func (c *call) upgrade() string {
	if c.r.ProtoMajor != 1 || c.r.ContentLength > 0 || !httpguts.HeaderValuesContainsToken(c.r.Header["Connection"], "upgrade") {
		return ""
	}
	return first(c.r.Header, "Upgrade")
}

// streamed is the body that is pumped; nil: it has been read, or there is none.
func (c *call) streamed() io.Reader {
	if c.r.Body == nil || c.r.Body == http.NoBody || c.r.ContentLength >= 0 && c.r.ContentLength <= smallBody {
		return nil
	}
	c.pumped = make(chan struct{})
	return &pumped{&c.body, c.pumped}
}

// drain waits until the body is no longer read. A client that is still sending
// it is cut off: the answer is complete, and the rest of the body must not be
// taken for another request.
func (c *call) drain() {
	if c.pumped == nil {
		return
	}
	select {
	case <-c.pumped:
	default:
		if k := guarded(c.r); k != nil && c.r.ProtoMajor == 1 {
			k.cut()
		}
		http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0))
		<-c.pumped
	}
	c.pumped = nil
}

func (c *call) first() []byte {
	if n := c.r.ContentLength; n > 0 && n <= smallBody {
		return c.small[:n]
	}
	return nil
}

// trailer gives the request's trailers, known once its body has ended.
func (c *call) trailer() func() frame.Fields {
	if len(c.r.Trailer) == 0 {
		return nil
	}
	r := c.r
	return func() (f frame.Fields) {
		for name, values := range r.Trailer {
			for _, v := range values {
				if !hop(name) && !ours(name) {
					f = append(f, frame.Field{Name: name, Value: v})
				}
			}
		}
		return f
	}
}

// forward makes the call on an instance and passes the answer on. broken says
// that the instance is unfit for another call.
func (c *call) forward(l engine.Lease, left time.Duration) (broken bool, err error) {
	defer c.drain()
	k := c.g.links.of(l.Instance)
	ctx := c.r.Context()
	upgrade := c.upgrade()
	var a answer
	if k.h2 != nil {
		r, err := c.overH2(k.h2, left)
		if err != nil {
			return c.unfit(nil, err), err
		}
		a = r
	} else if k.http != nil {
		c.hrq = h1.Request{
			Method: c.r.Method, Target: c.path, Host: c.authority(), Header: c.fields, Length: c.r.ContentLength,
			First: c.first(), Body: c.streamed(), Trailer: c.trailer(), Upgrade: upgrade, Deadline: left, Informational: c.informational(),
		}
		r, err := k.http.Do(ctx, &c.hrq)
		if err != nil {
			return c.unfit(nil, err), err
		}
		if r.Status == http.StatusSwitchingProtocols {
			return false, c.splice(r)
		}
		a = r
	} else {
		client, err := k.client(ctx)
		if err != nil {
			return c.unfit(nil, err), err
		}
		c.framed(upgrade, left)
		r, err := client.Do(ctx, &c.frq)
		if err != nil {
			return c.unfit(client, err), err
		}
		if r.Status == http.StatusSwitchingProtocols {
			return false, c.tunnel(r)
		}
		a = r
	}
	err = c.pass(a)
	a.Close()
	return c.unfit(nil, err), err
}

// framed fills in the request for an instance of the loader protocol.
func (c *call) framed(upgrade string, left time.Duration) {
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	f := c.fields
	if n := c.r.ContentLength; n > 0 {
		f = append(f, frame.Field{Name: "content-length", Value: strconv.FormatInt(n, 10)})
	}
	if upgrade != "" {
		f = append(f, frame.Field{Name: "connection", Value: "upgrade"}, frame.Field{Name: "upgrade", Value: upgrade})
	}
	c.frq = frame.Request{
		Method: c.r.Method, Target: c.path, Authority: c.authority(), Scheme: scheme, Remote: c.r.RemoteAddr, ID: c.id, Deadline: left,
		Header: f, First: c.first(), Body: c.streamed(), Trailer: c.trailer(), Upgrade: upgrade != "", Informational: c.informational(),
	}
}

// informational passes on early hints; other informational answers are the
// server's own business.
func (c *call) informational() func(int, frame.Fields) {
	if c.r.ProtoMajor == 1 && c.r.ProtoMinor == 0 {
		return nil
	}
	return c.inform
}

func (c *call) inform(status int, f frame.Fields) {
	if status != http.StatusEarlyHints {
		return
	}
	h := c.w.Header()
	for i := range f {
		if name := canonical(f[i].Name); !hop(name) {
			h.Add(name, f[i].Value)
		}
	}
	c.w.WriteHeader(status)
	clear(h)
}

// unfit reports whether an instance can take no other call after err: it was
// lost, or it goes on with a call whose time is over. One that answers a single
// call at a time is then busy for ever; of one that answers many, client tells
// whether it still listens.
func (c *call) unfit(client *frame.Client, err error) bool {
	switch {
	case err == nil, errors.Is(err, frame.ErrCallFailed):
		return false
	case api.IsCode(err, api.CodeInstanceLost):
		return true
	case !api.IsCode(err, api.CodeTimeout):
		return false
	case c.rev.concurrency == 0, c.rev.concurrency == 1:
		return true
	case client == nil:
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), time.Second)
	defer cancel()
	return client.Ping(ctx) != nil
}

// pass copies an answer to the client.
func (c *call) pass(a answer) error {
	status, fields := a.Head()
	if c.refuses(status) {
		return refused(status)
	}
	h := c.w.Header()
	n, last := a.Buffered()
	known, declared := c.copyHeader(h, fields)
	bodiless := c.r.Method == http.MethodHead || status == 204 || status == 304
	if !known && last && !bodiless {
		if t := a.Trailer(); len(t) == 0 {
			h["Content-Length"] = []string{strconv.Itoa(n)}
			known = true
		}
	}
	if !last {
		c.lap(a, known)
	}
	if x := c.target.rules; x != nil && x.sticky != nil {
		x.sticky.set(h, c)
	}
	c.status = status
	c.w.WriteHeader(status)
	if bodiless {
		return nil
	}
	if n == 0 && !last && !known {
		c.flush() // what follows may take its time
	}
	big := false
	for {
		b, err := a.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if big = big || !known || len(b) > smallBody; big {
			c.writeDeadline(known)
		}
		m, err := c.w.Write(b)
		c.out += int64(m)
		if err != nil {
			return &api.Error{Code: api.CodeCanceled, Message: "the caller went away", Cause: err}
		}
		if !known || c.times != nil {
			c.lap(a, known)
		}
		if n, last := a.Buffered(); n == 0 && !last {
			c.flush()
		}
	}
	for _, f := range a.Trailer() {
		name := canonical(f.Name)
		if hop(name) || name == "Content-Length" {
			continue
		}
		if name == "Grpc-Status" {
			c.fault = grpcFault(f.Value)
		}
		if !httpguts.HeaderValuesContainsToken(declared, name) {
			name = http.TrailerPrefix + name
		}
		h.Add(name, f.Value)
	}
	return nil
}

// writeDeadline bounds how long a client may take to accept what is written.
func (c *call) writeDeadline(total bool) {
	t := time.Now().Add(c.timeout)
	if total {
		t = c.start.Add(c.timeout)
	}
	http.NewResponseController(c.w).SetWriteDeadline(t)
}

func (c *call) flush() {
	if f, ok := c.w.(http.Flusher); ok {
		f.Flush()
	} else {
		http.NewResponseController(c.w).Flush()
	}
}

// copyHeader copies an answer's header. known says that it has a length;
// declared are the names of trailers it announces.
func (c *call) copyHeader(h http.Header, fields frame.Fields) (known bool, declared []string) {
	var connection []string
	for i := range fields {
		switch fields[i].Name {
		case "connection":
			connection = append(connection, fields[i].Value)
		case "trailer":
			declared = append(declared, fields[i].Value)
		}
	}
	values := make([]string, len(fields)+1) // one allocation for all
	for i := range fields {
		name := canonical(fields[i].Name)
		if hop(name) || connection != nil && httpguts.HeaderValuesContainsToken(connection, name) {
			continue
		}
		values[i] = fields[i].Value
		switch {
		case name == "Content-Length":
			if known {
				continue
			}
			known = true
		case name == "X-Request-Id":
			continue
		case name == "Grpc-Status": // an answer of trailers only
			c.fault = grpcFault(fields[i].Value)
		}
		if old := h[name]; old != nil {
			h[name] = append(old, fields[i].Value)
			continue
		}
		h[name] = values[i : i+1 : i+1]
	}
	if declared != nil {
		h["Trailer"] = declared
	}
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // do not guess
	}
	values[len(fields)] = c.id
	h["X-Request-Id"] = values[len(fields):]
	c.cross(h)
	return known, declared
}
