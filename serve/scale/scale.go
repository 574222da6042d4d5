// Package scale decides how many instances of a revision run and which one takes
// a call: it wakes revisions from zero, queues calls that find no free slot,
// removes instances that are not used, starts those whose call is foreseen, keeps
// the least number asked for and backs off from revisions that cannot start. The
// rules for the number are package policy's; package simulate tries them out.
//
// It holds soft state only. What an instance is and how it is called is not its
// business: see core/engine and serve/gateway, which asks it through Acquire.
package scale

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// Config is what a Scaler needs. Engine and Spec must be given; every other
// field has a default where it is zero.
type Config struct {
	// Engine runs the instances. The scaler does not close it.
	Engine engine.Engine
	// Spec makes what the engine needs of a revision, with secrets and
	// configuration resolved. It is called for every start.
	Spec func(ctx context.Context, rev *api.Revision) (engine.Spec, error)
	// Pressed reports whether memory is short. It is asked every Tick while
	// instances run; as long as it is true, unused instances are kept for less
	// and less, except where someone chose for how long. nil: never.
	Pressed func() bool
	// Log takes what goes wrong in the background; nil drops it.
	Log *slog.Logger

	QueueLimit    int           // calls waiting per revision; 0: 1000, or ten times what all its instances serve at once if that is more
	QueueDeadline time.Duration // longest wait for a slot; 30 s, or a revision's startTimeout if that is longer
	Starts        int           // starts under way at once, over all revisions; 64
	Tick          time.Duration // how often idle and least instances are looked after; 1 s
	Look          time.Duration // how often instances are asked what they use, where their number follows that; policy.UsageTick
	BackoffMin    time.Duration // first wait after a failed start; 100 ms
	BackoffMax    time.Duration // longest wait; 30 s
	StopTime      time.Duration // longest time an instance gets to stop; 30 s
}

// Scaler hands out the slots of instances. Make one with New, keep Run running
// beside it, end it with Close. All methods are safe for concurrent use.
type Scaler struct {
	cfg      Config
	log      *slog.Logger
	backends sync.Map // UID of a revision → *backend
	sights   sync.Map // NAMESPACE/FUNCTION → *backend that last saw its idle times
	starts   *starter
	jobs     sync.WaitGroup // one per start and the instance that comes of it
	ctx      context.Context
	cancel   context.CancelFunc
	closed   atomic.Bool

	activeMu sync.Mutex // taken after a backend's lock, never before
	active   map[*backend]struct{}
	alarms   alarms
	nudge    chan struct{} // wakes Run when there is something new to wait for
	thrift   atomic.Uint32 // how often the worth of a spared cold start is halved
	relieved int           // ticks since memory was last short; Run's
	clock    atomic.Uint32 // counts Run's ticks, so that short idle times cost nothing
}

var _ engine.Releaser = (*Scaler)(nil)

// New makes a scaler that runs nothing yet.
func New(c Config) *Scaler {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.QueueDeadline, 30*time.Second)
	set(&c.Tick, time.Second)
	set(&c.Look, policy.UsageTick)
	set(&c.BackoffMin, 100*time.Millisecond)
	set(&c.BackoffMax, 30*time.Second)
	set(&c.StopTime, 30*time.Second)
	if c.Starts <= 0 {
		c.Starts = 64
	}
	s := &Scaler{cfg: c, log: c.Log, active: map[*backend]struct{}{}, nudge: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.alarms.wake = s.wake
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.starts = newStarter(c.Starts, func(b *backend) {
		s.jobs.Add(1)
		go b.live()
	})
	return s
}

// Acquire gets the right to make one call on an instance of rev, starting one
// where needed. The caller releases the lease exactly once. rev is known by its
// UID and must not change; what its spec leaves out has the defaults of api.
//
// Errors: api.CodeQueueFull when too many wait; api.CodeQueueTimeout when the
// wait was longer than the queue's deadline or ctx's; api.CodeCanceled when ctx
// was cancelled; the start's own error while the revision cannot start;
// api.CodeNotReady once the scaler is closed.
func (s *Scaler) Acquire(ctx context.Context, rev *api.Revision) (engine.Lease, error) {
	if v, ok := s.backends.Load(key(rev)); ok {
		b := v.(*backend)
		b.mu.Lock()
		in := b.take()
		if in != nil && (b.knative != nil || in.busy > b.concurrency) {
			b.entered(in)
		}
		b.mu.Unlock()
		if in != nil {
			return engine.Lease{Instance: in.run, Owner: s, Token: in}, nil
		}
	}
	return s.wait(ctx, rev)
}

// Release implements engine.Releaser.
func (s *Scaler) Release(l engine.Lease, broken bool) {
	if broken {
		s.release(l, lost)
	} else {
		s.release(l, fit)
	}
}

