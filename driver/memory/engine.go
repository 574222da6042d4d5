package memory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Defaults of an engine.
const (
	defaultStartTime = 120 * time.Second
	defaultGrace     = 10 * time.Second
)

// EngineOptions say what an engine can run.
type EngineOptions struct {
	// Programs are the user code, found by Spec.Handler, else by Spec.Artifact.
	// A spec with neither does not load. The map is not written to by the
	// engine and must not be changed while it is used.
	Programs map[string]Program
	// Sink takes what programs print; nil drops it.
	Sink engine.Sink
	// Grace is how long Stop waits for calls in flight; 10 s when zero.
	Grace time.Duration
}

// Program is user code and how it behaves while it starts.
type Program struct {
	// Main makes the handler of one instance; it is called once per Start. It
	// must not be nil unless the program fails before.
	Main func(p *Process) http.Handler
	// PrepareTime is how long the first Prepare of an artifact takes. Start
	// waits as long for an artifact that is not prepared.
	PrepareTime time.Duration
	// LoadTime is how long Start takes.
	LoadTime time.Duration
	// StartError, when set, is why the instance does not come up. An error
	// without a code becomes api.CodeStartFailed.
	StartError error
	// Traceback, when set, is what loading the code says instead of succeeding.
	Traceback string
	// Fail, when set, is asked at every start; its error counts as StartError.
	Fail func(s engine.Spec) error
	// LiveTime, when set, is the age at which the instance ends by itself.
	LiveTime time.Duration
}

// Engine runs instances as HTTP handlers inside this process. It is the
// specification of core/engine: no isolation, no limits, everything else as
// the contract says. It works inside testing/synctest.
type Engine struct {
	opts  EngineOptions
	nonce string

	mu       sync.Mutex
	closed   bool
	next     int
	starts   int
	prepared map[string]bool
	running  map[string]*instance // starting ones are not in it
	starting int
	idle     chan struct{} // closed when closed and nothing runs or starts
	closing  context.Context
	cancel   context.CancelFunc
}

var _ engine.Engine = (*Engine)(nil)

// NewEngine makes an engine that holds nothing yet. Close ends it.
func NewEngine(o EngineOptions) *Engine {
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Engine{
		opts: o, nonce: strings.ToLower(rand.Text()[:6]),
		prepared: map[string]bool{}, running: map[string]*instance{},
		idle: make(chan struct{}), closing: ctx, cancel: cancel,
	}
}

func (e *Engine) program(s engine.Spec) (Program, bool) {
	if p, ok := e.opts.Programs[s.Handler]; ok {
		return p, true
	}
	p, ok := e.opts.Programs[s.Artifact]
	return p, ok
}

// Prepare implements engine.Engine.
func (e *Engine) Prepare(ctx context.Context, s engine.Spec) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.mu.Lock()
	closed, done := e.closed, e.prepared[s.Artifact]
	e.mu.Unlock()
	if closed {
		return errClosed()
	}
	if done {
		return nil
	}
	p, _ := e.program(s)
	if err := e.wait(ctx, p.PrepareTime); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prepared[s.Artifact] = true
	return nil
}

// Prepared reports whether what Prepare made for an artifact is still kept.
func (e *Engine) Prepared(artifact string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.prepared[artifact]
}

// Forget implements engine.Engine.
func (e *Engine) Forget(ctx context.Context, artifact string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.prepared, artifact)
	return ctx.Err()
}

// wait lets d pass. It ends early with ctx, or when the engine closes.
func (e *Engine) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	case <-e.closing.Done():
		return errClosed()
	}
}

// Start implements engine.Engine.
func (e *Engine) Start(ctx context.Context, s engine.Spec) (engine.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, errClosed()
	}
	e.starting++
	e.starts++
	e.next++
	id := fmt.Sprintf("%s-%s-%d", s.Revision, e.nonce, e.next)
	e.mu.Unlock()

	in, err := e.load(ctx, id, s)

	e.mu.Lock()
	e.starting--
	switch {
	case err != nil:
	case e.closed:
		err = errClosed()
	case ctx.Err() != nil:
		err = ctx.Err()
	default:
		if x, ok := in.died(); ok {
			err = api.Errorf(api.CodeStartFailed, "an instance of %s ended while it loaded: %s", s.Revision, x.Reason)
			break
		}
		e.running[id] = in
	}
	e.settle()
	e.mu.Unlock()
	if err != nil {
		if in != nil {
			in.discard()
		}
		return nil, err
	}
	in.serve()
	return in, nil
}

