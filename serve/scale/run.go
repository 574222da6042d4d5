package scale

import (
	"context"
	"time"

	"github.com/hearth-run/hearth/serve/scale/policy"
)

// Run looks after idle and least instances, and starts those foreseen or
// reserved, until ctx ends, and returns nil. One goroutine does it for all
// revisions; only those with instances, or with a least number of them, cost
// anything.
func (s *Scaler) Run(ctx context.Context) error {
	t := time.NewTimer(0)
	defer t.Stop()
	var tick time.Time // the next one of those with instances; zero: there are none
	for {
		now := time.Now()
		if !tick.IsZero() && !tick.After(now) {
			s.clock.Add(1)
			s.press()
			for _, b := range s.activeOnes() {
				b.tick(now)
			}
			tick = now.Add(s.cfg.Tick)
		}
		for b := s.alarms.due(now); b != nil; b = s.alarms.due(now) {
			b.ring(now)
		}
		switch idle := s.idle(); {
		case idle:
			tick = time.Time{}
		case tick.IsZero():
			tick = now.Add(s.cfg.Tick)
		}
		next := s.alarms.next()
		if !tick.IsZero() && (next.IsZero() || tick.Before(next)) {
			next = tick
		}
		var ring <-chan time.Time
		if !next.IsZero() {
			t.Reset(time.Until(next))
			ring = t.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.nudge:
		case <-ring:
		}
	}
}

// wake makes Run look again at what it waits for.
func (s *Scaler) wake() {
	select {
	case s.nudge <- struct{}{}:
	default:
	}
}

func (s *Scaler) idle() bool {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	return len(s.active) == 0
}

func (s *Scaler) activeOnes() []*backend {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	all := make([]*backend, 0, len(s.active))
	for b := range s.active {
		all = append(all, b)
	}
	return all
}

// tick does what time asks for.
func (b *backend) tick(now time.Time) {
	b.measure(now)
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, in := range b.all {
		if in.state == taking {
			b.back.lasted(in.ready, now)
		}
	}
	if b.knative != nil && !b.retired {
		b.knative.tick(now, b.metrics())
	}
	b.foresee(now)
	b.settle(now)
	b.reap(now)
	b.thin(now)
	if b.ready+b.starting == 0 {
		b.usage.forget()
	}
	if len(b.all) == 0 && b.starting == 0 && b.load(now).Min == 0 && (b.knative == nil || b.retired || b.knative.rest()) {
		b.foresee(now) // sets the alarm, now that nothing runs
		b.watched = false
		b.s.activeMu.Lock()
		delete(b.s.active, b)
		b.s.activeMu.Unlock()
	}
}

// ring is what an alarm leads to.
func (b *backend) ring(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dropped || b.retired {
		return
	}
	b.reservation(now)
	b.foresee(now)
	if b.ahead && len(b.all)+b.starting == 0 {
		b.counts.Foreseen++
	}
	if b.load(now).Min > 0 {
		b.watch()
	}
	b.settle(now)
}

// reservation follows the hours that are reserved; mu is held.
func (b *backend) reservation(now time.Time) {
	if len(b.reserve) == 0 || !b.kept {
		return
	}
	n, until := policy.Reserved(b.reserve, now)
	b.reserved = min(n, b.max)
	if !until.IsZero() {
		b.s.alarms.set(b, until)
	}
}

// watch puts b among those that Run looks after; mu is held.
func (b *backend) watch() {
	if b.watched {
		return
	}
	b.watched = true
	b.s.activeMu.Lock()
	b.s.active[b] = struct{}{}
	b.s.activeMu.Unlock()
	b.s.wake()
}
