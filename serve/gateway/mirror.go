package gateway

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/hearth-run/hearth/api"
)

// mirrorsAtOnce bounds the copies under way; more are dropped, so that a slow
// mirror cannot hold the gateway's memory.
const mirrorsAtOnce = 256

// mirror copies calls to another target.
type mirror struct {
	to      target
	percent uint64
	next    atomic.Uint64
}

func (s *state) mirror(namespace string, m *api.Mirror) *mirror {
	if m == nil {
		return nil
	}
	out := &mirror{percent: 100}
	if m.Percent != nil {
		out.percent = uint64(max(*m.Percent, 0))
	}
	d := share{weight: 1}
	if m.Function != "" {
		d.function = s.function(namespace, m.Function)
	} else {
		d.revision = s.revision(namespace, m.Revision)
	}
	out.to.split.set([]share{d})
	return out
}

// turn reports whether the next call is copied: of every 100 in a row exactly
// percent are.
func (m *mirror) turn() bool { return (m.next.Add(1)-1)*61%100 < m.percent }

// mirrors are the copies under way.
type mirrors struct {
	slots   chan struct{}
	running sync.WaitGroup
	ctx     context.Context
	stop    context.CancelFunc
	dropped atomic.Uint64
}

func (ms *mirrors) init() {
	ms.slots = make(chan struct{}, mirrorsAtOnce)
	ms.ctx, ms.stop = context.WithCancel(context.Background())
}

func (ms *mirrors) close() {
	ms.stop()
	ms.running.Wait()
}

// tee keeps what is read of a body, up to a bound.
type tee struct {
	kept []byte
	over bool
}

func (t *tee) take(p []byte) {
	if t.over = t.over || len(t.kept)+len(p) > api.MirrorBody; t.over {
		t.kept = nil
		return
	}
	t.kept = append(t.kept, p...)
}

// copyTo starts the copy of a call whose body is known, or prepares it for when
// it is: nothing here waits.
func (c *call) copyTo(m *mirror) {
	r := c.r
	switch n := r.ContentLength; {
	case c.upgrade() != "": // a conversation has no copy
	case r.Body == nil || r.Body == http.NoBody:
		c.g.mirror(c, m, nil)
	case n >= 0 && n <= smallBody:
		c.g.mirror(c, m, bytes.Clone(c.small[:n]))
	case n <= api.MirrorBody:
		c.body.tee = &tee{}
	}
}

// copied starts the copy of a call whose body has streamed through.
func (c *call) copied(m *mirror) {
	if t := c.body.tee; t != nil && !t.over && c.body.done.Load() {
		c.g.mirror(c, m, t.kept)
	}
}

func (g *Gateway) mirror(c *call, m *mirror, body []byte) {
	ms := &g.mirrors
	select {
	case ms.slots <- struct{}{}:
	default:
		ms.dropped.Add(1)
		return
	}
	u := *c.r.URL
	r := (&http.Request{
		Method: c.r.Method, URL: &u, Proto: c.r.Proto, ProtoMajor: c.r.ProtoMajor, ProtoMinor: c.r.ProtoMinor,
		Header: c.r.Header.Clone(), Host: c.r.Host, RequestURI: c.r.RequestURI, RemoteAddr: c.r.RemoteAddr, TLS: c.r.TLS,
		Body: http.NoBody, ContentLength: int64(len(body)),
	}).WithContext(ms.ctx)
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	r.Header["X-Request-Id"] = []string{c.id}
	k := g.begin(&nowhere{header: http.Header{}}, r)
	k.mirrored, k.target, k.match, k.path, k.prefix = true, &m.to, c.match, c.path, c.prefix
	ms.running.Go(func() {
		defer func() {
			g.end(k)
			<-ms.slots
			if p := recover(); p != nil && p != http.ErrAbortHandler {
				panic(p)
			}
		}()
		g.answer(k)
	})
}

// nowhere takes an answer nobody waits for.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}
func (n *nowhere) Flush()                      {}
