package process

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/engine/life"
	"github.com/hearth-run/hearth/runtime"
	"github.com/hearth-run/hearth/sandbox"
)

// Options configure Open.
type Options struct {
	// State is the folder for artifacts and loaders; it is made if missing.
	State string
	// Blobs is where artifacts are fetched from.
	Blobs blob.Store
	// Sink takes the lines instances write; nil drops them.
	Sink engine.Sink
	// Log is for the operator; slog.Default() if nil.
	Log *slog.Logger
	// PoolMemory bounds the memory of all warm instances together, in bytes; 0
	// means an eighth of the machine's.
	PoolMemory int64
	// Grace is how long Stop waits between asking and killing; 5 s if 0.
	Grace time.Duration
	// Self is the command that runs this binary's sandbox stage; see sandbox.
	Self []string
	// Find looks for interpreters; runtime.Find with its answers kept if nil.
	Find func(name string) runtime.Interpreter
	// Without names mechanisms to do without, as on a host that lacks them.
	Without []string
}

// Engine implements engine.Engine.
type Engine struct {
	o         Options
	log       *slog.Logger
	host      *sandbox.Host
	artifacts *artifacts
	sockets   string // folder of listening sockets: short, because their paths are bounded
	volumes   string // folder of folders instances may write to; entered by us only
	loaders   string // folder the loaders were written to
	boot      string // makes instance ids unique over restarts
	serial    atomic.Int64
	find      func(string) runtime.Interpreter
	budget    int64
	private   bool  // the host can give instances a network of their own
	caches    turns // of tasks

	mu        sync.Mutex
	pools     map[string]*pool
	instances map[*instance]struct{}
	closed    bool
	tick      chan struct{} // closed by Close: ends the sizing loop

	compiled   sync.Once
	background sync.WaitGroup // work of the engine's own that ends with it
}

var _ engine.Engine = (*Engine)(nil)

// Open prepares the host and starts no process yet. The caller closes the
// engine.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Second
	}
	if o.PoolMemory == 0 {
		o.PoolMemory = machineMemory() / 8
	}
	if o.Find == nil {
		o.Find = runtime.Once(runtime.Find)
	}
	arts, err := openArtifacts(filepath.Join(o.State, "artifacts"), o.Blobs)
	if err != nil {
		return nil, err
	}
	loaders, err := writeLoaders(filepath.Join(o.State, "loaders"))
	if err != nil {
		return nil, err
	}
	host, err := sandbox.Open(ctx, sandbox.Options{State: o.State, Log: o.Log, Self: o.Self, Without: o.Without})
	if err != nil {
		return nil, err
	}
	sockets, err := socketFolder(o.State)
	if err != nil {
		host.Close(ctx)
		return nil, err
	}
	volumes := filepath.Join(o.State, "volumes")
	os.RemoveAll(volumes)
	if err := os.MkdirAll(volumes, 0o700); err != nil {
		host.Close(ctx)
		return nil, api.Errorf(api.CodeDisk, "make the folder for volumes: %w", err)
	}
	e := &Engine{
		o: o, log: o.Log, host: host, artifacts: arts, sockets: sockets, loaders: loaders,
		volumes: volumes,
		boot:    bootID(), find: o.Find, budget: o.PoolMemory,
		pools: map[string]*pool{}, instances: map[*instance]struct{}{}, tick: make(chan struct{}),
	}
	for _, f := range host.Findings() {
		if f.Check == "private network" {
			e.private = f.OK
		}
	}
	go e.resize()
	return e, nil
}

// Prepare implements engine.Engine.
func (e *Engine) Prepare(ctx context.Context, s engine.Spec) error {
	if _, err := e.artifacts.get(ctx, s.Artifact); err != nil {
		return err
	}
	p, err := e.pool(&s)
	if err != nil {
		return err
	}
	p.prepared(s.Tenant + "/" + s.Revision)
	return nil
}

