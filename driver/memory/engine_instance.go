package memory

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Process is what a program sees of the instance it runs in.
type Process struct {
	in *instance
}

// ID is the instance's.
func (p *Process) ID() string { return p.in.id }

// Spec is what the instance was started with.
func (p *Process) Spec() engine.Spec { return p.in.spec }

// Print writes a line; stream is stdout or stderr, request may be empty.
func (p *Process) Print(stream, request, text string) { p.in.print(stream, request, text) }

// SetReady says whether the instance is ready for new calls from now on; it is
// when it starts.
func (p *Process) SetReady(ready bool) {
	in := p.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.unready == ready {
		in.unready = !ready
		close(in.turned)
		in.turned = make(chan struct{})
	}
}

// Exit ends the instance at once. Calls in flight lose their connection. It
// returns to the handler, which must return too.
func (p *Process) Exit(code int) {
	p.in.end(engine.Exit{Code: code, Reason: fmt.Sprintf("exited with status %d", code)})
}

// OOM ends the instance as if it had gone over its memory limit.
func (p *Process) OOM() {
	reason := "killed: out of memory"
	if m := p.in.spec.Limits.MemoryBytes; m > 0 {
		reason = fmt.Sprintf("killed: out of memory (limit %dMi)", m>>20)
	}
	p.in.end(engine.Exit{Code: -1, Signal: "SIGKILL", OOM: true, Reason: reason})
}

// instance is one http.Server on in-memory connections.
type instance struct {
	e    *Engine
	id   string
	spec engine.Spec
	prog Program

	srv    *http.Server
	accept chan net.Conn
	ctx    context.Context // of every call; ends when the instance does
	cancel context.CancelFunc
	over   chan struct{} // closed first: nothing is accepted any more
	done   chan struct{} // closed last: nothing is left
	calls  sync.WaitGroup
	timer  *time.Timer // ends the instance at its LiveTime; may be nil

	mu      sync.Mutex
	unready bool
	turned  chan struct{} // closed when unready changes
	ending  bool
	leave   bool // Stop was called: calls in flight finish, no new connection
	exit    engine.Exit
	conns   map[*conn]struct{}
}

func newInstance(e *Engine, id string, s engine.Spec, p Program) *instance {
	in := &instance{
		e: e, id: id, spec: s, prog: p,
		accept: make(chan net.Conn), over: make(chan struct{}), done: make(chan struct{}),
		conns: map[*conn]struct{}{}, turned: make(chan struct{}),
	}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	var h http.Handler
	in.srv = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			in.mu.Lock()
			if in.ending {
				in.mu.Unlock()
				return
			}
			in.calls.Add(1)
			in.mu.Unlock()
			defer in.calls.Done()
			h.ServeHTTP(w, r)
		}),
		ConnState: func(c net.Conn, s http.ConnState) {
			if s != http.StateNew {
				c.(*conn).used.Store(true)
			}
		},
		BaseContext: func(net.Listener) context.Context { return in.ctx },
		ErrorLog:    log.New(lineWriter{in}, "", 0),
	}
	h = p.Main(&Process{in}) // it may end the instance
	return in
}

// discard ends an instance that was never handed out.
func (in *instance) discard() {
	in.end(engine.Exit{Reason: "stopped"})
	<-in.done
}

// died reports whether the instance is ending, and how.
func (in *instance) died() (engine.Exit, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.exit, in.ending
}

func (in *instance) serve() {
	go in.srv.Serve(&listener{in: in, closed: make(chan struct{})})
	if d := in.prog.LiveTime; d > 0 {
		in.mu.Lock()
		if !in.ending {
			in.timer = time.AfterFunc(d, func() { in.end(engine.Exit{Code: 1, Reason: "exited with status 1"}) })
		}
		in.mu.Unlock()
	}
}

// Ready implements engine.Probed.
func (in *instance) Ready() (now bool, changed <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return !in.unready, in.turned
}

// ID implements engine.Instance.
func (in *instance) ID() string { return in.id }