func (e *Engine) load(ctx context.Context, id string, s engine.Spec) (*instance, error) {
	limit := s.Runtime.StartTime
	if limit == 0 {
		limit = defaultStartTime
	}
	late := api.Errorf(api.CodeStartFailed, "%s did not come up within %s", s.Revision, limit)
	tctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	err := e.come(tctx, s)
	if err != nil && ctx.Err() == nil && context.Cause(tctx) == error(late) && errors.Is(err, context.DeadlineExceeded) {
		return nil, late
	}
	if err != nil {
		return nil, err
	}
	p, ok := e.program(s)
	if !ok || p.Main == nil {
		return nil, &api.Error{
			Code: api.CodeLoadFailed, Message: fmt.Sprintf("the code of %s has no handler %q", s.Revision, s.Handler),
			Detail: fmt.Sprintf("no program %q or %q is known to the memory engine", s.Handler, s.Artifact),
		}
	}
	return newInstance(e, id, s, p), nil
}

// come is what may go wrong before there is an instance.
func (e *Engine) come(ctx context.Context, s engine.Spec) error {
	p, ok := e.program(s)
	if !ok {
		return nil
	}
	if err := e.Prepare(ctx, s); err != nil {
		return err
	}
	if err := e.wait(ctx, p.LoadTime); err != nil {
		return err
	}
	err := p.StartError
	if err == nil && p.Fail != nil {
		err = p.Fail(s)
	}
	if err != nil {
		var ae *api.Error
		if errors.As(err, &ae) {
			return err
		}
		return api.Errorf(api.CodeStartFailed, "an instance of %s did not start: %w", s.Revision, err)
	}
	if p.Traceback != "" {
		first, _, _ := strings.Cut(p.Traceback, "\n")
		return &api.Error{
			Code: api.CodeLoadFailed, Message: fmt.Sprintf("the code of %s does not load: %s", s.Revision, first), Detail: p.Traceback,
		}
	}
	return nil
}

// Findings implements engine.Engine.
func (e *Engine) Findings() []engine.Finding {
	return []engine.Finding{{
		Check: "isolation", Detail: "instances are handlers inside this process; nothing keeps them apart",
		Fix: "use an engine that runs processes",
	}}
}

// Close implements engine.Engine. Starts under way end with an error.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	e.cancel()
	e.settle()
	all := make([]*instance, 0, len(e.running))
	for _, in := range e.running {
		all = append(all, in)
	}
	e.mu.Unlock()
	for _, in := range all {
		go in.Stop(ctx)
	}
	select {
	case <-e.idle:
		return nil
	case <-ctx.Done():
	}
	select { // instances are killed now; what heeds that is gone at once
	case <-e.idle:
		return nil
	default:
		return ctx.Err()
	}
}

// settle closes idle when a closed engine holds nothing more; mu is held.
func (e *Engine) settle() {
	if !e.closed || e.starting > 0 || len(e.running) > 0 {
		return
	}
	select {
	case <-e.idle:
	default:
		close(e.idle)
	}
}

func (e *Engine) gone(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.running, id)
	e.settle()
}

// Running returns the ids of the instances that have not ended, sorted.
func (e *Engine) Running() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	ids := make([]string, 0, len(e.running))
	for id := range e.running {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Alive counts what runs or starts.
func (e *Engine) Alive() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.starting + len(e.running)
}

// Starts counts how often Start was called.
func (e *Engine) Starts() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.starts
}

// Kill ends an instance as if it had died by itself with exit x, and returns
// when it has. It reports whether there was such an instance.
func (e *Engine) Kill(id string, x engine.Exit) bool {
	e.mu.Lock()
	in := e.running[id]
	e.mu.Unlock()
	if in == nil {
		return false
	}
	in.end(x)
	<-in.done
	return true
}

func errClosed() error { return api.Errorf(api.CodeStartFailed, "the engine is closed") }
