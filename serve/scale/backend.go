package scale

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// backend is what runs of one revision. Its lock is the only one on the way of
// a call to a free slot.
//
// While the lock is free: waiters exist only if no instance has a free slot;
// no instance has more calls in flight than concurrency; ready, starting and
// leaving together are at most max.
type backend struct {
	s    *Scaler
	key  string
	rev  *api.Revision
	turn turn // under the starter's lock

	slots
	idling
	min, max, limit int
	activation      int              // least instances if there are any; 0: no such
	knative         *knative         // nil: the queue decides
	usage           *usage           // nil: what instances use does not matter
	reserve         []policy.Reserve // hours with a least number of their own

	mu       sync.Mutex
	free     stack
	queue    queue
	all      []*instance // not yet ended
	ready    int         // of all: taking calls
	busy     int         // calls in flight
	starting int         // starts asked for or under way
	back     backoff

	kept     bool          // holds min
	retired  bool          // drains
	cut      bool          // closed by force: no more starts
	dropped  bool          // no longer in the scaler's map
	watched  bool          // in the scaler's active set
	reserved int           // least number of this hour
	aim      int           // least number someone waits for in Start
	aims     int           // how many do
	changed  chan struct{} // closed when something changed; nil: nobody waits

	alarm *alarm // under the lock of the scaler's alarms

	ctx    context.Context // of the starts; nil until the first
	cancel context.CancelFunc

	counts Counts
}

func newBackend(s *Scaler, key string, rev *api.Revision) *backend {
	sp := &rev.Spec
	b := &backend{s: s, key: key, rev: rev, slots: slotsOf(sp), idling: idlingOf(sp.Scale), min: sp.Scale.Min, max: sp.Scale.Max, knative: newKnative(rev), usage: newUsage(sp)}
	if a := sp.Scale.Auto; a != nil {
		b.activation, b.reserve = a.Activation, policy.Reserves(a.Reserve)
	}
	if b.max <= 0 {
		b.max = max(api.DefaultMaxScale, b.min)
	}
	b.min = min(b.min, b.max)
	b.limit = s.cfg.QueueLimit
	if b.limit <= 0 {
		b.limit = max(1000, 10*b.concurrency*b.max)
		if b.hard == math.MaxInt32 { // calls wait only while nothing runs
			b.limit = 10_000
		}
	}
	return b
}

// fitness is what an instance is good for after a call.
type fitness int

const (
	fit   fitness = iota
	lost          // it failed the call
	stuck         // it goes on with a call that is over
)

// release gives a slot back; false when there was none to give.
func (b *backend) release(in *instance, state fitness) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if in.busy == 0 {
		return false
	}
	in.busy--
	b.busy--
	if in.busy == 0 {
		in.used, in.tick = time.Now(), b.s.clock.Load()
		if b.busy == 0 {
			b.since = in.used
		}
	}
	if b.knative != nil {
		b.knative.count(time.Now(), -1)
	}
	if in.state == taking && state == fit {
		if in.busy < b.concurrency {
			b.free.push(in)
		}
		if b.queue.n == 0 && !b.retired {
			return true
		}
	}
	now := time.Now()
	if in.state == taking && state != fit {
		if state == lost {
			b.count(in, now)
		}
		b.leave(in)
	}
	if in.state == leaving && in.busy == 0 {
		in.halt()
	}
	b.settle(now)
	return true
}

// enqueue makes a waiter, unless there is a slot or a reason against; mu is held.
func (b *backend) enqueue(now time.Time) (*waiter, *instance, error) {
	if b.s.closed.Load() {
		return nil, nil, errClosing()
	}
	if b.queue.n == 0 {
		if in := b.take(); in != nil {
			b.entered(in)
			return nil, in, nil
		}
	}
	if b.ready == 0 && b.starting == 0 && b.back.blocked(now) {
		b.counts.Refused++
		return nil, nil, b.back.answer(now)
	}
	if b.queue.n >= b.limit {
		b.counts.Refused++
		return nil, nil, b.tooMany()
	}
	b.missed(now)
	w := &waiter{since: now, answer: make(chan grant, 1)}
	b.queue.push(w)
	if b.knative != nil {
		b.knative.count(now, 1)
		b.poke(now)
	}
	b.settle(now)
	return w, nil, nil
}

