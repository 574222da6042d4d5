package knative

import (
	"slices"
	"time"
)

// disabled, as a setting of the collection, switches it off.
const disabled = -1

// retention is when old revisions go, as config-gc says.
type retention struct {
	SinceCreate, SinceActive time.Duration // disabled: age does not count
	MinIdle, MaxIdle         int           // of those that are not active; MaxIdle may be disabled
}

func defaultRetention() retention {
	return retention{SinceCreate: 48 * time.Hour, SinceActive: 15 * time.Hour, MinIdle: 20, MaxIdle: 1000}
}

// aged is a revision as the collection sees it.
type aged struct {
	name    string
	active  bool // serves, or must stay
	created time.Time
	used    time.Time // last time something led to it, or its creation
}

// collectable says which revisions go now, oldest first, and how long it takes
// until the next may (0: nothing changes by time alone). Revisions that are not
// active go when they are older than both limits, as long as more than MinIdle
// are left, and then the oldest beyond MaxIdle.
func collectable(all []aged, r retention, now time.Time) (gone []string, next time.Duration) {
	var idle []aged
	for _, a := range all {
		if !a.active {
			idle = append(idle, a)
		}
	}
	slices.SortStableFunc(idle, func(a, b aged) int { return a.used.Compare(b.used) })
	left := len(idle)
	var kept []aged
	for _, a := range idle {
		if left <= r.MinIdle {
			kept = append(kept, a)
			continue
		}
		old, rest := r.stale(a, now)
		if !old {
			if rest > 0 && (next == 0 || rest < next) {
				next = rest
			}
			kept = append(kept, a)
			continue
		}
		gone = append(gone, a.name)
		left--
	}
	if r.MaxIdle != disabled {
		for _, a := range kept[:max(0, len(kept)-max(r.MaxIdle, 0))] {
			gone = append(gone, a.name)
		}
	}
	return gone, next
}

// stale reports whether a is older than both limits, and else how long it takes
// until it is (0: never).
func (r retention) stale(a aged, now time.Time) (bool, time.Duration) {
	if r.SinceCreate == disabled && r.SinceActive == disabled {
		return false, 0
	}
	rest := time.Duration(0)
	if r.SinceCreate != disabled {
		rest = max(rest, a.created.Add(r.SinceCreate).Sub(now))
	}
	if r.SinceActive != disabled {
		rest = max(rest, a.used.Add(r.SinceActive).Sub(now))
	}
	return rest <= 0, max(rest, 0)
}

// collect removes old revisions of a Configuration.
func (s *step) collect(o *Configuration, mine []stamped) {
	all := make([]aged, 0, len(mine))
	byName := map[string]stamped{}
	for _, r := range mine {
		if r.Metadata.DeletionTimestamp != nil {
			continue
		}
		name := r.Metadata.Name
		a := aged{
			name: name,
			active: name == o.Status.LatestReadyRevisionName || name == o.Status.LatestCreatedRevisionName ||
				r.Metadata.Annotations[AnnotationNoGC] == "true" || len(s.routesTo(name)) > 0,
		}
		if t := r.Metadata.CreationTimestamp; t != nil {
			a.created, a.used = t.Time, t.Time
		}
		if t, err := time.Parse(time.RFC3339, r.Metadata.Annotations[AnnotationRoutingStateModified]); err == nil {
			a.used = t
		}
		all, byName[name] = append(all, a), r
	}
	gone, next := collectable(all, s.set.retention, s.now)
	for _, name := range gone {
		s.out.Delete = append(s.out.Delete, byName[name].d.rec)
	}
	if next > 0 {
		s.again(next)
	}
}
