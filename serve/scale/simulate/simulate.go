// Package simulate replays arrivals against scaling policies in virtual time: no
// clock, no instances, the same figures for the same seed. The decisions are
// those of package policy, which is what package scale applies to real instances.
package simulate

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Policy is a rule for the number of instances.
type Policy struct {
	Name string
	// agent makes what looks after one function.
	agent func(f *Function) agent
}

// agent decides about one function. after is asked whenever something happened
// and at the times it names: how many instances there should be, starting ones
// included, and when to ask again (the zero time: after the next event).
type agent interface {
	after(w *world) (want int, again time.Time)
	// woke is told that a call came after the function had been idle, reused that
	// an instance beyond the first one was needed again.
	woke(gap time.Duration)
	reused(gap time.Duration)
}

// Result is what came of it.
type Result struct {
	Policy          string
	Calls           int
	Cold            int           // calls that waited for an instance to start
	Queue99         time.Duration // 99th percentile of the time until a call had its slot
	InstanceSeconds float64
	Starts          int
	Most            int // instances at once, of any one function
	InFlight        int // calls at once, queued ones included, of any one function
}

// ColdShare is the share of calls that waited for a start.
func (r Result) ColdShare() float64 { return float64(r.Cold) / float64(max(r.Calls, 1)) }

// Beats reports whether r is better than o in all three figures.
func (r Result) Beats(o Result) bool {
	return r.Cold < o.Cold && r.Queue99 < o.Queue99 && r.InstanceSeconds < o.InstanceSeconds
}

// epoch is the beginning of every trace.
var epoch = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)

// Run replays t. A start takes 0.3 s in the median (log-normal, sigma 0.5), with
// every policy; what policies differ in is when they start and stop instances.
func Run(t Trace, p Policy, seed uint64) Result {
	res := Result{Policy: p.Name}
	var waits []time.Duration
	for i := range t.Functions {
		f := &t.Functions[i]
		w := &world{f: f, agent: p.agent(f), rand: random(seed, "starts of "+f.Name), now: epoch, res: &res, idleSince: epoch}
		w.run(t.Length)
		waits = append(waits, w.waits...)
	}
	res.Calls = len(waits)
	if len(waits) > 0 {
		slices.Sort(waits)
		res.Queue99 = waits[min(len(waits)-1, int(math.Ceil(0.99*float64(len(waits))))-1)]
	}
	return res
}

// world is one function's instances.
type world struct {
	f     *Function
	agent agent
	rand  *rand.Rand
	res   *Result
	now   time.Time

	ready     []*instance // most recently used last
	starting  int
	busy      int
	queue     []int // indices of calls
	idleSince time.Time
	called    bool
	shed      []time.Time // when the instances that were stopped were last used

	events events
	order  int
	again  time.Time
	waits  []time.Duration
	from   time.Time // until when instance-seconds are counted
}

type instance struct {
	busy int
	used time.Time
}

type event struct {
	at    time.Time
	order int
	in    *instance // whose call ends; nil: an instance comes up
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if c := e[i].at.Compare(e[j].at); c != 0 {
		return c < 0
	}
	return e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	n := len(*e) - 1
	x := (*e)[n]
	*e = (*e)[:n]
	return x
}

func (w *world) run(length time.Duration) {
	end := epoch.Add(length)
	w.from = epoch
	w.waits = make([]time.Duration, 0, len(w.f.Calls))
	w.decide()
	for next := 0; ; {
		at, what := end, 0
		if next < len(w.f.Calls) {
			if t := epoch.Add(w.f.Calls[next].At); t.Before(at) {
				at, what = t, 1
			}
		}
		if len(w.events) > 0 && !w.events[0].at.After(at) {
			at, what = w.events[0].at, 2
		}
		if !w.again.IsZero() && w.again.Before(at) {
			at, what = w.again, 3
		}
		w.count(at)
		w.now = at
		switch what {
		case 0:
			for _, i := range w.queue { // nobody answered
				w.waits = append(w.waits, w.now.Sub(epoch.Add(w.f.Calls[i].At)))
			}
			return
		case 1:
			w.arrive(next)
			next++
			w.res.InFlight = max(w.res.InFlight, w.busy+len(w.queue))
		case 2:
			w.happen(heap.Pop(&w.events).(event))
		}
		w.decide()
	}
}

// count adds the instance-seconds until t.
func (w *world) count(t time.Time) {
	w.res.InstanceSeconds += t.Sub(w.from).Seconds() * float64(len(w.ready)+w.starting)
	w.from = t
}

func (w *world) arrive(i int) {
	if w.busy == 0 && len(w.queue) == 0 && w.called {
		w.agent.woke(w.now.Sub(w.idleSince))
	}
	w.called = true
	if len(w.queue) == 0 && w.serve(i, false) {
		return
	}
	if n := len(w.shed); n > 0 && w.busy > 0 && len(w.ready)+w.starting > 0 {
		w.agent.reused(w.now.Sub(w.shed[n-1]))
		w.shed = w.shed[:n-1]
	}
	w.queue = append(w.queue, i)
}

// serve gives call i a slot: on the most recently used instance that has one.
func (w *world) serve(i int, cold bool) bool {
	for k := len(w.ready) - 1; k >= 0; k-- {
		in := w.ready[k]
		if in.busy >= w.f.Concurrency {
			continue
		}
		if in.busy == 0 && w.busy > 0 {
			w.agent.reused(w.now.Sub(in.used))
		}
		in.busy++
		w.busy++
		c := w.f.Calls[i]
		w.waits = append(w.waits, w.now.Sub(epoch.Add(c.At)))
		if cold {
			w.res.Cold++
		}
		w.order++
		heap.Push(&w.events, event{w.now.Add(c.Took), w.order, in})
		return true
	}
	return false
}

func (w *world) happen(e event) {
	cold := e.in == nil
	if cold {
		w.starting--
		w.ready = append(w.ready, &instance{used: w.now})
		w.res.Most = max(w.res.Most, len(w.ready))
	} else {
		in := e.in
		in.busy--
		w.busy--
		if in.busy == 0 {
			in.used = w.now
		}
		if i := slices.Index(w.ready, in); i >= 0 {
			w.ready = append(slices.Delete(w.ready, i, i+1), in)
		}
		if w.busy == 0 {
			w.idleSince = w.now
		}
	}
	for len(w.queue) > 0 && w.serve(w.queue[0], cold) {
		w.queue = w.queue[1:]
	}
}

// decide does what the policy says.
func (w *world) decide() {
	want, again := w.agent.after(w)
	w.again = again
	for len(w.ready)+w.starting < want {
		w.starting++
		w.res.Starts++
		w.order++
		heap.Push(&w.events, event{w.now.Add(seconds(0.3 * math.Exp(0.5*w.rand.NormFloat64()))), w.order, nil})
	}
	for i := 0; i < len(w.ready) && len(w.ready) > max(0, want-w.starting); { // the longest unused first
		if w.ready[i].busy > 0 {
			i++
			continue
		}
		w.shed = append(w.shed, w.ready[i].used)
		if len(w.shed) > 32 {
			w.shed = w.shed[1:]
		}
		w.ready = slices.Delete(w.ready, i, i+1)
	}
}
