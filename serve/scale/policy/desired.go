package policy

// Load is what the number of instances of a revision depends on at one moment.
type Load struct {
	Ready    int // instances that take calls
	Starting int // starts asked for or under way
	Leaving  int // instances that finish their last calls or are being stopped
	Expired  int // ready ones unused for longer than it is worth
	Waiting  int // calls without a slot; then no ready instance has one free

	Concurrency int // calls per instance, at least 1
	Min, Max    int
	Failing     bool // the last start failed: one at a time until one works
	Blocked     bool // no start now: backing off, or being closed
}

// Desired is how many instances should take calls, those that start included.
// Where it is above Ready+Starting the difference is started; where it is below
// Ready the difference is stopped, expired ones only. Instances that leave count
// towards Max until they are gone.
func Desired(l Load) int {
	want := l.Ready - l.Expired + (l.Waiting+l.Concurrency-1)/l.Concurrency
	return l.Bounded(max(want, l.Min))
}

// Bounded is want within what l allows.
func (l Load) Bounded(want int) int {
	if l.Failing {
		want = min(want, l.Ready+1)
	}
	if l.Blocked {
		want = min(want, l.Ready)
	}
	return max(0, min(want, l.Max-l.Leaving))
}