// Abandon implements engine.Releaser.
func (s *Scaler) Abandon(l engine.Lease) { s.release(l, stuck) }

func (s *Scaler) release(l engine.Lease, state fitness) {
	in := l.Token.(*instance)
	if !in.b.release(in, state) {
		s.log.Error("a lease was released twice", "instance", in.run.ID())
	}
}

// wait is Acquire where no slot is free.
func (s *Scaler) wait(ctx context.Context, rev *api.Revision) (engine.Lease, error) {
	if ctx.Err() != nil {
		return engine.Lease{}, gaveUp(ctx, rev, 0)
	}
	b, w, in, err := s.enqueue(rev)
	if err != nil {
		return engine.Lease{}, err
	}
	if in != nil {
		return engine.Lease{Instance: in.run, Owner: s, Token: in}, nil
	}
	// What may take long to start is waited for as long; the call's own time ends
	// sooner as a rule.
	t := time.NewTimer(max(s.cfg.QueueDeadline, rev.Spec.StartTimeout.Or(0)))
	defer t.Stop()
	var g grant
	select {
	case g = <-w.answer:
	case <-ctx.Done():
		if b.leaveQueue(w) {
			return engine.Lease{}, gaveUp(ctx, rev, time.Since(w.since))
		}
		g = <-w.answer
	case <-t.C:
		if b.leaveQueue(w) {
			return engine.Lease{}, b.tooLong(time.Since(w.since))
		}
		g = <-w.answer
	}
	if g.err != nil {
		return engine.Lease{}, g.err
	}
	return engine.Lease{Instance: g.in.run, Cold: g.cold, Queued: time.Since(w.since), Owner: s, Token: g.in}, nil
}

// enqueue returns a waiter, or an instance that became free meanwhile.
func (s *Scaler) enqueue(rev *api.Revision) (*backend, *waiter, *instance, error) {
	for {
		b := s.backend(rev)
		b.mu.Lock()
		if b.dropped { // between the look-up and the lock
			b.mu.Unlock()
			continue
		}
		w, in, err := b.enqueue(time.Now())
		b.mu.Unlock()
		return b, w, in, err
	}
}

// backend returns rev's, making it if needed.
func (s *Scaler) backend(rev *api.Revision) *backend {
	k := key(rev)
	if v, ok := s.backends.Load(k); ok {
		return v.(*backend)
	}
	b := newBackend(s, k, rev)
	v, found := s.backends.LoadOrStore(k, b)
	if !found {
		b.inherit()
	}
	return v.(*backend)
}

func key(rev *api.Revision) string {
	if rev.Metadata.UID != "" {
		return rev.Metadata.UID
	}
	return rev.Metadata.Namespace + "/" + rev.Metadata.Name
}

// Keep says that rev serves: its least number of instances is started now and
// held from then on, until Retire, and so are those it reserves in their hours. A
// revision without either costs nothing.
func (s *Scaler) Keep(rev *api.Revision) {
	if sc := rev.Spec.Scale; sc.Min <= 0 && (sc.Auto == nil || len(sc.Auto.Reserve) == 0) {
		if v, ok := s.backends.Load(key(rev)); ok {
			b := v.(*backend)
			b.mu.Lock()
			b.retired = s.closed.Load()
			b.mu.Unlock()
		}
		return
	}
	for {
		b := s.backend(rev)
		b.mu.Lock()
		again := b.dropped
		if !again && !s.closed.Load() {
			now := time.Now()
			b.kept, b.retired = true, false
			b.reservation(now)
			if b.load(now).Min > 0 {
				b.watch()
			}
			b.settle(now)
		}
		b.mu.Unlock()
		if !again {
			return
		}
	}
}

// Retire says that rev no longer serves. Calls that have or wait for a slot are
// finished, unused instances stop now and the others after their last call. It
// does not wait for that. A late call still works and costs a start.
func (s *Scaler) Retire(rev *api.Revision) {
	if v, ok := s.backends.Load(key(rev)); ok {
		v.(*backend).retire()
	}
}

func (s *Scaler) all(f func(b *backend)) {
	s.backends.Range(func(_, v any) bool {
		f(v.(*backend))
		return true
	})
}

// Close takes no more calls, lets those that have or wait for a slot finish, and
// stops every instance. When ctx ends first, what is left is stopped at once,
// waiting calls get api.CodeNotReady, and ctx.Err() is returned. In both cases
// nothing runs when it returns.
func (s *Scaler) Close(ctx context.Context) error {
	s.closed.Store(true)
	s.all((*backend).retire)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		s.jobs.Wait()
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = ctx.Err()
		s.all((*backend).cutOff)
		s.cancel()
		<-drained
	}
	s.cancel()
	return err
}
