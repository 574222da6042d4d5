package scale

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/hearth-run/hearth/api"
)

// slots says how calls are spread over instances. Up to concurrency calls go to
// one instance after the other, so that load is packed and the others become
// idle. Where more than that are allowed (hard is larger), further calls go to
// the lesser of two instances taken by chance, and there should be more of them.
// With spread all calls are placed like that.
type slots struct {
	concurrency int // calls per instance that are aimed at, at least 1
	hard        int // calls per instance that are allowed
	spread      bool
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
	a := sp.Scale.Auto
	if a != nil && a.Policy == api.PolicyKnative {
		return slots{concurrency: hard, hard: hard, spread: hard > packed}
	}
	aim := hard
	if hard == math.MaxInt32 {
		aim = api.DefaultTarget
	}
	if a != nil && a.Metric != api.MetricRPS && a.Target > 0 {
		aim = min(hard, int(math.Ceil(a.Target)))
	}
	return slots{concurrency: max(aim, 1), hard: hard}
}

// take gives a free slot's instance, or nil; mu is held.
func (b *backend) take() *instance {
	for {
		in := b.free.top
		switch {
		case in == nil && b.hard > b.concurrency:
			in = b.lesser()
		case b.spread && in != nil && in.next != nil:
			if x := b.lesser(); x != nil {
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
// that it looked at has room; mu is held.
func (b *backend) lesser() (least *instance) {
	n := len(b.all)
	if n == 0 {
		return nil
	}
	fits := func(in *instance) bool { return in.state == taking && !in.lost && in.busy < b.hard }
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
	if least == nil && !b.spread {
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
