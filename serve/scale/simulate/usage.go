package simulate

import (
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// Usage counts instances by the processor time they use, with the default target,
// and with queue by what calls need as well, whichever is more. One call keeps as
// much of a processor busy as makes an instance that answers all it may use one
// whole. The first instance is started by a call, the last one stays until there
// were none for a minute.
func Usage(queue bool) Policy {
	name := "processor time"
	if queue {
		name += " and queue"
	}
	return Policy{Name: name, agent: func(f *Function) agent {
		sp := &api.RevisionSpec{Concurrency: f.Concurrency}
		sp.Scale.Auto = &api.Autoscale{Metric: api.MetricCPU}
		u, _ := policy.UsageOf(sp)
		return &usage{u: u, queue: queue}
	}}
}

type usage struct {
	u     policy.Usage
	st    policy.UsageState
	queue bool
	want  int

	burnt, last float64 // processor seconds, up to and at the time it was last asked
	at          time.Time
	next        time.Time
	looks       []burn // the last of them, for the average
}

type burn struct {
	at   time.Time
	used float64
}

func (*usage) woke(time.Duration)   {}
func (*usage) reused(time.Duration) {}

func (a *usage) after(w *world) (want int, again time.Time) {
	if !a.at.IsZero() {
		a.burnt += a.last * w.now.Sub(a.at).Seconds()
	}
	a.at, a.last = w.now, float64(w.busy)/float64(w.f.Concurrency)
	if len(w.ready)+w.starting+len(w.queue) == 0 {
		*a = usage{u: a.u, queue: a.queue}
		return 0, time.Time{} // nothing to see until the next call
	}
	if a.next.IsZero() {
		a.next, a.want = w.now, 1
	}
	if !w.now.Before(a.next) {
		a.look(w)
	}
	want = max(a.want, 1)
	if a.queue {
		l := policy.Load{Ready: len(w.ready), Starting: w.starting, Waiting: len(w.queue), Concurrency: w.f.Concurrency, Max: 1000}
		want = max(want, policy.Desired(l))
	}
	if w.busy == 0 && len(w.queue) == 0 && w.starting == 0 && w.now.Sub(w.idleSince) >= time.Minute {
		want = 0
	}
	return want, a.next
}

func (a *usage) look(w *world) {
	a.next = w.now.Add(policy.UsageTick)
	a.looks = append(a.looks, burn{w.now, a.burnt})
	if n := int(policy.UsageSpan/policy.UsageTick) + 1; len(a.looks) > n {
		a.looks = a.looks[1:]
	}
	m := policy.UsageMetrics{Starting: w.starting}
	if d := w.now.Sub(a.looks[0].at).Seconds(); d > 0 {
		m.Sum, m.Measured = (a.burnt-a.looks[0].used)/d, len(w.ready)
	} else {
		m.Starting += len(w.ready)
	}
	a.st, a.want = a.u.Decide(a.st, m, w.now)
}
