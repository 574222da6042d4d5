package reconcile

import (
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/rollout"
	"github.com/hearth-run/hearth/core/store"
)

// rollouts remembers when the present step of each rollout began, and what had
// been counted by then. A restart loses it: a step then counts from nothing, and
// its time from the status.
type rollouts struct {
	observe func(namespace, revision string) record.Summary // nil: nothing is known

	mu sync.Mutex
	m  map[rolloutKey]stepStart
}

// rolloutKey is one rollout of an object, which may have several.
type rolloutKey struct {
	store.Key
	part string
}

type stepStart struct {
	to    string
	step  int
	since time.Time
	base  record.Summary
}

func newRollouts(observe func(namespace, revision string) record.Summary) *rollouts {
	return &rollouts{observe: observe, m: map[rolloutKey]stepStart{}}
}

// seen is how a rollout did since its present step began.
func (x *rollouts) seen(k store.Key, part string, s *api.RolloutStatus) rollout.Seen {
	if s == nil || s.Phase != api.RolloutProgressing {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.m, rolloutKey{k, part})
		return rollout.Seen{}
	}
	var now record.Summary
	if x.observe != nil {
		now = x.observe(k.Namespace, s.To)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	was, ok := x.m[rolloutKey{k, part}]
	if !ok || was.to != s.To || was.step != s.Step {
		was = stepStart{to: s.To, step: s.Step, base: now, since: time.Now()}
		if s.Stepped != nil && time.Since(s.Stepped.Time) > time.Second { // times are kept in whole seconds
			was.since = s.Stepped.Time
		}
		x.m[rolloutKey{k, part}] = was
	}
	calls := now.Since(was.base)
	return rollout.Seen{Since: was.since, Calls: calls.Calls, Errors: calls.Errors, P99: calls.Quantile(0.99)}
}

// forget drops what is known of k's rollouts.
func (x *rollouts) forget(k store.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for at := range x.m {
		if at.Key == k {
			delete(x.m, at)
		}
	}
}