// leaveQueue takes a waiter out; false when it has its answer already.
func (b *backend) leaveQueue(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !w.queued {
		return false
	}
	b.queue.remove(w)
	b.counts.GaveUp++
	if b.knative != nil {
		b.knative.count(time.Now(), -1)
	}
	b.settle(time.Now())
	return true
}

// serve gives free slots to the longest waiting; mu is held.
func (b *backend) serve(cold bool) {
	for b.queue.n > 0 {
		in := b.take()
		if in == nil {
			return
		}
		w := b.queue.first
		b.queue.remove(w)
		if cold {
			b.counts.ColdStarts++
		}
		w.answer <- grant{in: in, cold: cold}
	}
}

// settle does what follows from a change; mu is held.
func (b *backend) settle(now time.Time) {
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	b.serve(false)
	if b.retired && b.queue.n == 0 && b.cancel != nil && b.starting > 0 {
		b.cancel()
	}
	l := b.load(now)
	switch n := b.want(l) - l.Ready - l.Starting; {
	case n > 0:
		b.starting += n
		b.watch()
		b.s.starts.request(b, n)
	case n < 0 && l.Starting > 0:
		b.starting -= b.s.starts.withdraw(b, -n)
	}
	if b.queue.n > 0 && (b.cut || l.Blocked && b.ready == 0 && b.starting == 0) {
		b.refuse(now)
	}
	if b.retired {
		b.reap(now)
		if len(b.all) == 0 && b.starting == 0 && b.queue.n == 0 && !b.dropped {
			b.dropped = true
			if b.cancel != nil {
				b.cancel()
			}
			b.s.alarms.clear(b)
			b.s.backends.CompareAndDelete(b.key, b)
			if b.sight != nil {
				b.s.sights.CompareAndDelete(function(b.rev), b)
			}
		}
	}
}

// load describes the backend for desired, with no instance expired; mu is held.
func (b *backend) load(now time.Time) load {
	l := load{
		Ready: b.ready, Starting: b.starting, Leaving: len(b.all) - b.ready, Waiting: b.queue.n + b.over(),
		Concurrency: b.concurrency, Max: b.max,
		Failing: b.back.failures > 0, Blocked: b.cut || b.back.blocked(now),
	}
	if !b.retired {
		l.Min = max(b.reserved, b.aim)
		if b.kept {
			l.Min = max(l.Min, b.min)
		}
		if b.ahead {
			l.Min = max(l.Min, 1)
		}
	}
	return l
}

// entered notes a call that found a slot; mu is held.
func (b *backend) entered(in *instance) {
	switch {
	case b.knative != nil:
		b.knative.count(time.Now(), 1)
	case in.busy > b.concurrency:
		b.settle(time.Now())
	}
}

// refuse answers every waiter with the reason; mu is held.
func (b *backend) refuse(now time.Time) {
	for b.queue.n > 0 {
		w := b.queue.first
		b.queue.remove(w)
		b.counts.Refused++
		if b.knative != nil {
			b.knative.count(now, -1)
		}
		if b.cut {
			w.answer <- grant{err: errClosing()}
		} else {
			w.answer <- grant{err: b.back.answer(now)}
		}
	}
}

// leave takes an instance out of service; it is stopped when its calls are over.
// mu is held.
func (b *backend) leave(in *instance) {
	in.state = leaving
	b.ready--
	b.free.remove(in)
	if in.busy == 0 {
		in.halt()
	}
}

// count notes the end of an instance as a crash if it came soon; mu is held.
func (b *backend) count(in *instance, now time.Time) {
	b.back.lasted(in.ready, now)
	if in.crash || now.Sub(in.ready) >= crashWindow {
		return
	}
	in.crash = true
	b.counts.Crashes++
	b.back.crashed(now, b.crashing(in), b.s.cfg.BackoffMin, b.s.cfg.BackoffMax)
}

func (b *backend) retire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.retired, b.kept, b.reserved = true, false, 0
	b.s.alarms.clear(b)
	b.settle(time.Now())
}

// cutOff ends everything without waiting for calls.
func (b *backend) cutOff() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut = true
	for _, in := range b.all {
		if in.state == taking {
			b.leave(in)
		}
		in.halt()
	}
	b.settle(time.Now())
}

// halt asks the instance's goroutine to stop it; the backend's mu is held.
func (in *instance) halt() {
	if !in.halted {
		in.halted = true
		close(in.stop)
	}
}