// Start implements engine.Engine.
func (e *Engine) Start(ctx context.Context, s engine.Spec) (engine.Instance, error) {
	limit := s.Runtime.StartTime
	if limit == 0 {
		limit = defaultStart
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errStartTime)
	defer cancel()
	i, err := e.start(ctx, &s)
	if err != nil && errors.Is(context.Cause(ctx), errStartTime) {
		return nil, api.Errorf(api.CodeStartFailed, "instance of %s was not ready within %s", s.Revision, limit).
			WithHint("raise spec.startTimeout of the runtime, or do less before serving").WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	return i, nil
}

// defaultStart is the longest start of a runtime that sets none.
const defaultStart = 120 * time.Second

var errStartTime = errors.New("start took too long")

func (e *Engine) start(ctx context.Context, s *engine.Spec) (*instance, error) {
	dir, err := e.artifacts.get(ctx, s.Artifact)
	if err != nil {
		return nil, err
	}
	p, err := e.pool(s)
	if err != nil {
		return nil, err
	}
	for {
		w, err := p.take(ctx)
		if err != nil {
			return nil, err
		}
		i := &instance{Life: life.New(), engine: e, warm: w, spec: s, pool: p}
		w.out.own(s)
		w.box.SetTenant(s.Tenant)
		err = p.loading.specialise(ctx, i, dir)
		if err == nil {
			return e.admit(i)
		}
		died := w.ended()
		w.kill()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if died && w.aged() && !api.IsCode(err, api.CodeLoadFailed) {
			continue // it died while waiting in the pool, before it saw user code
		}
		return nil, w.explain(err, s)
	}
}

// admit starts watching an instance that is ready.
func (e *Engine) admit(i *instance) (*instance, error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		i.warm.kill()
		return nil, api.Errorf(api.CodeStartFailed, "the engine is closing")
	}
	e.instances[i] = struct{}{}
	e.mu.Unlock()
	i.pool.started(i.key())
	go i.watch()
	return i, nil
}

// Forget implements engine.Engine.
func (e *Engine) Forget(_ context.Context, artifact string) error {
	return e.artifacts.forget(artifact)
}

// Findings implements engine.Engine.
func (e *Engine) Findings() []engine.Finding { return e.host.Findings() }

// Warm says how many warm instances each pool holds, by runtime.
func (e *Engine) Warm() map[string]int {
	warm := map[string]int{}
	for _, p := range e.all() {
		warm[p.name] += p.count()
	}
	return warm
}

// all returns the pools. A pool is locked only while e is not: pools ask e what
// they can afford.
func (e *Engine) all() []*pool {
	e.mu.Lock()
	defer e.mu.Unlock()
	pools := make([]*pool, 0, len(e.pools))
	for _, p := range e.pools {
		pools = append(pools, p)
	}
	return pools
}

// Close implements engine.Engine.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	close(e.tick)
	pools, instances := e.pools, e.instances
	e.pools, e.instances = map[string]*pool{}, map[*instance]struct{}{}
	e.mu.Unlock()

	var wg sync.WaitGroup
	for i := range instances {
		wg.Go(func() { i.Stop(ctx) })
	}
	for _, p := range pools {
		wg.Go(p.close)
	}
	wg.Wait()
	e.background.Wait()
	for _, p := range pools {
		p.loading.close()
	}
	err := e.host.Close(ctx)
	os.RemoveAll(e.sockets)
	return err
}

func (e *Engine) leave(i *instance) {
	e.mu.Lock()
	delete(e.instances, i)
	e.mu.Unlock()
	i.pool.ended(i.key())
}

// resize adapts the pools to time passing; starts adapt them at once.
func (e *Engine) resize() {
	t := time.NewTicker(5 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-e.tick:
			return
		case <-t.C:
			for _, p := range e.all() {
				p.adapt()
			}
		}
	}
}

// parallel is how many instances one pool starts at a time: starting is work
// for a processor, so more would only make each of them later.
func parallel() int { return 2 * goruntime.NumCPU() }
