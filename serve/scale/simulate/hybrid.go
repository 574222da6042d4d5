package simulate

import (
	"math"
	"time"
)

// Hybrid is the policy that was published with the Azure Functions workload: a
// histogram of idle times in minutes, up to four hours; an instance goes after
// the call, comes back a tenth before the 5th percentile and stays until a tenth
// after the 99th. Where the histogram has no shape (its counts vary by a factor
// below two) or most idle times are longer than it, the instance stays for all of
// its range. Its forecast for the latter, a time series, is left out. Instances
// beyond the first, of which it says nothing, stay for ten minutes.
func Hybrid() Policy {
	return Policy{Name: "hybrid", agent: func(*Function) agent { return &hybrid{} }}
}

const hybridRange = 240 // minutes

type hybrid struct {
	counts   [hybridRange]int
	in, out  int
	sum2     float64 // of the squares of counts
	from, to time.Duration
	worked   bool
}

func (a *hybrid) woke(gap time.Duration) {
	a.worked = false
	if m := int(gap.Minutes()); m < hybridRange {
		a.sum2 += float64(2*a.counts[m] + 1)
		a.counts[m]++
		a.in++
	} else {
		a.out++
	}
}

func (*hybrid) reused(time.Duration) {}

// work finds the two windows.
func (a *hybrid) work() {
	a.worked = true
	a.from, a.to = 0, hybridRange*time.Minute
	mean := float64(a.in) / hybridRange
	if a.in == 0 || a.out > a.in || math.Sqrt(max(0, a.sum2/hybridRange-mean*mean))/mean < 2 {
		return
	}
	rank := func(q float64) int {
		n := 0
		for m, c := range a.counts {
			if n += c; float64(n) >= q*float64(a.in) {
				return m
			}
		}
		return hybridRange - 1
	}
	a.from = time.Duration(float64(rank(0.05)) * 0.9 * float64(time.Minute))
	a.to = time.Duration(float64(rank(0.99)+1) * 1.1 * float64(time.Minute))
}

func (a *hybrid) after(w *world) (want int, again time.Time) {
	const spare = 10 * time.Minute
	if w.busy > 0 || len(w.queue) > 0 || !w.called {
		return byQueue(w, spare, spare)
	}
	if !a.worked {
		a.work()
	}
	idle := w.now.Sub(w.idleSince)
	warm := idle >= a.from && idle < a.to
	keep := time.Duration(0)
	if warm {
		keep = a.to
	}
	want, again = byQueue(w, keep, spare)
	if idle < a.from {
		if at := w.idleSince.Add(a.from); again.IsZero() || at.Before(again) {
			again = at
		}
	}
	if warm {
		want = max(want, 1)
	}
	return want, again
}
