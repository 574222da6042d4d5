// Package rollout decides how a new revision gets its share, little by little, and
// when it must give it back. Functions and other systems' services go by the same
// rules, which are pure functions; who calls them keeps the state, an
// api.RolloutStatus, and knows how the calls went.
package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/hearth-run/hearth/api"
)

const defaultInterval = time.Minute

// Seen is how the new revision of a rollout did since its present step began.
type Seen struct {
	Since         time.Time
	Calls, Errors uint64
	P99           time.Duration // 99 of 100 calls took no longer
}

// Step moves a rollout on; it depends on its arguments alone. was is what it
// returned last, nil at first; latest is the newest revision that works. It
// returns nil where nothing is rolled out because all of it goes to latest.
//
// A rollout begins when latest changes. With steps a newer one replaces it, and
// what was not yet proven gets nothing; with a duration the shares are stacked.
func Step(spec *api.Rollout, was *api.RolloutStatus, latest string, how Seen, now time.Time) *api.RolloutStatus {
	switch {
	case latest == "":
		return nil
	case spec == nil && was != nil && was.Phase == api.RolloutRolledBack && was.To == latest:
		return was // what failed does not come back because nobody watches any more
	case spec == nil:
		return nil
	case was == nil || len(was.Shares) == 0:
		return begun(spec, nil, latest, now)
	case was.To != latest:
		return begun(spec, was, latest, now)
	case was.Phase != api.RolloutProgressing:
		return was
	}
	if why := judge(spec, was, how); why != "" {
		return &api.RolloutStatus{
			Phase: api.RolloutRolledBack, To: latest, Shares: []api.Share{{Revision: was.Shares[0].Revision, Percent: 100}},
			Step: was.Step, Started: was.Started, Stepped: api.NewTime(now), Message: why,
		}
	}
	if now.Sub(how.Since) < every(spec, was) || how.Calls < uint64(spec.MinRequests) {
		return was
	}
	next := *was
	next.Step++
	next.Stepped = api.NewTime(now)
	if spec.Duration != nil {
		next.Shares = api.Shift(was.Shares, max(was.Size, 1))
	} else {
		next.Shares = shared(was.Shares[0].Revision, latest, percentOf(spec, next.Step))
	}
	if done(spec, &next) {
		return finished(&next)
	}
	return &next
}

// begun is the first step towards latest.
func begun(spec *api.Rollout, was *api.RolloutStatus, latest string, now time.Time) *api.RolloutStatus {
	t := api.NewTime(now)
	next := &api.RolloutStatus{Phase: api.RolloutProgressing, To: latest, Step: 1, Started: t, Stepped: t}
	stable := latest
	if was != nil {
		stable = was.Shares[0].Revision // the oldest is what is proven
	}
	switch {
	case stable == latest:
		next.Shares = []api.Share{{Revision: latest, Percent: 100}}
		return finished(next)
	case spec.Duration != nil:
		next.Shares = api.BeginShift(was.Shares, latest)
		size, wait := api.PlanShift(100, spec.Duration.Duration, 0)
		next.Size, next.Every = size, &api.Duration{Duration: wait}
	default:
		next.Shares = shared(stable, latest, percentOf(spec, 1))
	}
	return next
}

func finished(s *api.RolloutStatus) *api.RolloutStatus {
	return &api.RolloutStatus{
		Phase: api.RolloutDone, To: s.To, Shares: []api.Share{{Revision: s.To, Percent: 100}}, Step: s.Step, Started: s.Started, Stepped: s.Stepped,
	}
}

// done reports whether s is what a rollout ends in: after the last step, with
// all of it at one revision.
func done(spec *api.Rollout, s *api.RolloutStatus) bool {
	if spec.Duration != nil {
		return len(s.Shares) == 1
	}
	return s.Step > len(spec.Steps)
}

// percentOf is what the new revision gets in a step, which counts from 1.
func percentOf(spec *api.Rollout, n int) int {
	if n > len(spec.Steps) {
		return 100
	}
	return spec.Steps[max(n, 1)-1]
}

func shared(from, to string, percent int) []api.Share {
	return []api.Share{{Revision: from, Percent: 100 - percent}, {Revision: to, Percent: percent}}
}

// every is the time between two steps.
func every(spec *api.Rollout, was *api.RolloutStatus) time.Duration {
	if spec.Duration != nil {
		return was.Every.Or(time.Second)
	}
	return spec.Interval.Or(defaultInterval)
}

// judge says why the new revision must go, or nothing.
func judge(spec *api.Rollout, was *api.RolloutStatus, how Seen) string {
	need := uint64(spec.MinRequests)
	if need == 0 {
		need = api.RolloutJudged
	}
	if how.Calls < need {
		return ""
	}
	at := was.Shares[len(was.Shares)-1].Percent
	if most := spec.MaxErrorPercent; most != nil && how.Errors*100 > uint64(*most)*how.Calls {
		return fmt.Sprintf("at %d %% of the requests, %d of its %d answers were errors (%.3g %%, at most %d %% are allowed)",
			at, how.Errors, how.Calls, float64(how.Errors)*100/float64(how.Calls), *most)
	}
	if most := spec.MaxLatency.Or(0); most > 0 {
		if p := how.P99; p > most {
			return fmt.Sprintf("at %d %% of the requests, the 99th percentile of its %d answers was %s (at most %s is allowed)", at, how.Calls, p.Round(time.Millisecond/10), most)
		}
	}
	return ""
}

// Wait is when to look at a rollout again; 0: not by itself.
func Wait(spec *api.Rollout, was *api.RolloutStatus, how Seen, now time.Time) time.Duration {
	if spec == nil || was == nil || was.Phase != api.RolloutProgressing {
		return 0
	}
	left := every(spec, was) - now.Sub(how.Since)
	if spec.MaxErrorPercent != nil || spec.MaxLatency != nil || spec.MinRequests > 0 {
		left = min(max(left, 200*time.Millisecond), time.Second) // it is watched
	}
	return max(left, 10*time.Millisecond)
}

// Portion divides percent as shares divide 100; the newest gets at least 1, and
// none is lost by rounding.
func Portion(shares []api.Share, percent int) []api.Share {
	out, left := slices.Clone(shares), percent
	for i := len(out) - 1; i > 0; i-- {
		n := (out[i].Percent*percent + 50) / 100
		if out[i].Percent > 0 {
			n = max(n, 1)
		}
		out[i].Percent = min(n, left)
		left -= out[i].Percent
	}
	if len(out) > 0 {
		out[0].Percent = left
	}
	return out
}
