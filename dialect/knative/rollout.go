package knative

import (
	"time"

	"github.com/hearth-run/hearth/api"
)

// rolling is how far one target's move to its latest revision is. The list of a
// Route's is kept as JSON in an annotation of its native route, which is all
// that is needed to go on after a restart.
type rolling struct {
	Configuration string        `json:"configurationName"`
	Tag           string        `json:"tag,omitempty"`
	Own           bool          `json:"own,omitempty"` // of the tag's own address, and not of the Route's
	Shares        []api.Share   `json:"revisions"`     // oldest first
	Started       time.Time     `json:"startTime,omitzero"`
	Size          int           `json:"stepSize,omitempty"` // 0: the first step is not in effect yet
	Every         time.Duration `json:"stepDuration,omitempty"`
	Next          time.Time     `json:"nextStepTime,omitzero"`

	Judged *api.RolloutStatus `json:"judged,omitempty"` // instead of what stands between Tag and it
}

// wish is what a target that follows a Configuration asks for.
type wish struct {
	configuration, tag, latest string
	own                        bool
	percent                    int
}

// moving reports whether the rollout is under way.
func (r rolling) moving() bool {
	return len(r.Shares) > 1 || r.Judged != nil && r.Judged.Phase == api.RolloutProgressing
}

// advance takes a rollout from what it was (nil: there was none) to what it is
// at now. d is how long it takes, 0 for all at once; ready says that what the
// last answer said is in effect; there says which revisions can still answer.
// It also returns the time until the next step; 0: none is planned.
func advance(was *rolling, w wish, d time.Duration, ready bool, there func(string) bool, now time.Time) (rolling, time.Duration) {
	r := rolling{Configuration: w.configuration, Tag: w.tag, Own: w.own, Shares: []api.Share{{Revision: w.latest, Percent: w.percent}}}
	if was == nil || d <= 0 || w.percent <= 1 {
		return r, 0
	}
	var old []api.Share
	for _, s := range was.Shares {
		if there(s.Revision) || s.Revision == w.latest {
			old = append(old, s)
		}
	}
	if len(old) == 0 {
		return r, 0
	}
	old = api.Resize(old, w.percent)
	if old[len(old)-1].Revision != w.latest {
		r.Shares, r.Started = api.BeginShift(old, w.latest), now
		return r, 0
	}
	r.Shares = old
	if !r.moving() {
		return r, 0
	}
	r.Started, r.Size, r.Every, r.Next = was.Started, was.Size, was.Every, was.Next
	if r.Size == 0 {
		if !ready {
			return r, 0
		}
		r.Size, r.Every = api.PlanShift(w.percent, d, now.Sub(r.Started))
		r.Next = now.Add(r.Every)
	}
	for r.moving() && !now.Before(r.Next) {
		r.Shares = api.Shift(r.Shares, r.Size)
		r.Next = r.Next.Add(r.Every)
	}
	if !r.moving() {
		r.Started, r.Size, r.Every, r.Next = time.Time{}, 0, 0, time.Time{}
		return r, 0
	}
	return r, r.Next.Sub(now)
}
