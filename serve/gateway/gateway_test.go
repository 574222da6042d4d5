package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway"
)

// patience is how long a test waits for what comes at once unless something is
// broken: it fails then, instead of holding up all others.
const patience = time.Minute

func TestMain(m *testing.M) {
	http.DefaultClient.Timeout = patience
	if p := os.Getenv("GATEWAY_TEST_PEER"); p != "" {
		servePeer(p) // a process of its own, for benchmarks
		return
	}
	goleak.VerifyTestMain(m)
}

// instance is a real peer: an http.Server or an instance of frames on a unix
// socket.
type instance struct {
	id, protocol, socket string
	done                 chan struct{}
	stop                 func()
}

func (i *instance) ID() string       { return i.id }
func (i *instance) Protocol() string { return i.protocol }
func (i *instance) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", i.socket)
}
func (i *instance) Done() <-chan struct{}      { return i.done }
func (i *instance) Exit() engine.Exit          { return engine.Exit{} }
func (i *instance) Stop(context.Context) error { return nil }

// waker gives out instances by revision name.
type waker struct {
	mu       sync.Mutex
	by       map[string]func() (engine.Instance, error)
	released atomic.Int64
	broken   atomic.Int64
	acquired atomic.Int64
}

func (w *waker) Acquire(ctx context.Context, rev *api.Revision) (engine.Lease, error) {
	w.mu.Lock()
	f := w.by[rev.Metadata.Name]
	w.mu.Unlock()
	if f == nil {
		<-ctx.Done()
		return engine.Lease{}, ctx.Err()
	}
	in, err := f()
	if err != nil {
		return engine.Lease{}, err
	}
	w.acquired.Add(1)
	return engine.Lease{Instance: in, Owner: w, Cold: w.acquired.Load() == 1}, nil
}

func (w *waker) Release(_ engine.Lease, broken bool) {
	w.released.Add(1)
	if broken {
		w.broken.Add(1)
	}
}

func (w *waker) Abandon(l engine.Lease) { w.Release(l, true) }

// settled returns when every lease has been given back, which may be after the
// call's client has all of the answer.
func (w *world) settled() {
	w.t.Helper()
	for late := time.Now().Add(patience); w.waker.acquired.Load() != w.waker.released.Load(); {
		if time.Now().After(late) {
			w.t.Fatalf("%d leases, %d given back", w.waker.acquired.Load(), w.waker.released.Load())
		}
		w.wait("")
	}
}

type calls struct {
	mu  sync.Mutex
	all []record.Call
	c   chan record.Call
}

func (c *calls) AddCall(r record.Call) {
	c.mu.Lock()
	c.all = append(c.all, r)
	c.mu.Unlock()
	select {
	case c.c <- r:
	default:
	}
}

// world is a gateway with everything around it.
type world struct {
	t     testing.TB
	store store.Store
	waker *waker
	calls *calls
	g     *gateway.Gateway
	addr  string
	n     int
}

func newWorld(t testing.TB) *world { return newWorldWith(t, gateway.Config{}) }

func newWorldWith(t testing.TB, c gateway.Config) *world {
	return newWorldServed(t, c, func(ctx context.Context, g *gateway.Gateway, l net.Listener) error { return g.Serve(ctx, l, nil) })
}

func newWorldServed(t testing.TB, c gateway.Config, serve func(context.Context, *gateway.Gateway, net.Listener) error) *world {
	s := memory.NewStore()
	w := &world{t: t, store: s, waker: &waker{by: map[string]func() (engine.Instance, error){}}, calls: &calls{c: make(chan record.Call, 1000)}}
	c.Store, c.Waker, c.Records = s, w.waker, w.calls
	w.g = gateway.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() { w.g.Follow(ctx) })
	wg.Go(func() {
		if err := serve(ctx, w.g, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		wg.Wait()
		w.g.Close()
		s.Close()
	})
	<-w.g.Ready()
	return w
}

func (w *world) put(resource, name string, v any) {
	w.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		w.t.Fatal(err)
	}
	k := store.Key{Resource: resource, Namespace: "default", Name: name}
	expect := store.New
	if r, err := w.store.Get(context.Background(), k); err == nil {
		expect = r.Revision
	}
	if _, err := w.store.Apply(context.Background(), k, b, expect); err != nil {
		w.t.Fatal(err)
	}
}

