package simulate

import (
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// Fixed starts an instance for every call that finds none and keeps it for a
// fixed time, as most function platforms do.
func Fixed(keep time.Duration) Policy {
	return Policy{Name: "fixed " + api.Duration{Duration: keep}.Text(), agent: func(*Function) agent { return &fixed{keep: keep} }}
}

type fixed struct{ keep time.Duration }

func (*fixed) woke(time.Duration)   {}
func (*fixed) reused(time.Duration) {}

func (a *fixed) after(w *world) (want int, again time.Time) {
	return byQueue(w, a.keep, a.keep)
}

// byQueue starts what the queue needs and lets instances go that were unused for
// longer than spare, the last one only when the function was idle for keep.
func byQueue(w *world, keep, spare time.Duration) (want int, again time.Time) {
	l := policy.Load{Ready: len(w.ready), Starting: w.starting, Waiting: len(w.queue), Concurrency: w.f.Concurrency, Max: 1000}
	left := len(w.ready)
	for _, in := range w.ready {
		left--
		if in.busy > 0 {
			continue
		}
		d, since := spare, in.used
		if left == 0 && w.busy == 0 {
			d, since = keep, w.idleSince
		}
		if until := since.Add(d); !until.After(w.now) {
			l.Expired++
		} else if again.IsZero() || until.Before(again) {
			again = until
		}
	}
	if l.Waiting > 0 {
		l.Expired = 0
	}
	want = policy.Desired(l)
	if l.Waiting == 0 {
		want = max(want, l.Ready-l.Expired+w.starting)
	}
	return want, again
}

// Hearth is the policy of package policy with the given worth of a cold start.
func Hearth(worth time.Duration) Policy {
	return Policy{Name: "hearth " + api.Duration{Duration: worth}.Text(), agent: func(*Function) agent {
		return &hearth{worth: worth}
	}}
}

type hearth struct {
	worth time.Duration
	f     *policy.Foresight
	next  time.Time
}

func (a *hearth) woke(gap time.Duration) {
	if gap >= time.Second {
		a.know().Woke(gap)
	}
}

func (a *hearth) reused(gap time.Duration) {
	if gap >= time.Second {
		a.know().Reused(gap)
	}
}

func (a *hearth) know() *policy.Foresight {
	if a.f == nil {
		a.f = new(policy.Foresight)
	}
	return a.f
}

func (a *hearth) after(w *world) (want int, again time.Time) {
	if w.busy > 0 || len(w.queue) > 0 || !w.called {
		if w.now.Before(a.next) && len(w.queue) == 0 {
			return len(w.ready) + w.starting, a.next // as Run, which looks once a second
		}
		a.next = w.now.Add(time.Second)
		return byQueue(w, 0, a.f.Spare(a.worth))
	}
	idle := w.now.Sub(w.idleSince)
	if idle < time.Second {
		want, _ = byQueue(w, time.Minute, a.f.Spare(a.worth))
		return max(want, 1), w.idleSince.Add(time.Second)
	}
	warm, until := a.f.First(a.worth).At(idle)
	if until-idle < 1<<60 {
		again = w.now.Add(until - idle)
	}
	keep := time.Duration(0)
	if warm {
		keep = until
	}
	want, sooner := byQueue(w, keep, a.f.Spare(a.worth))
	if !sooner.IsZero() && (again.IsZero() || sooner.Before(again)) {
		again = sooner
	}
	if warm {
		want = max(want, 1)
	}
	return want, again
}

// Knative is Knative's autoscaler with its defaults: it starts what its averages
// say, every two seconds, and one at once for a call from zero.
func Knative() Policy {
	return Policy{Name: "knative", agent: func(f *Function) agent {
		sp := &api.RevisionSpec{Concurrency: f.Concurrency}
		k := policy.KnativeOf(sp)
		return &knative{k: k, st: policy.Seen(), stable: policy.NewWindow(k.Window, false), short: policy.NewWindow(k.Panic, false)}
	}}
}

type knative struct {
	k             policy.Knative
	st            policy.KnativeState
	stable, short *policy.Window

	sum          float64 // calls in flight × seconds since the last second
	last, second time.Time
	inside       int
	ticks        int
	want         int
}

func (*knative) woke(time.Duration)   {}
func (*knative) reused(time.Duration) {}

func (a *knative) after(w *world) (want int, again time.Time) {
	if !a.last.IsZero() {
		a.sum += float64(a.inside) * w.now.Sub(a.last).Seconds()
	}
	a.last, a.inside = w.now, w.busy+len(w.queue)
	if a.want == 0 && len(w.ready)+w.starting == 0 {
		if a.inside == 0 {
			a.second = time.Time{}
			return 0, time.Time{} // nothing to see until the next call
		}
		// The poke: one call is recorded and decided upon at once.
		a.stable.Record(w.now, 1)
		a.short.Record(w.now, 1)
		a.decide(w)
	}
	if a.second.IsZero() {
		a.second, a.sum = w.now, 0
	}
	if d := w.now.Sub(a.second); d >= time.Second {
		v := a.sum / d.Seconds()
		a.stable.Record(w.now, v)
		a.short.Record(w.now, v)
		a.second, a.sum = w.now, 0
		if a.ticks++; a.ticks%2 == 0 {
			a.decide(w)
		}
	}
	return a.want, a.second.Add(time.Second)
}

func (a *knative) decide(w *world) {
	var d policy.Decision
	a.st, d = a.k.Decide(a.st, policy.Metrics{
		Stable: a.stable.Average(w.now), Panic: a.short.Average(w.now), Valid: !a.stable.Empty(w.now), Ready: len(w.ready),
	}, w.now)
	a.want = d.Replicas
}
