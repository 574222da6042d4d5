package policy

import (
	"time"

	"github.com/hearth-run/hearth/api"
)

// Reserve is one reservation with its schedule read.
type Reserve struct {
	schedule  *api.Schedule
	instances int
	length    time.Duration
}

// Reserves reads what is reserved. What cannot be read, which validation does not
// let pass, reserves nothing.
func Reserves(list []api.Reserve) (out []Reserve) {
	for _, r := range list {
		if s, err := api.ParseSchedule(r.Schedule, r.TimeZone); err == nil && r.Duration.Duration > 0 {
			out = append(out, Reserve{s, r.Instances, r.Duration.Duration})
		}
	}
	return out
}

// Reserved is how many instances are reserved at now, the most of those that
// apply, and when that may change; the zero time is never.
func Reserved(list []Reserve, now time.Time) (n int, until time.Time) {
	sooner := func(t time.Time) {
		if !t.IsZero() && (until.IsZero() || t.Before(until)) {
			until = t
		}
	}
	for _, r := range list {
		begun := r.schedule.Next(now.Add(-r.length))
		if begun.IsZero() || begun.After(now) {
			sooner(begun)
			continue
		}
		n = max(n, r.instances)
		sooner(begun.Add(r.length)) // or later, if it has begun again meanwhile
	}
	return n, until
}
