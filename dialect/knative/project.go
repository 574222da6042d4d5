package knative

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// conditions are those of one object on their way to its next status. What is
// set last counts, and moves the time of transition only if it differs from
// what the object had.
type conditions struct {
	old  api.Conditions
	next map[string]api.Condition
	now  time.Time
}

func (s *step) conditions(old api.Conditions) *conditions {
	return &conditions{old: old, next: map[string]api.Condition{}, now: s.now}
}

func (c *conditions) set(kind, status, reason, message, severity string) {
	c.next[kind] = api.Condition{Type: kind, Status: status, Reason: reason, Message: message, Severity: severity}
}

func (c *conditions) yes(kind string) { c.set(kind, api.True, "", "", "") }

func (c *conditions) no(kind, reason, format string, args ...any) {
	c.set(kind, api.False, reason, fmt.Sprintf(format, args...), "")
}

func (c *conditions) unknown(kind, reason, format string, args ...any) {
	c.set(kind, api.Unknown, reason, fmt.Sprintf(format, args...), "")
}

// child makes kind what the verdict of an owned object is.
func (c *conditions) child(kind string, of api.Conditions) {
	r, ok := of.Get(api.ConditionReady)
	if !ok {
		r.Status = api.Unknown
	}
	c.set(kind, r.Status, r.Reason, r.Message, "")
}

// verdict adds Ready, which sums up the kinds, and returns all conditions in
// order of their types. A kind that was not set stays as it was; Ready that was
// set stays, too, if it is not True.
func (c *conditions) verdict(kinds ...string) api.Conditions {
	ready := api.Condition{Type: api.ConditionReady, Status: api.True}
	if r, set := c.next[api.ConditionReady]; set {
		ready = r
	}
	for _, k := range kinds {
		one, ok := c.next[k]
		if !ok {
			if one, ok = c.old.Get(k); !ok {
				c.unknown(k, "", "")
				one.Status = api.Unknown
			}
		}
		if one.Status == api.False && ready.Status != api.False || one.Status == api.Unknown && ready.Status == api.True {
			ready.Status, ready.Reason, ready.Message = one.Status, one.Reason, one.Message
		}
	}
	c.next[api.ConditionReady] = ready
	out := c.old
	for _, n := range c.next {
		out = out.Set(n, c.now)
	}
	out = slices.Clone(out)
	slices.SortFunc(out, func(a, b api.Condition) int { return strings.Compare(a.Type, b.Type) })
	return out
}
