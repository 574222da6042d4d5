package policy

import (
	"math"
	"time"
)

// Metrics is what was measured.
type Metrics struct {
	Stable, Panic float64 // averages of the metric over the two windows
	Valid         bool    // there are measurements; false changes nothing
	Ready         int     // instances that answer
	Unreachable   bool    // no route leads to the revision
}

// Activity is where a revision stands between zero and serving.
type Activity uint8

// The states of Activity; their names are those of Knative's condition Active.
const (
	Inactive   Activity = iota // False: no instances, or about to have none
	Activating                 // Unknown: too few are ready
	Active                     // True
)

// KnativeState is what is remembered between two decisions. The zero value is
// that of a revision never seen before. It is not changed by Decide.
type KnativeState struct {
	begun       bool
	initialised bool // initial scale was reached once
	panicAt     time.Time
	panicMost   int
	delay       peaks // what was desired within the delay
	desired     int
	excess      float64
	active      Activity
	activeAt    time.Time // since when
	proxy       bool      // the queue stands before the instances
	proxyAt     time.Time
	replicas    int
}

// Decision is what follows.
type Decision struct {
	Desired  int     // by the metric, before bounds; -1: nothing is known yet
	Replicas int     // instances there should be now
	Excess   float64 // burst capacity to spare; negative: calls are to be queued in front
	Panic    bool
	Active   Activity
	// Initialised is set once the initial scale was ready.
	Initialised bool
}

// Seen is the state of a revision that was ready before, so that its initial
// scale is not started again.
func Seen() KnativeState { return KnativeState{initialised: true} }

// Decide says how many instances there should be at now.
func (k Knative) Decide(st KnativeState, m Metrics, now time.Time) (KnativeState, Decision) {
	if !st.begun {
		k.begin(&st, m, now)
	}
	if m.Valid {
		st.desired, st.excess = k.scale(&st, m, now)
	}
	least := k.least(st, m)
	want, apply := st.desired, true
	if want >= 0 || st.active == Activating {
		want = max(want, least)
		if k.Max > 0 {
			want = min(want, k.Max)
		}
	}
	switch {
	case want < 0:
		apply = false
	case want == 0:
		want, apply = k.toZero(&st, m, now)
	}
	if apply {
		st.replicas = want
	}
	k.activity(&st, m, want, now)
	if proxy := want == 0 || st.excess < 0 || st.active == Inactive; proxy != st.proxy {
		st.proxy, st.proxyAt = proxy, now
	}
	return st, Decision{Desired: st.desired, Replicas: st.replicas, Excess: st.excess, Panic: !st.panicAt.IsZero(), Active: st.active, Initialised: st.initialised}
}

// begin is the first decision about a revision: a new one starts its initial
// scale without waiting for calls; one that runs is not shrunk.
func (k Knative) begin(st *KnativeState, m Metrics, now time.Time) {
	st.begun, st.desired, st.proxy, st.proxyAt, st.activeAt = true, -1, true, now, now
	st.excess = k.Burst
	if k.Burst > 0 {
		st.excess = float64(int(float64(k.Initial)*k.Total() - k.Burst))
	}
	st.replicas = k.least(*st, m)
	if !st.initialised {
		st.replicas = max(st.replicas, k.Initial)
	}
	if k.Max > 0 {
		st.replicas = min(st.replicas, k.Max)
	}
	if m.Ready > 1 {
		st.panicAt, st.panicMost = now, m.Ready
	}
	switch {
	case m.Ready > 0:
		st.active, st.replicas = Active, max(st.replicas, m.Ready)
	case st.replicas > 0:
		st.active = Activating
	}
}

// least is the lower bound.
func (k Knative) least(st KnativeState, m Metrics) int {
	switch {
	case m.Unreachable:
		return 0
	case !st.initialised && k.Initial > 1:
		return max(k.Min, k.Initial)
	}
	return k.Min
}

// scale is the algorithm proper: from averages to a number, without bounds.
func (k Knative) scale(st *KnativeState, m Metrics, now time.Time) (desired int, excess float64) {
	ready := math.Max(1, float64(m.Ready))
	per := k.PerInstance()
	up := math.Ceil(k.UpRate * ready)
	down := math.Floor(ready / k.DownRate)
	if m.Unreachable {
		down = 0
	}
	stable, short := math.Ceil(m.Stable/per), math.Ceil(m.Panic/per)
	s := math.Min(math.Max(stable, down), up)
	p := math.Min(math.Max(short, down), up)
	if k.Activation > 1 {
		if stable > 0 {
			s = math.Max(s, float64(k.Activation))
		}
		if short > 0 {
			p = math.Max(p, float64(k.Activation))
		}
	}
	if short/ready >= k.Threshold {
		st.panicAt = now
	} else if !st.panicAt.IsZero() && st.panicAt.Add(k.Window).Before(now) {
		st.panicAt, st.panicMost = time.Time{}, 0
	}
	desired = int(s)
	if !st.panicAt.IsZero() {
		st.panicMost = max(st.panicMost, int(s), int(p))
		desired = st.panicMost
	}
	if k.DownDelay > 0 && !m.Unreachable {
		slots := (k.DownDelay + KnativeTick - 1) / KnativeTick
		st.delay, desired = st.delay.add(now.UnixNano()/int64(KnativeTick), int64(slots), desired)
	}
	switch excess = k.Burst; {
	case k.Burst > 0:
		excess = math.Floor(float64(m.Ready)*k.Total() - k.Burst - m.Panic)
	}
	return desired, excess
}

// toZero is the slow way down from one to none: what is wanted instead of 0 (-1:
// what there is), and whether it is applied already.
func (k Knative) toZero(st *KnativeState, m Metrics, now time.Time) (want int, apply bool) {
	since := now.Sub(st.activeAt)
	switch {
	case !k.Zero:
		return 1, true
	case m.Unreachable:
		return 0, true
	}
	switch st.active {
	case Activating:
		if since > k.Deadline+30*time.Second {
			return 0, true
		}
		return -1, false
	case Active:
		if since >= k.Window {
			return 0, false
		}
		return 1, true
	default:
		return 0, since >= max(k.Grace, k.Retention) ||
			since >= k.Retention && st.proxy && now.Sub(st.proxyAt) >= k.Grace
	}
}

// activity follows how many are ready.
func (k Knative) activity(st *KnativeState, m Metrics, want int, now time.Time) {
	needed := k.least(*st, m)
	if st.initialised {
		needed = max(needed, 1)
	} else {
		needed = max(needed, k.Initial)
	}
	if m.Ready >= needed {
		st.initialised = true
	}
	turn := func(a Activity) {
		if st.active != a {
			st.active, st.activeAt = a, now
		}
	}
	switch {
	case want == 0 || needed == 0:
		turn(Inactive)
	case want < 0 && st.active == Inactive: // stays
	case m.Ready < needed:
		turn(Activating)
	default:
		turn(Active)
	}
}
