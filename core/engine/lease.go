package engine

import "time"

// Lease is the right to make one call on an instance. It is made by a scaler
// and must be released exactly once, when the call's last byte has passed.
type Lease struct {
	Instance Instance
	Cold     bool          // an instance was started for this call
	Queued   time.Duration // time waited for a slot, including a start
	Owner    Releaser      // who gets it back
	Token    any           // the owner's own; opaque to the holder
}

// Releaser takes leases back.
type Releaser interface {
	// Release gives the slot back. broken says that the instance failed the
	// call in a way that makes it unfit for another one (connection lost,
	// protocol broken); it is then stopped.
	Release(l Lease, broken bool)
	// Abandon gives the slot back while the instance goes on with a call whose
	// time is over, which makes it unfit for another one: it is stopped, and
	// that is no fault of its start.
	Abandon(l Lease)
}

// Release gives the slot back to its owner.
func (l Lease) Release(broken bool) {
	if l.Owner != nil {
		l.Owner.Release(l, broken)
	}
}

// Abandon gives the slot back of an instance that is busy with a call that is
// over.
func (l Lease) Abandon() {
	if l.Owner != nil {
		l.Owner.Abandon(l)
	}
}
