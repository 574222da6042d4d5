package scale

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.Main(os.Args) {
		return
	}
	goleak.VerifyTestMain(m)
}

// house is a scaler over a memory engine, inside a bubble of virtual time.
type house struct {
	*Scaler
	t *testing.T
	e *memory.Engine
}

// inBubble runs f with a scaler whose Run is running, then drains it.
func inBubble(t *testing.T, c Config, programs map[string]memory.Program, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := open(t, c, programs)
		ctx, stop := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- h.Run(ctx) }()
		f(h)
		h.close()
		stop()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func open(t *testing.T, c Config, programs map[string]memory.Program) *house {
	e := memory.NewEngine(memory.EngineOptions{Programs: programs})
	c.Engine = e
	if c.Spec == nil {
		c.Spec = specOf
	}
	return &house{Scaler: New(c), t: t, e: e}
}

func specOf(_ context.Context, r *api.Revision) (engine.Spec, error) {
	return engine.Spec{Function: r.Spec.Function, Revision: r.Metadata.Name, Handler: r.Spec.Handler, Concurrency: r.Spec.Concurrency}, nil
}

func (h *house) close() {
	h.t.Helper()
	if err := h.Close(context.Background()); err != nil {
		h.t.Errorf("Close: %v", err)
	}
	if n := h.e.Alive(); n != 0 {
		h.t.Errorf("%d instances are alive after Close", n)
	}
	if err := h.e.Close(context.Background()); err != nil {
		h.t.Error(err)
	}
}

// alive checks how many instances there are once all is quiet.
func (h *house) alive(want int) {
	h.t.Helper()
	synctest.Wait()
	if n := h.e.Alive(); n != want {
		h.t.Errorf("%d instances are alive, want %d", n, want)
	}
}

func (h *house) acquire(r *api.Revision) engine.Lease {
	h.t.Helper()
	l, err := h.Acquire(context.Background(), r)
	if err != nil {
		h.t.Fatalf("Acquire: %v", err)
	}
	return l
}

// call is an Acquire in the background.
type call struct {
	lease  engine.Lease
	err    error
	done   chan struct{}
	cancel context.CancelFunc
}

func (h *house) begin(r *api.Revision) *call {
	ctx, cancel := context.WithCancel(context.Background())
	c := &call{done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(c.done)
		c.lease, c.err = h.Acquire(ctx, r)
	}()
	synctest.Wait()
	return c
}

// over reports whether Acquire has returned once all is quiet.
func (c *call) over() bool {
	synctest.Wait()
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// end waits for the lease and gives it back.
func (c *call) end(t *testing.T) {
	t.Helper()
	<-c.done
	c.cancel()
	if c.err != nil {
		t.Errorf("Acquire: %v", c.err)
		return
	}
	c.lease.Release(false)
}

func program(change func(p *memory.Program)) map[string]memory.Program {
	p := memory.Program{
		Main:     func(*memory.Process) http.Handler { return http.NotFoundHandler() },
		LoadTime: 5 * time.Millisecond,
	}
	if change != nil {
		change(&p)
	}
	return map[string]memory.Program{"main.f": p}
}

// revision makes hello-N with the given bounds.
func revision(n, concurrency, least, most int) *api.Revision {
	r := &api.Revision{}
	r.Metadata = api.Meta{Name: fmt.Sprintf("hello-%d", n), Namespace: "default", UID: fmt.Sprintf("uid-%d", n)}
	r.Spec = api.RevisionSpec{
		Function: "hello", Number: int64(n), Handler: "main.f", Concurrency: concurrency,
		Scale: api.Scale{Min: least, Max: most},
	}
	return r
}
