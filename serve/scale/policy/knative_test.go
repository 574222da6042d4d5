package policy

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
)

func knative(concurrency int, change func(s *api.Scale, a *api.Autoscale)) Knative {
	sp := &api.RevisionSpec{Concurrency: concurrency}
	sp.Scale.Auto = &api.Autoscale{Policy: api.PolicyKnative}
	if change != nil {
		change(&sp.Scale, sp.Scale.Auto)
	}
	return KnativeOf(sp)
}

// serving is the state of a revision that has served for long.
func serving(k Knative, ready int) KnativeState {
	st := Seen()
	k.begin(&st, Metrics{Ready: ready}, at(-3600))
	st.panicAt, st.panicMost = time.Time{}, 0
	return st
}

func TestKnativeDecision(t *testing.T) {
	for _, c := range []struct {
		name             string
		concurrency      int
		change           func(s *api.Scale, a *api.Autoscale)
		ready            int
		stable, short    float64
		desired, replica int
		excess           float64
	}{
		{"no bound: 100 calls at 70 percent", api.Unlimited, nil, 2, 100, 100, 2, 2, -111},
		{"141 need a third", api.Unlimited, nil, 3, 141, 141, 3, 3, -52},
		{"three idle ones have the burst to spare", api.Unlimited, nil, 3, 0, 0, 1, 1, 89},
		{"concurrency 1, 20 calls at once", 1, nil, 1, 4, 20, 29, 29, -230},
		{"by the target", 50, target(10), 2, 70, 70, 10, 10, -261},
		{"the concurrency bounds the target", 10, target(50), 2, 70, 70, 10, 10, -261},
		{"a target alone", api.Unlimited, target(10), 1, 6, 6, 1, 1, -207},
		{"utilization 100", 10, func(_ *api.Scale, a *api.Autoscale) { a.Utilization = 100 }, 1, 15, 15, 2, 2, -216},
		{"calls per second", 1, func(_ *api.Scale, a *api.Autoscale) { a.Metric = api.MetricRPS }, 2, 300, 300, 3, 3, -111},
		{"calls per second with a target", 0, func(_ *api.Scale, a *api.Autoscale) { a.Metric, a.Target = api.MetricRPS, 10 }, 2, 20, 20, 3, 3, -211},
		{"at most half at once", 1, nil, 10, 0, 0, 5, 5, -201},
		{"at most half of an odd number", 1, nil, 11, 0, 0, 5, 5, -200},
		{"down by ten", 1, func(_ *api.Scale, a *api.Autoscale) { a.DownRate = 10 }, 30, 0, 0, 3, 3, -181},
		{"up by half", 1, func(_ *api.Scale, a *api.Autoscale) { a.UpRate = 1.5 }, 4, 70, 70, 6, 6, -277},
		{"the short average below the threshold is not believed", 1, nil, 10, 7, 13.2, 10, 10, -215},
		{"at the threshold it is", 1, nil, 10, 7, 14, 20, 20, -215},
		{"a threshold of 110 percent", 1, func(_ *api.Scale, a *api.Autoscale) { a.PanicThreshold = 110 }, 10, 7, 7.6, 11, 11, -209},
		{"never above max", 1, func(s *api.Scale, _ *api.Autoscale) { s.Max = 10 }, 1, 70, 70, 100, 10, -280},
		{"never below min", 1, func(s *api.Scale, _ *api.Autoscale) { s.Min = 3 }, 3, 0, 0, 1, 3, -208},
		{"activation", 1, func(_ *api.Scale, a *api.Autoscale) { a.Activation = 5 }, 1, 0.1, 0.1, 5, 5, -211},
		{"activation does not wake", 1, func(_ *api.Scale, a *api.Autoscale) { a.Activation = 5 }, 1, 0, 0, 0, 0, -210},
		{"no burst", 1, burst(0), 2, 1, 1, 2, 2, 0},
		{"any burst", 1, burst(-1), 2, 1, 1, 2, 2, -1},
		{"a burst of 10", 10, burst(10), 2, 3, 3.5, 1, 1, 6},
		{"no zero", 1, func(_ *api.Scale, a *api.Autoscale) { a.Zero = new(bool) }, 1, 0, 0, 0, 1, -210},
	} {
		k := knative(c.concurrency, c.change)
		_, d := k.Decide(serving(k, c.ready), Metrics{Stable: c.stable, Panic: c.short, Valid: true, Ready: c.ready}, at(0))
		if c.name == "activation does not wake" {
			c.replica = 1 // decided, not yet applied
		}
		if d.Desired != c.desired || d.Replicas != c.replica || d.Excess != c.excess {
			t.Errorf("%s: desired %d, replicas %d, excess %g; want %d, %d, %g", c.name, d.Desired, d.Replicas, d.Excess, c.desired, c.replica, c.excess)
		}
	}
}

func target(v float64) func(*api.Scale, *api.Autoscale) {
	return func(_ *api.Scale, a *api.Autoscale) { a.Target = v }
}

