package scale

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// slots says how calls are spread over instances. As a rule up to concurrency
// calls go to one instance after the other, so that load is packed and the others
// become idle. With spread each call goes to the lesser of two instances taken by
// chance: that is for instances that take many calls, which would be slow together
// beside others that do nothing, and for those whose number follows what they use,
// which more of them must make less. Where more calls are allowed than are aimed at
// (hard is larger than concurrency), those above go the same way, and there should
// be more instances.
type slots struct {
	concurrency int // calls per instance that are aimed at, at least 1
	hard        int // calls per instance that are allowed
	spread      bool
	full        int64 // when fewer instances would not have done, in Unix nanoseconds; with spread
}

// packed is up to which concurrency Knative's load balancing takes the first
// instance that has a free slot.
const packed = 3

func slotsOf(sp *api.RevisionSpec) slots {
	hard := sp.Concurrency
	switch {
	case hard < 0: // api.Unlimited
		hard = math.MaxInt32
	case hard == 0:
		hard = api.DefaultConcurrency
	}
	_, usage := policy.UsageOf(sp)
	a := sp.Scale.Auto
	if a != nil && a.Policy == api.PolicyKnative {
		return slots{concurrency: hard, hard: hard, spread: hard > packed || usage && hard > 1}
	}
	aim := hard
	if hard == math.MaxInt32 {
		aim = api.DefaultTarget
	}
	if a != nil && a.Metric != api.MetricRPS && !usage && a.Target > 0 {
		aim = min(hard, int(math.Ceil(a.Target)))
	}
	return slots{concurrency: max(aim, 1), hard: hard, spread: hard == math.MaxInt32 || usage && hard > 1}
}

// take gives a free slot's instance, or nil; mu is held.
func (b *backend) take() *instance {
	for {
		in := b.free.top
		switch {
		case in == nil && b.hard > b.concurrency:
			in = b.lesser(true)
		case b.spread && in != nil && in.next != nil:
			if x := b.lesser(false); x != nil {
				in = x
			}
		}
		if in == nil {
			return nil
		}
		select {
		case <-in.done: // its goroutine will say so in a moment
			b.free.remove(in)
			in.lost = true
			continue
		default:
		}
		if in.busy == 0 && in.tick != b.s.clock.Load() {
			b.reused(in, time.Now())
		}
		in.busy++
		b.busy++
		b.counts.Calls++
		if in.busy == b.concurrency {
			b.free.remove(in)
		}
		return in
	}
}

// lesser is the less busy of two instances taken by chance, or nil where none
// that it looked at has room, which is a few of them or all; mu is held.
func (b *backend) lesser(all bool) (least *instance) {
	n := len(b.all)
	if n == 0 {
		return nil
	}
	fits := func(in *instance) bool { return in.state == taking && !in.lost && !in.rests && in.busy < b.hard }
	for found, tries := 0, 0; found < 2 && tries < 4; tries++ {
		in := b.all[rand.IntN(n)]
		if !fits(in) {
			continue
		}
		found++
		if least == nil || in.busy < least.busy {
			least = in
		}
	}
	if least == nil && all {
		for _, in := range b.all {
			if fits(in) && (least == nil || in.busy < least.busy) {
				least = in
			}
		}
	}
	return least
}

// over is how many calls are in flight above what is aimed at; mu is held.
func (b *backend) over() int {
	if b.hard == b.concurrency {
		return 0
	}
	return max(0, b.busy-b.ready*b.concurrency)
}

// roomy is the share of what fewer instances are meant to take that the calls may
// have for one to go.
const roomy = 0.7

// thin takes an instance out of service where calls are spread, so that none is
// ever idle, and fewer would have done for as long as an unused one is kept. It
// finishes its calls. mu is held.
func (b *backend) thin(now time.Time) {
	if !b.spread || b.knative != nil || b.ready < 2 {
		return
	}
	l := b.load(now)
	if l.Waiting > 0 || l.Starting > 0 || b.ready <= max(l.Min, b.activation) || float64(b.busy) > roomy*float64((b.ready-1)*b.concurrency) {
		b.full = now.UnixNano()
		return
	}
	if now.UnixNano()-b.full < int64(b.spare()) || b.ready <= b.asked() {
		return
	}
	if b.usage == nil { // usage has waited for long enough and names a number
		b.full = now.UnixNano()
	}
	b.leave(b.least())
}

// least is the least busy instance that takes calls; mu is held.
func (b *backend) least() (least *instance) {
	for _, in := range b.all {
		if in.state == taking && (least == nil || in.busy < least.busy || in.busy == least.busy && in.used.Before(least.used)) {
			least = in
		}
	}
	return least
}
