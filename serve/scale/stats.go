package scale

import (
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// Counts only grow, until the revision is retired and its last instance gone.
type Counts struct {
	Calls      int64 // calls that got a slot
	Starts     int64 // instances that came up
	Foreseen   int64 // starts in advance of a call that was foreseen
	ColdStarts int64 // calls that waited for one of these
	Failures   int64 // starts that failed
	Crashes    int64 // instances that ended within a second
	GaveUp     int64 // calls that left the queue: cancelled or out of time
	Refused    int64 // calls refused: queue full, backing off, closing
}

// Stats is a revision's state at one moment.
type Stats struct {
	UID, Tenant, Function, Revision string

	Instances int // taking calls, or resting
	Resting   int // of these: not ready for calls now
	Busy      int // calls in flight
	Queued    int // calls waiting
	Starting  int // starts asked for or under way
	Leaving   int // finishing their last calls, or being stopped

	Metric       string  // api.MetricCPU or api.MetricMemory where the number follows usage; else empty
	Used, Target float64 // of that, by one instance in the mean, and as it is meant to be: processors or bytes

	BackoffUntil time.Time  // zero: it may start
	LastError    *api.Error // why it last could not start; nil once it did
	Counts
}

// Stats describes every revision that was called or kept, in no order. It holds
// one revision's lock at a time, for as long as copying the numbers takes.
func (s *Scaler) Stats() []Stats {
	var all []Stats
	s.all(func(b *backend) { all = append(all, b.stats()) })
	return all
}

// StatsOf describes rev; all zero but its names where nothing is known.
func (s *Scaler) StatsOf(rev *api.Revision) Stats {
	if v, ok := s.backends.Load(key(rev)); ok {
		return v.(*backend).stats()
	}
	return names(rev)
}

// Replicas is how many instances a revision has and should have.
type Replicas struct {
	Actual   int // taking calls
	Desired  int // that there should be now; 0 for one that was never called or kept
	Activity policy.Activity
	// Initialised is set once the initial scale was ready; it is of the knative
	// policy, with the other it means that an instance came up once.
	Initialised bool
}

// Replicas tells how many instances the revision with the given UID has and
// should have; false where it was never called or kept.
func (s *Scaler) Replicas(uid string) (Replicas, bool) {
	v, ok := s.backends.Load(uid)
	if !ok {
		return Replicas{}, false
	}
	b := v.(*backend)
	b.mu.Lock()
	defer b.mu.Unlock()
	r := Replicas{Actual: b.awake(), Desired: b.want(b.load(time.Now())), Initialised: b.counts.Starts > 0}
	switch k := b.knative; {
	case k != nil:
		r.Activity, r.Initialised = k.decision.Active, k.decision.Initialised
	case b.awake() > 0:
		r.Activity = policy.Active
	case b.starting > 0 || b.ready > 0 || b.queue.n > 0:
		r.Activity = policy.Activating
	}
	return r, true
}

func names(rev *api.Revision) Stats {
	return Stats{UID: rev.Metadata.UID, Tenant: rev.Metadata.Namespace, Function: rev.Spec.Function, Revision: rev.Metadata.Name}
}

func (b *backend) stats() Stats {
	st := names(b.rev)
	b.mu.Lock()
	defer b.mu.Unlock()
	st.Instances, st.Busy, st.Queued, st.Starting, st.Leaving = b.ready, b.busy, b.queue.n, b.starting, len(b.all)-b.ready
	st.Resting = b.ready - b.awake()
	st.LastError, st.Counts = b.back.err, b.counts
	if b.back.failures > 0 {
		st.BackoffUntil = b.back.until
	}
	if u := b.usage; u != nil {
		st.Metric, st.Used, st.Target = b.rev.Spec.Scale.Auto.Metric, u.mean, u.spec.Target
	}
	return st
}