func burst(v float64) func(*api.Scale, *api.Autoscale) {
	return func(_ *api.Scale, a *api.Autoscale) { a.Burst = &v }
}

func TestKnativeDefaults(t *testing.T) {
	k := knative(0, nil)
	if k.Panic != 6*time.Second || k.Window != time.Minute || k.Threshold != 2 || k.PerInstance() != 70 || k.Burst != 211 || k.Grace != 30*time.Second || !k.Zero || k.Initial != 1 {
		t.Errorf("%+v", k)
	}
	k = knative(0, func(_ *api.Scale, a *api.Autoscale) { a.Window, a.PanicWindow = api.Seconds(6), 1 })
	if k.Panic != time.Second {
		t.Errorf("the short window is %s", k.Panic)
	}
	if k = knative(0, target(0.01)); k.PerInstance() != 0.01 {
		t.Errorf("per instance %v", k.PerInstance())
	}
}

// loop feeds k with calls in flight, second by second, and gives it what it asks
// for after startup seconds.
type loop struct {
	k             Knative
	st            KnativeState
	stable, short *Window
	ready, second int
	startup       int
	coming        map[int]int
	last          Decision
}

func newLoop(k Knative, startup int) *loop {
	return &loop{k: k, st: Seen(), stable: NewWindow(k.Window, k.Weighted), short: NewWindow(k.Panic, k.Weighted), startup: startup, coming: map[int]int{}}
}

func (l *loop) run(seconds int, load float64) {
	for range seconds {
		l.second++
		now := at(l.second)
		l.ready = max(l.ready, l.coming[l.second])
		l.stable.Record(now, load)
		l.short.Record(now, load)
		if l.second%2 == 1 {
			continue
		}
		m := Metrics{Stable: l.stable.Average(now), Panic: l.short.Average(now), Valid: true, Ready: l.ready}
		l.st, l.last = l.k.Decide(l.st, m, now)
		if l.last.Replicas > l.ready {
			l.coming[l.second+l.startup] = l.last.Replicas
		} else {
			l.ready = l.last.Replicas
		}
	}
}

func TestKnativeBurstOvershoots(t *testing.T) {
	l := newLoop(knative(1, nil), 1)
	l.run(60, 0.5)
	if l.ready != 1 || l.last.Panic {
		t.Fatalf("%d ready before the burst, panic %v", l.ready, l.last.Panic)
	}
	l.run(2, 20)
	if l.last.Replicas >= 29 {
		t.Errorf("%d after two seconds: the whole short window should be needed", l.last.Replicas)
	}
	l.run(4, 20)
	if l.last.Replicas != 29 || !l.last.Panic {
		t.Errorf("%d after the short window, panic %v; want 29 in panic", l.last.Replicas, l.last.Panic)
	}
	l.run(56, 1)
	if l.last.Replicas != 29 {
		t.Errorf("%d: panic shrinks", l.last.Replicas)
	}
	l.run(20, 1)
	if l.last.Panic || l.last.Replicas >= 29 {
		t.Errorf("%d, panic %v, after the window is over", l.last.Replicas, l.last.Panic)
	}
}

func TestKnativeRestartDoesNotShrink(t *testing.T) {
	k := knative(1, nil)
	st, d := k.Decide(Seen(), Metrics{Valid: true, Ready: 8}, at(0))
	if d.Replicas != 8 || !d.Panic {
		t.Errorf("%+v", d)
	}
	if _, d = k.Decide(st, Metrics{Valid: true, Ready: 8}, at(62)); d.Replicas != 4 || d.Panic {
		t.Errorf("after the window: %+v", d)
	}
}

func TestKnativeToZero(t *testing.T) {
	zero := func(change func(*api.Scale, *api.Autoscale)) (seconds int) {
		l := newLoop(knative(1, change), 1)
		l.run(120, 0.5)
		for begin := l.second; l.ready > 0; {
			l.run(2, 0)
			if seconds = l.second - begin; seconds > 10_000 {
				return -1
			}
		}
		return seconds
	}
	for _, c := range []struct {
		name        string
		change      func(*api.Scale, *api.Autoscale)
		least, most int
	}{
		{"queued in front: the window and a tick", nil, 60, 64},
		{"else the grace too", burst(0), 90, 96},
		{"retention", func(_ *api.Scale, a *api.Autoscale) { a.Retention = api.Seconds(300) }, 360, 366},
		{"delay", func(_ *api.Scale, a *api.Autoscale) { a.DownDelay = api.Seconds(100) }, 160, 166},
		{"min", func(s *api.Scale, _ *api.Autoscale) { s.Min = 1 }, -1, -1},
		{"not at all", func(_ *api.Scale, a *api.Autoscale) { a.Zero = new(bool) }, -1, -1},
	} {
		if got := zero(c.change); got < c.least || got > c.most {
			t.Errorf("%s: zero after %ds, want %d to %d", c.name, got, c.least, c.most)
		}
	}
	k := knative(1, func(s *api.Scale, a *api.Autoscale) { s.Min, a.Retention = 3, api.Seconds(300) })
	if _, d := k.Decide(serving(k, 3), Metrics{Valid: true, Ready: 3, Unreachable: true}, at(0)); d.Replicas != 0 {
		t.Errorf("nobody can reach it: %+v", d)
	}
}