// function makes a ready function whose revision name-1 is answered by in.
func (w *world) function(name string, spec api.RevisionSpec, in func() (engine.Instance, error)) {
	w.t.Helper()
	w.revision(name+"-1", name, spec, in)
	w.put(api.Functions, name, api.Function{Metadata: api.Meta{Name: name, Namespace: "default"}, Status: api.FunctionStatus{LatestReadyRevision: name + "-1"}})
	w.wait(name + ".localhost")
}

func (w *world) revision(rev, function string, spec api.RevisionSpec, in func() (engine.Instance, error)) {
	spec.Function = function
	w.waker.mu.Lock()
	w.waker.by[rev] = in
	w.waker.mu.Unlock()
	w.n++
	w.put(api.Revisions, rev, api.Revision{Metadata: api.Meta{Name: rev, Namespace: "default", UID: fmt.Sprint(w.n)}, Spec: spec})
}

// wait returns when the table leads host somewhere: a route of a host of its
// own is written last and looked for.
func (w *world) wait(string) {
	w.t.Helper()
	w.n++
	mark := fmt.Sprintf("mark-%d", w.n)
	w.put(api.Routes, mark, api.Route{Metadata: api.Meta{Name: mark}, Spec: api.RouteSpec{Host: mark + ".test", Path: "/", Methods: []string{"MARK"}, Targets: []api.RouteTarget{{Function: "x"}}}})
	for late := time.Now().Add(patience); ; {
		if time.Now().After(late) {
			w.t.Fatal("the table does not follow the store")
		}
		rq, _ := http.NewRequest("GET", "http://"+w.addr+"/", nil)
		rq.Host = mark + ".test"
		r, err := http.DefaultClient.Do(rq)
		if err != nil {
			w.t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode == http.StatusMethodNotAllowed {
			return
		}
	}
}

var ids atomic.Int64

// peer starts an instance that answers with h.
func peer(t testing.TB, protocol string, h http.HandlerFunc) *instance {
	t.Helper()
	in := &instance{id: fmt.Sprintf("i%d", ids.Add(1)), protocol: protocol, socket: filepath.Join(t.TempDir(), "s"), done: make(chan struct{})}
	l, err := net.Listen("unix", in.socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var once sync.Once
	if protocol == api.ProtocolHTTP {
		s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).EnableFullDuplex() // or it reads the body before it answers
			h(w, r)
		})}
		go func() { defer close(ended); s.Serve(l) }()
		in.stop = func() { once.Do(func() { s.Close(); <-ended; close(in.done) }) }
	} else {
		s := frame.NewInstance(h, frame.ServeOptions{})
		go func() {
			defer close(ended)
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				s.ServeConn(nc)
			}
		}()
		in.stop = func() { once.Do(func() { l.Close(); <-ended; s.Close(); close(in.done) }) }
	}
	t.Cleanup(in.stop)
	return in
}

func always(in *instance) func() (engine.Instance, error) {
	return func() (engine.Instance, error) { return in, nil }
}

// both runs f against a function answered by h over each protocol.
//
// Each is called twice: as clients do, and without the short way of plain
// requests, which must make no difference.
func both(t *testing.T, spec api.RevisionSpec, h http.HandlerFunc, f func(t *testing.T, w *world)) {
	for _, p := range []string{api.ProtocolHearth, api.ProtocolHTTP} {
		t.Run(p, func(t *testing.T) {
			w := newWorld(t)
			w.function("f", spec, always(peer(t, p, h)))
			f(t, w)
		})
		t.Run(p+" by net/http", func(t *testing.T) {
			w := newWorldServed(t, gateway.Config{}, gateway.ServeByNetHTTP)
			w.function("f", spec, always(peer(t, p, h)))
			f(t, w)
		})
	}
}

func (w *world) request(method, url string, body io.Reader) *http.Request {
	rq, err := http.NewRequest(method, "http://"+w.addr+url, body)
	if err != nil {
		w.t.Fatal(err)
	}
	rq.Host = "f.localhost"
	return rq
}

func (w *world) do(rq *http.Request) (*http.Response, string) {
	w.t.Helper()
	r, err := http.DefaultClient.Do(rq)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Fatalf("body: %v", err)
	}
	return r, string(b)
}

// raw sends text on a connection of its own and returns a reader of the answer.
func (w *world) raw(text string) (net.Conn, *bufio.Reader) {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(patience))
	w.t.Cleanup(func() { nc.Close() })
	if _, err := io.WriteString(nc, text); err != nil {
		w.t.Fatal(err)
	}
	return nc, bufio.NewReader(nc)
}

// receive is the next value of c.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("nothing came within %s", patience)
		panic("unreachable")
	}
}

func bufioReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }
