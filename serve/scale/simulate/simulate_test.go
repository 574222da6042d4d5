package simulate

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

// TestBetterThanTheRivals is the requirement on the policy: on the mixed trace
// there is for each rival a setting of the knob, and for a fixed keep-alive it is
// the default, that is better in all three figures at once.
func TestBetterThanTheRivals(t *testing.T) {
	const seed = 1
	mixed := Mixed(seed)
	for _, c := range []struct{ rival, hearth Policy }{
		{Fixed(10 * time.Minute), Hearth(api.DefaultWorth)},
		{Knative(), Hearth(Frugal)},
	} {
		a, b := Run(mixed, c.rival, seed), Run(mixed, c.hearth, seed)
		if !b.Beats(a) {
			t.Errorf("%s is not better than %s in everything:\n%+v\n%+v", b.Policy, a.Policy, b, a)
		}
		if a.Calls != mixed.calls() || b.Calls != a.Calls {
			t.Errorf("of %d calls %d and %d are accounted for", mixed.calls(), a.Calls, b.Calls)
		}
	}
}

// TestBetterThanPercentiles compares with the policy that was published for the
// workload, on its shape.
func TestBetterThanPercentiles(t *testing.T) {
	azure := Azure(1)
	if a, b := Run(azure, Hybrid(), 1), Run(azure, Hearth(30*time.Minute), 1); !b.Beats(a) {
		t.Errorf("%+v is not better than %+v", b, a)
	}
}

func TestTheSeedDecidesEverything(t *testing.T) {
	for _, p := range []Policy{Knative(), Hearth(api.DefaultWorth)} {
		a, b := Run(OnOff(7), p, 7), Run(OnOff(7), p, 7)
		if a != b {
			t.Errorf("%+v and %+v", a, b)
		}
		if c := Run(OnOff(8), p, 8); c == a {
			t.Error("another seed gives the same")
		}
	}
}

// TestTheKnob holds that more worth is warmer and takes more memory.
func TestTheKnob(t *testing.T) {
	daily := Daily(1)
	last := Result{Cold: math.MaxInt}
	for _, worth := range []time.Duration{time.Minute, 4 * time.Minute, 15 * time.Minute, time.Hour} {
		r := Run(daily, Hearth(worth), 1)
		if r.Cold >= last.Cold || r.InstanceSeconds <= last.InstanceSeconds {
			t.Errorf("%+v after %+v", r, last)
		}
		last = r
	}
}

// burst is n calls at once after a while of one call at a time.
func burst(n int) Trace {
	var calls []Call
	for i := range 100 {
		calls = append(calls, Call{time.Duration(i) * time.Second, 500 * time.Millisecond})
	}
	for range n {
		calls = append(calls, Call{110 * time.Second, 30 * time.Second})
	}
	return Trace{Name: "burst", Length: 3 * time.Minute, Functions: []Function{{"burst", 1, calls}}}
}

func TestOvershootAtConcurrencyOne(t *testing.T) {
	if r := Run(burst(20), Knative(), 1); r.Most != 29 {
		t.Errorf("Knative has %d instances for 20 calls, want 29", r.Most)
	}
	for _, n := range []int{1, 20, 50} {
		if r := Run(burst(n), Hearth(api.DefaultWorth), 1); r.Most > r.InFlight || r.InFlight > max(n, 2) || r.Queue99 > 2*time.Second {
			t.Errorf("%d instances for %d calls at once, which waited %s", r.Most, n, r.Queue99)
		}
	}
	for _, tr := range []Trace{Steps(1), Ramps(1)} {
		tr.Functions = tr.Functions[:1] // concurrency 1
		if r := Run(tr, Hearth(api.DefaultWorth), 1); float64(r.Most) > 1.1*float64(r.InFlight) {
			t.Errorf("%s: %d instances for at most %d calls", tr.Name, r.Most, r.InFlight)
		}
	}
}

// TestAzureShape compares the made-up workload with what was published about the
// real one.
func TestAzureShape(t *testing.T) {
	tr := Azure(1)
	days := tr.Length.Hours() / 24
	var hourly, minutely, timers int
	var all, popular int
	for _, f := range tr.Functions {
		perDay := float64(len(f.Calls)) / days
		if perDay <= 24 {
			hourly++
		}
		if perDay <= 1440 {
			minutely++
		} else {
			popular += len(f.Calls)
		}
		all += len(f.Calls)
		if len(f.Name) > 11 && f.Name[:11] == "azure-timer" {
			timers++
		}
		if !slices.IsSortedFunc(f.Calls, func(a, b Call) int { return int(a.At - b.At) }) {
			t.Errorf("%s is out of order", f.Name)
		}
	}
	n := float64(len(tr.Functions))
	for _, c := range []struct {
		name             string
		got, least, most float64
	}{
		{"called at most once an hour", float64(hourly) / n, 0.40, 0.52},
		{"called at most once a minute", float64(minutely) / n, 0.76, 0.87},
		{"timers", float64(timers) / n, 0.12, 0.20},
		{"calls of the popular fifth", float64(popular) / float64(all), 0.85, 1},
	} {
		if c.got < c.least || c.got > c.most {
			t.Errorf("%s: %.2f, want %.2f to %.2f", c.name, c.got, c.least, c.most)
		}
	}
}