func TestKnativeInitialScale(t *testing.T) {
	k := knative(1, func(_ *api.Scale, a *api.Autoscale) { a.Initial = new(3) })
	st, d := k.Decide(KnativeState{}, Metrics{}, at(0))
	if d.Replicas != 3 || d.Desired != -1 || d.Active != Activating || d.Initialised {
		t.Fatalf("new: %+v", d)
	}
	for s := 2; s < 60; s += 2 { // no calls, two are ready
		if st, d = k.Decide(st, Metrics{Valid: true, Ready: 2}, at(s)); d.Replicas != 3 || d.Active != Activating {
			t.Fatalf("after %ds: %+v", s, d)
		}
	}
	if st, d = k.Decide(st, Metrics{Valid: true, Ready: 3}, at(60)); !d.Initialised || d.Active != Active {
		t.Fatalf("ready: %+v", d)
	}
	if _, d = k.Decide(st, Metrics{Valid: true, Ready: 3}, at(62)); d.Replicas != 1 {
		t.Fatalf("then: %+v", d)
	}
	st, d = k.Decide(KnativeState{}, Metrics{}, at(0))
	for s := 0; s <= 640; s += 2 { // never ready
		if st, d = k.Decide(st, Metrics{Valid: true}, at(s)); s <= 630 && d.Replicas != 3 {
			t.Fatalf("gave up after %ds", s)
		}
	}
	k = knative(1, func(_ *api.Scale, a *api.Autoscale) { a.Initial = new(0) })
	if _, d := k.Decide(KnativeState{}, Metrics{}, at(0)); d.Replicas != 0 || d.Active != Inactive {
		t.Fatalf("initial scale 0: %+v", d)
	}
}

func TestKnativeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := knative(rapid.IntRange(0, 20).Draw(t, "concurrency"), func(s *api.Scale, a *api.Autoscale) {
			s.Min = rapid.IntRange(0, 5).Draw(t, "min")
			if s.Max = rapid.IntRange(0, 30).Draw(t, "max"); s.Max > 0 {
				s.Max = max(s.Max, s.Min, 1)
			}
			a.DownDelay = api.Seconds(rapid.IntRange(0, 30).Draw(t, "delay"))
			a.Target = rapid.SampledFrom([]float64{0, 0.01, 1, 10}).Draw(t, "target")
			a.Initial = new(rapid.IntRange(0, 3).Draw(t, "initial"))
		})
		st, ready := KnativeState{}, 0
		now := start
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(KnativeTick)
			m := Metrics{
				Stable: rapid.Float64Range(0, 100).Draw(t, "stable"), Panic: rapid.Float64Range(0, 100).Draw(t, "panic"),
				Valid: rapid.Bool().Draw(t, "valid"), Ready: ready,
			}
			next, d := k.Decide(st, m, now)
			if again, d2 := k.Decide(st, m, now); d2 != d || again.panicMost != next.panicMost {
				t.Fatalf("two answers to one question: %+v, %+v", d, d2)
			}
			if k.Max > 0 && d.Replicas > k.Max {
				t.Fatalf("%d is above max %d", d.Replicas, k.Max)
			}
			if d.Replicas < k.Min {
				t.Fatalf("%d is below min %d", d.Replicas, k.Min)
			}
			if d.Panic && st.panicMost > d.Desired {
				t.Fatalf("shrinks in panic: %d after %d", d.Desired, st.panicMost)
			}
			more := m
			more.Stable += rapid.Float64Range(0, 50).Draw(t, "more")
			more.Panic += rapid.Float64Range(0, 50).Draw(t, "more panic")
			if _, d2 := k.Decide(st, more, now); d2.Desired < d.Desired || d2.Replicas < d.Replicas {
				t.Fatalf("more load wants less: %+v for %+v, %+v for %+v", d, m, d2, more)
			}
			st, ready = next, d.Replicas
		}
	})
}

// TestPeaks compares the sliding maximum with one over all values.
func TestPeaks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 20).Draw(t, "width")
		var p peaks
		var values []int
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			v := rapid.IntRange(0, 9).Draw(t, "value")
			values = append(values, v)
			before, got := p, 0
			p, got = p.add(int64(i), int64(width), v)
			if want := slices.Max(values[max(0, len(values)-width):]); got != want {
				t.Fatalf("%d after %v with a width of %d, want %d", got, values, width, want)
			}
			if _, again := before.add(int64(i), int64(width), v); again != got {
				t.Fatalf("%d, then %d from the same state", got, again)
			}
		}
	})
}
