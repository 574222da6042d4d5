package scale

import (
	"context"
	"slices"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// live is one start and the life of the instance that comes of it.
func (b *backend) live() {
	s := b.s
	defer s.jobs.Done()
	ctx, epoch, needed := b.begin()
	if !needed {
		s.starts.finish(b)
		return
	}
	begun := time.Now()
	run, err := b.start(ctx)
	if err != nil {
		b.failed(ctx, err, epoch)
		s.starts.finish(b)
		if ctx.Err() == nil {
			s.log.Warn("an instance did not start", "tenant", b.rev.Metadata.Namespace, "revision", b.rev.Metadata.Name, "err", err)
		}
		return
	}
	in := b.begun(run, time.Since(begun))
	s.starts.finish(b)
	b.attend(in)
	select {
	case <-in.done:
	case <-in.stop:
		stop, cancel := context.WithTimeout(s.ctx, s.cfg.StopTime)
		if err := run.Stop(stop); err != nil {
			s.log.Warn("an instance did not stop as asked", "instance", run.ID(), "err", err)
		}
		cancel()
	}
	if b.ended(in) {
		s.log.Warn("an instance ended by itself", "tenant", b.rev.Metadata.Namespace, "revision", b.rev.Metadata.Name,
			"instance", run.ID(), "reason", run.Exit().Reason)
	}
}

// begin asks whether the start is still needed: the calls it was meant for may
// be gone, or another start may have failed.
func (b *backend) begin() (ctx context.Context, epoch int, needed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	l := b.load(now)
	if l.Starting > b.want(l)-l.Ready {
		b.starting--
		b.settle(now)
		return nil, 0, false
	}
	if b.ctx == nil || b.ctx.Err() != nil {
		b.ctx, b.cancel = context.WithCancel(b.s.ctx)
	}
	return b.ctx, b.back.epoch, true
}

func (b *backend) start(ctx context.Context) (engine.Instance, error) {
	spec, err := b.s.cfg.Spec(ctx, b.rev)
	if err != nil {
		return nil, err
	}
	return b.s.cfg.Engine.Start(ctx, spec)
}

func (b *backend) failed(ctx context.Context, err error, epoch int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.starting--
	now := time.Now()
	if ctx.Err() == nil { // else nobody wanted it any more
		b.counts.Failures++
		b.back.failed(now, b.notStarted(err), epoch, b.s.cfg.BackoffMin, b.s.cfg.BackoffMax)
	}
	b.settle(now)
}

func (b *backend) begun(run engine.Instance, took time.Duration) *instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	in := &instance{b: b, run: run, done: run.Done(), ready: now, used: now, tick: b.s.clock.Load(), stop: make(chan struct{})}
	b.starting--
	b.took = took
	b.counts.Starts++
	b.back.started()
	b.all = append(b.all, in)
	b.ready++
	b.free.push(in)
	if b.cut {
		b.leave(in)
	} else {
		b.serve(true)
	}
	b.settle(now)
	return in
}

// ended forgets an instance that is gone, and reports whether it went by itself.
func (b *backend) ended(in *instance) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	own := in.state == taking
	if own {
		b.count(in, now)
		b.ready--
		b.free.remove(in)
	}
	if in.crash && b.back.crashes >= crashLoop {
		b.back.err = b.crashing(in) // now with its last words
	}
	in.state = ended
	if i := slices.Index(b.all, in); i >= 0 {
		b.all = slices.Delete(b.all, i, i+1)
	}
	b.settle(now)
	return own
}
