package knative

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/rollout"
)

// Annotations of a Service or Route that have a new revision judged while it gets
// its share, and taken back when too much fails. They say what spec.rollout says
// for functions; the time it takes is rollout-steps, or Knative's own
// rollout-duration.
const (
	AnnotationRolloutSteps    = "hearth.run/rollout-steps"             // percents, such as "5,25,50"
	AnnotationRolloutInterval = "hearth.run/rollout-interval"          // between two steps, such as "2m"; 1m
	AnnotationRolloutErrors   = "hearth.run/rollout-max-error-percent" // of its answers, such as "1"
	AnnotationRolloutLatency  = "hearth.run/rollout-max-latency"       // of 99 of 100 answers, such as "300ms"
	AnnotationRolloutRequests = "hearth.run/rollout-min-requests"      // before it is judged, such as "50"; 10
)

// rolloutPrefix begins all of them.
const rolloutPrefix = "hearth.run/rollout-"

// judgedSpec reads these annotations; duration is what Knative's says. It is nil
// where there are none of them.
func judgedSpec(m map[string]string, duration time.Duration, f *faults) *api.Rollout {
	r := &api.Rollout{}
	given := false
	read := func(name, allowed string, to func(v string) bool) {
		v, ok := m[name]
		if !ok {
			return
		}
		if given = true; !to(v) {
			f.invalid(strconv.Quote(v), "metadata.annotations."+name, allowed)
		}
	}
	length := func(to **api.Duration) func(string) bool {
		return func(v string) bool {
			d, err := time.ParseDuration(v)
			*to = &api.Duration{Duration: d}
			return err == nil && d > 0
		}
	}
	count := func(most int, to func(int)) func(string) bool {
		return func(v string) bool {
			n, err := strconv.Atoi(v)
			to(n)
			return err == nil && n >= 0 && n <= most
		}
	}
	read(AnnotationRolloutSteps, `percents from 1 to 100, each more than the one before, such as "5,25,50"`, func(v string) bool {
		last := 0
		for p := range strings.SplitSeq(v, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(p))
			if err != nil || n <= last || n > 100 {
				return false
			}
			last, r.Steps = n, append(r.Steps, n)
		}
		return true
	})
	read(AnnotationRolloutInterval, `a length of time, such as "2m"`, length(&r.Interval))
	read(AnnotationRolloutErrors, `a whole number from 0 to 100, such as "1"`, count(100, func(n int) { r.MaxErrorPercent = &n }))
	read(AnnotationRolloutLatency, `a length of time, such as "300ms"`, length(&r.MaxLatency))
	read(AnnotationRolloutRequests, `a whole number from 0, such as "50"`, count(1_000_000, func(n int) { r.MinRequests = n }))
	known := []string{AnnotationRolloutSteps, AnnotationRolloutInterval, AnnotationRolloutErrors, AnnotationRolloutLatency, AnnotationRolloutRequests}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if strings.HasPrefix(k, rolloutPrefix) && !slices.Contains(known, k) {
			f.add(fmt.Sprintf("invalid key name %q", k), "one of "+strings.Join(known, ", "), "metadata.annotations")
		}
	}
	switch {
	case !given:
		return nil
	case r.Steps != nil:
	case duration > 0:
		r.Duration = &api.Duration{Duration: duration}
		if r.Interval != nil {
			f.disallowed("leave it out; the time between two steps follows from the duration", "metadata.annotations."+AnnotationRolloutInterval)
		}
	case len(f.errors) == 0:
		f.missing(`say how the share grows, such as "5,25,50", or set `+AnnotationRolloutDuration, "metadata.annotations."+AnnotationRolloutSteps)
	}
	return r
}

// judge moves the rollout of a Configuration to its latest revision on, by what is
// known of the calls; nil where it is not judged.
func (s *step) judge(spec *api.Rollout, was []rolling, configuration, latest string) *api.RolloutStatus {
	i := slices.IndexFunc(was, func(r rolling) bool { return r.Configuration == configuration && r.Judged != nil })
	var before *api.RolloutStatus
	if i >= 0 {
		before = s.left(was[i].Judged)
	}
	after := rollout.Step(spec, before, latest, s.v.Seen(s.k, configuration, before), s.now)
	if after == nil {
		return nil
	}
	if wait := rollout.Wait(spec, after, s.v.Seen(s.k, configuration, after), s.now); wait > 0 {
		s.again(wait)
	}
	if before != nil && (before.To != after.To || before.Step != after.Step || before.Phase != after.Phase) {
		s.tellRollout(after)
	}
	return after
}

// left is a rollout without the revisions that are gone; nil when none is left.
func (s *step) left(r *api.RolloutStatus) *api.RolloutStatus {
	c := *r
	c.Shares = slices.DeleteFunc(slices.Clone(r.Shares), func(x api.Share) bool { return !s.answers(x.Revision) })
	if len(c.Shares) == len(r.Shares) {
		return r
	}
	if c.Shares = api.Resize(c.Shares, 100); len(c.Shares) == 0 {
		return nil
	}
	return &c
}

func (s *step) tellRollout(r *api.RolloutStatus) {
	switch r.Phase {
	case api.RolloutRolledBack:
		s.event("Warning", "RolledBack", "Revision %q was rolled back: %s", r.To, r.Message)
	case api.RolloutDone:
		s.event("Normal", "RolledOut", "Revision %q gets all of the traffic", r.To)
	default:
		s.event("Normal", "RolloutStep", "Revision %q gets %d %% of the traffic", r.To, r.Shares[len(r.Shares)-1].Percent)
	}
}

// rolledBack is why a rollout ended where it began, and what serves; "" where none
// did.
func rolledBack(rollouts []rolling) string {
	for _, r := range rollouts {
		if j := r.Judged; j != nil && j.Phase == api.RolloutRolledBack {
			return fmt.Sprintf("Revision %q was rolled back: %s. %q serves; deploy a better one, or name the revision in spec.traffic.", j.To, j.Message, j.Shares[0].Revision)
		}
	}
	return ""
}

// judgedShares are the shares of a target with that percent and tag.
func judgedShares(r *api.RolloutStatus, percent int, tag string) (out []share) {
	for i, p := range rollout.Portion(r.Shares, percent) {
		x := share{revision: p.Revision, tag: tag, percent: p.Percent, latest: true}
		if len(r.Shares) > 1 {
			if x.own = r.Shares[i].Percent; x.own == 0 {
				x.tag = ""
			}
		}
		if x.tag == "" {
			x.own = 0
		}
		if x.percent > 0 || x.tag != "" || len(r.Shares) == 1 {
			out = append(out, x)
		}
	}
	return out
}
