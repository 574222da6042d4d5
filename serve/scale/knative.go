package scale

import (
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// knative is what a revision needs that scales by Knative's algorithm, under its
// backend's lock. It counts calls in flight and in the queue, weighted by time,
// at every call; what it counted goes into the windows once a second. The windows
// are there only while there is something in them.
type knative struct {
	spec          policy.Knative
	state         policy.KnativeState
	stable, short *policy.Window
	decision      policy.Decision
	want          int // instances there should be
	even          bool

	inside   int       // calls
	arrivals int       // since the last second
	sum      float64   // calls × seconds since then
	last     time.Time // of sum
	second   time.Time
}

func newKnative(rev *api.Revision) *knative {
	if a := rev.Spec.Scale.Auto; a == nil || a.Policy != api.PolicyKnative {
		return nil
	}
	k := &knative{spec: policy.KnativeOf(&rev.Spec)}
	if rev.Status.Conditions.Ready() {
		k.state = policy.Seen()
	}
	return k
}

// count notes that calls came (n > 0) or went.
func (k *knative) count(now time.Time, n int) {
	if k.inside > 0 {
		k.sum += float64(k.inside) * now.Sub(k.last).Seconds()
	}
	k.last = now
	k.inside += n
	if n > 0 {
		k.arrivals += n
	}
}

// poke is the first call from zero: it is recorded, and decided upon, at once.
func (k *knative) poke(now time.Time, m policy.Metrics) {
	k.open()
	k.stable.Record(now, 1)
	k.short.Record(now, 1)
	k.decide(now, m)
}

func (k *knative) open() {
	if k.stable == nil {
		k.stable, k.short = policy.NewWindow(k.spec.Window, k.spec.Weighted), policy.NewWindow(k.spec.Panic, k.spec.Weighted)
	}
}

// tick records a second and decides every other time.
func (k *knative) tick(now time.Time, m policy.Metrics) {
	k.open()
	k.count(now, 0)
	if d := now.Sub(k.second).Seconds(); !k.second.IsZero() && d > 0 {
		v := k.sum / d
		if k.spec.RPS {
			v = float64(k.arrivals) / d
		}
		k.stable.Record(now, v)
		k.short.Record(now, v)
	}
	k.second, k.sum, k.arrivals = now, 0, 0
	if k.even = !k.even; !k.even {
		k.decide(now, m)
	}
}

func (k *knative) decide(now time.Time, m policy.Metrics) {
	m.Stable, m.Panic, m.Valid = k.stable.Average(now), k.short.Average(now), !k.stable.Empty(now)
	k.state, k.decision = k.spec.Decide(k.state, m, now)
	k.want = k.decision.Replicas
}

// rest reports whether there is nothing to look after until the next call, and
// forgets the windows then.
func (k *knative) rest() bool {
	if k.want > 0 || k.inside > 0 || k.decision.Active != policy.Inactive {
		return false
	}
	k.stable, k.short, k.second = nil, nil, time.Time{}
	return true
}

// metrics are those of the instances; mu is held. Where usage decides on their
// number, and calls on whether there are any, it looks as if there were one.
func (b *backend) metrics() policy.Metrics {
	m := policy.Metrics{Ready: b.awake(), Unreachable: b.retired}
	if b.usageDecides() {
		m.Ready = min(m.Ready, 1)
	}
	return m
}

// usageDecides reports whether usage has the say instead of the averages, which it
// has after the initial scale was reached; mu is held.
func (b *backend) usageDecides() bool { return b.asked() > 0 && b.knative.decision.Initialised }

// poke wakes a revision that scales by averages; mu is held.
func (b *backend) poke(now time.Time) {
	if k := b.knative; k != nil && !b.retired && b.queue.n > 0 && k.want == 0 {
		k.poke(now, b.metrics())
	}
}

// shrink lets those instances go that the averages do not ask for, the least
// busy ones first; they finish their calls. mu is held.
func (b *backend) shrink(now time.Time) {
	l := b.load(now)
	for n := b.ready - max(b.want(l), 0); n > 0; n-- {
		least := b.least()
		if least == nil {
			return
		}
		b.leave(least)
	}
}
