package policy

import (
	"math"
	"time"
)

// Window is the average of what was recorded in the last seconds. It holds one
// sum per second and a running total, so that recording costs the same whatever
// its length. Make one with NewWindow. Time must not go backwards.
type Window struct {
	sums        []float64
	total       float64
	first, last int64 // seconds; meaningless while blank
	coefficient float64
	blank       bool
}

// NewWindow makes a window of d, in whole seconds and at least one. weighted
// makes recent seconds count more, by an exponential that leaves a ten-thousandth
// of the weight outside of the window (or decays by a fifth each second, if that
// is faster); otherwise all count the same.
func NewWindow(d time.Duration, weighted bool) *Window {
	n := max(1, int((d+time.Second-1)/time.Second))
	w := &Window{sums: make([]float64, n), blank: true}
	if weighted {
		w.coefficient = math.Max(1-math.Pow(1-0.9999, 1/float64(n)), 0.2)
	}
	return w
}

// Record adds v to the second of now.
func (w *Window) Record(now time.Time, v float64) {
	t := now.Unix()
	n := int64(len(w.sums))
	switch {
	case w.blank || t-w.last >= n: // silence as long as the window: a new beginning
		clear(w.sums)
		w.total, w.first, w.last, w.blank = 0, t, t, false
	case t > w.last:
		for w.last < t {
			w.last++
			w.pass(w.last, &w.total)
			w.sums[w.last%n] = 0
			if w.last%n == 0 && w.coefficient == 0 { // once per round, so that rounding does not add up
				w.total = 0
				for _, s := range w.sums {
					w.total += s
				}
			}
		}
	}
	w.sums[w.last%n] += v
	if w.coefficient > 0 {
		v *= w.coefficient
	}
	w.total += v
}

// pass takes what second t pushes out of the window off the total.
func (w *Window) pass(t int64, total *float64) {
	n := int64(len(w.sums))
	out := w.sums[t%n]
	if w.coefficient == 0 {
		*total -= out
		return
	}
	*total *= 1 - w.coefficient
	*total -= out * w.coefficient * math.Pow(1-w.coefficient, float64(n))
}

// Average is the window's average at now, to six digits. Seconds without a record
// count as 0, those before the first one of a new beginning do not count.
func (w *Window) Average(now time.Time) float64 {
	if w.Empty(now) {
		return 0
	}
	n, total := int64(len(w.sums)), w.total
	silent := max(0, now.Unix()-w.last)
	for t := w.last + 1; t <= w.last+silent; t++ {
		w.pass(t, &total)
	}
	if w.coefficient == 0 {
		total /= float64(min(w.last-w.first+1, n-silent))
	}
	return math.Max(0, math.Round(total*1e6)/1e6)
}

// Empty reports whether nothing was recorded within the window.
func (w *Window) Empty(now time.Time) bool {
	return w.blank || now.Unix()-w.last >= int64(len(w.sums))
}