// Protocol implements engine.Instance.
func (in *instance) Protocol() string { return api.ProtocolHTTP }

// Done implements engine.Instance.
func (in *instance) Done() <-chan struct{} { return in.done }

// Exit implements engine.Instance.
func (in *instance) Exit() engine.Exit {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.exit
}

// Dial implements engine.Instance.
func (in *instance) Dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	c := &conn{Conn: server, in: in}
	in.mu.Lock()
	refuse := in.ending || in.leave
	if !refuse {
		in.conns[c] = struct{}{}
	}
	in.mu.Unlock()
	if refuse {
		return nil, api.Errorf(api.CodeInstanceLost, "instance %s has ended", in.id)
	}
	select {
	case in.accept <- c:
		return client, nil
	case <-in.over:
		c.Close()
		return nil, api.Errorf(api.CodeInstanceLost, "instance %s has ended", in.id)
	case <-ctx.Done():
		c.Close()
		return nil, ctx.Err()
	}
}

// Stop implements engine.Instance.
func (in *instance) Stop(ctx context.Context) error {
	in.mu.Lock()
	in.leave = true
	var unused []net.Conn
	for c := range in.conns {
		if !c.used.Load() {
			unused = append(unused, c)
		}
	}
	in.mu.Unlock()
	for _, c := range unused { // the server would wait for their first request
		c.Close()
	}
	grace, cancel := context.WithTimeout(ctx, in.e.opts.Grace)
	defer cancel()
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		in.srv.Shutdown(grace)
	}()
	x := engine.Exit{Reason: "stopped"}
	select {
	case <-idle:
	case <-in.over:
	}
	if grace.Err() != nil {
		x = engine.Exit{Code: -1, Signal: "SIGKILL", Reason: "killed: did not stop in time"}
	}
	in.end(x)
	<-idle
	<-in.done
	return nil
}

// end makes an end of everything; the first exit counts. It does not wait for
// calls in flight, because one of them may be the caller.
func (in *instance) end(x engine.Exit) {
	in.mu.Lock()
	if in.ending {
		in.mu.Unlock()
		return
	}
	in.ending = true
	x.At = time.Now()
	in.exit = x
	if in.timer != nil {
		in.timer.Stop()
	}
	conns := make([]net.Conn, 0, len(in.conns))
	for c := range in.conns {
		conns = append(conns, c)
	}
	in.mu.Unlock()
	close(in.over)
	in.cancel()
	for _, c := range conns { // hijacked ones too, which the server forgets
		c.Close()
	}
	in.srv.Close()
	go func() {
		in.calls.Wait() // a handler must heed its request's context
		in.e.gone(in.id)
		close(in.done)
	}()
}

func (in *instance) print(stream, request, text string) {
	if in.e.opts.Sink == nil {
		return
	}
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		in.e.opts.Sink(engine.Line{
			Time: time.Now(), Tenant: in.spec.Tenant, Function: in.spec.Function, Revision: in.spec.Revision,
			Instance: in.id, Request: request, Stream: stream, Text: l[:min(len(l), 16<<10)],
		})
	}
}

// listener gives the server what Dial offers.
type listener struct {
	in     *instance
	once   sync.Once
	closed chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.in.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-l.in.over:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return addr(l.in.id) }

// conn forgets itself when closed.
type conn struct {
	net.Conn
	in   *instance
	used atomic.Bool // has carried a byte of a request
}

func (c *conn) Close() error {
	c.in.mu.Lock()
	delete(c.in.conns, c)
	c.in.mu.Unlock()
	return c.Conn.Close()
}

type addr string

func (a addr) Network() string { return "memory" }
func (a addr) String() string  { return string(a) }

// lineWriter turns the server's own complaints, such as a panic's stack, into
// lines on stderr.
type lineWriter struct{ in *instance }

var _ io.Writer = lineWriter{}

func (w lineWriter) Write(b []byte) (int, error) {
	w.in.print("stderr", "", string(b))
	return len(b), nil
}
