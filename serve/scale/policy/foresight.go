package policy

import "time"

// Foresight is what the hearth policy remembers of a revision: the idle times of
// the revision as a whole, which say when its first instance is needed, and those
// of the instances beyond the first one, which come and go with the load. It is
// made once there is something to remember; nil knows nothing.
type Foresight struct {
	first Gaps
	upper *Gaps

	base  Plan     // by all gaps
	plan  Plan     // by the last ones too
	bins  [2]uint8 // of the clock that base knows of
	worth time.Duration
	spare time.Duration
	woke  uint16 // gaps of first that base does not know of
	since uint16 // gaps of upper that spare does not know of
	fresh struct{ base, plan, spare bool }
}

// Woke notes that a call came after the revision had been idle.
func (f *Foresight) Woke(gap time.Duration) {
	f.first.Add(gap)
	f.fresh.plan = false
	if f.woke++; f.woke > f.first.total/32 {
		f.fresh.base, f.woke = false, 0
	}
}

// Reused notes that an instance beyond the first one was needed again.
func (f *Foresight) Reused(gap time.Duration) {
	if f.upper == nil {
		f.upper = new(Gaps)
	}
	f.upper.Add(gap)
	if f.since++; f.since > f.upper.total/16 {
		f.fresh.spare, f.since = false, 0
	}
}

// price forgets what was worked out for another worth.
func (f *Foresight) price(worth time.Duration) {
	if f.worth != worth {
		f.worth, f.fresh.base, f.fresh.plan, f.fresh.spare = worth, false, false, false
	}
}

// First is when the first instance should be there.
func (f *Foresight) First(worth time.Duration) Plan {
	if f == nil || worth <= time.Second {
		return new(Gaps).Plan(worth)
	}
	f.price(worth)
	if !f.fresh.plan {
		c := f.first.clock(worth.Seconds())
		if bins := [2]uint8{uint8(c.from), uint8(c.to)}; !f.fresh.base || f.bins != bins {
			f.base, f.bins, f.fresh.base = f.first.weigh(worth.Seconds(), c), bins, true
		}
		f.plan, f.fresh.plan = f.base.with(c), true
	}
	return f.plan
}

// Spare is how long an instance beyond the first one is kept unused.
func (f *Foresight) Spare(worth time.Duration) time.Duration {
	if f == nil || f.upper == nil {
		return new(Gaps).Keep(worth)
	}
	f.price(worth)
	if !f.fresh.spare {
		f.spare, f.fresh.spare = f.upper.Keep(worth), true
	}
	return f.spare
}

// Gaps is how many idle times of the revision are remembered.
func (f *Foresight) Gaps() int {
	if f == nil {
		return 0
	}
	return f.first.Len()
}

// Clone is a copy that goes its own way, for a newer revision of the same code.
func (f *Foresight) Clone() *Foresight {
	if f == nil {
		return nil
	}
	c := *f
	if f.upper != nil {
		u := *f.upper
		c.upper = &u
	}
	return &c
}
