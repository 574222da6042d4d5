// Package enginetest is the conformance suite of core/engine: what every driver
// must do, shown with code the driver can run. A driver's own test calls Run.
package enginetest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Samples are specs that the driver under test can run. All are required, and
// all but Echo may need any time up to a few seconds to do what they do.
type Samples struct {
	// Echo answers with the body it got; with a query env=NAME it answers with
	// the value of that environment variable instead. It allows 8 calls at a
	// time at least.
	Echo engine.Spec
	// Broken does not load: it imports what does not exist, or does not parse.
	Broken engine.Spec
	// Missing loads, but its handler does not exist.
	Missing engine.Spec
	// Crash loads, and ends its process in every call without an answer.
	Crash engine.Spec
	// Slow needs at least two seconds to load.
	Slow engine.Spec

	// Call makes one call on an instance; the caller closes the answer's body.
	// Nil speaks HTTP/1.1 over a connection of its own.
	Call func(ctx context.Context, in engine.Instance, r *http.Request) (*http.Response, error)
	// Alive counts the instances that run or start, pools without user code not
	// included, as the host sees them where it can. Nil skips what needs it.
	Alive func() int
}

// limit is the longest any single step may take, interpreters' starts included.
const limit = 2 * time.Minute

// Run runs the suite. open makes an engine of its own for every test; the suite
// closes it.
func Run(t *testing.T, open func(t testing.TB) (engine.Engine, Samples)) {
	tests := []struct {
		name string
		run  func(t *testing.T, f *fixture)
	}{
		{"PrepareIsIdempotent", prepareIsIdempotent},
		{"StartWithoutPrepare", startWithoutPrepare},
		{"SpecReachesTheInstance", specReachesTheInstance},
		{"LoadFailure", loadFailure},
		{"MissingHandler", missingHandler},
		{"CanceledStart", canceledStart},
		{"StartWithEndedContext", startWithEndedContext},
		{"ManyAtOnce", manyAtOnce},
		{"ManyConnections", manyConnections},
		{"DialWithEndedContext", dialWithEndedContext},
		{"Crash", crash},
		{"StopTwice", stopTwice},
		{"StopWithEndedContext", stopWithEndedContext},
		{"Forget", forget},
		{"Usage", usage},
		{"Findings", findings},
		{"CloseStopsAll", closeStopsAll},
		{"CloseDuringStart", closeDuringStart},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			e, s := open(t)
			f := &fixture{Samples: s, t: t, e: e}
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), limit)
				defer cancel()
				if err := e.Close(ctx); err != nil {
					t.Errorf("Close: %v", err)
				}
				f.alive(0)
			})
			c.run(t, f)
		})
	}
}

type fixture struct {
	Samples
	t *testing.T
	e engine.Engine
}

func (f *fixture) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	f.t.Cleanup(cancel)
	return ctx
}

func (f *fixture) start(s engine.Spec) engine.Instance {
	f.t.Helper()
	in, err := f.e.Start(f.ctx(), s)
	if err != nil {
		f.t.Fatalf("Start of %s: %v", s.Handler, describe(err))
	}
	return in
}

// alive checks the number of instances, where it can be known.
func (f *fixture) alive(want int) {
	f.t.Helper()
	if f.Alive == nil {
		return
	}
	if got := f.Alive(); got != want {
		f.t.Errorf("%d instances are alive, want %d", got, want)
	}
}

// call makes a call and returns the body of its answer.
func (f *fixture) call(ctx context.Context, in engine.Instance, query, body string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://function/"+query, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	do := f.Call
	if do == nil {
		do = callHTTP
	}
	a, err := do(ctx, in, r)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		err = errors.New(a.Status)
	}
	return string(b), err
}

func (f *fixture) echoes(in engine.Instance) {
	f.t.Helper()
	const body = "the answer is what was asked"
	if got, err := f.call(f.ctx(), in, "", body); err != nil || got != body {
		f.t.Fatalf("call of %s: %q, %v; want the body it was sent", in.ID(), got, err)
	}
}

func (f *fixture) gone(in engine.Instance) engine.Exit {
	f.t.Helper()
	select {
	case <-in.Done():
	case <-f.ctx().Done():
		f.t.Fatalf("instance %s has not ended", in.ID())
	}
	x := in.Exit()
	if x.Reason == "" || x.At.IsZero() {
		f.t.Errorf("Exit of %s is %+v; want a reason and a time", in.ID(), x)
	}
	if c, err := in.Dial(f.ctx()); err == nil {
		c.Close()
		f.t.Errorf("Dial of %s works after its end", in.ID())
	}
	return x
}

// callHTTP is a call over a connection of its own, closed with the body.
func callHTTP(ctx context.Context, in engine.Instance, r *http.Request) (*http.Response, error) {
	c, err := in.Dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	fail := func(err error) (*http.Response, error) {
		stop()
		c.Close()
		return nil, err
	}
	wrote := make(chan error, 1)
	go func() { wrote <- r.Write(c) }()
	a, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		return fail(err)
	}
	a.Body = &connBody{a.Body, c, stop, wrote}
	return a, nil
}

type connBody struct {
	io.ReadCloser
	c     net.Conn
	stop  func() bool
	wrote chan error
}

func (b *connBody) Close() error {
	b.stop()
	err := b.c.Close()
	<-b.wrote
	return err
}

// describe shows the traceback too.
func describe(err error) string {
	var e *api.Error
	if errors.As(err, &e) && e.Detail != "" {
		return e.Message + "\n" + e.Detail
	}
	return err.Error()
}

// each runs f n times at once.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
