package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/rollout"
	"github.com/hearth-run/hearth/core/store"
)

// spread is the loop of functions with traffic of their own.
func (r *Reconciler) spread(ctx context.Context, k store.Key) (time.Duration, error) {
	f, err := read[api.Function](ctx, r.cfg.Store, k)
	if err != nil {
		return 0, err
	}
	if f == nil || f.Metadata.DeletionTimestamp != nil {
		r.rollouts.forget(k)
		return 0, nil
	}
	there, err := r.there(ctx, k, f)
	if err != nil {
		return 0, err
	}
	how, now, before, after := r.rollouts.seen(k, "", f.Status.Rollout), time.Now(), f.Status.Rollout, f.Status.Rollout
	moved := false
	err = r.functionStatus(ctx, k, func(f *api.Function) bool {
		f.Metadata.Namespace, f.Metadata.Name = k.Namespace, k.Name
		was := f.Status.Traffic
		defer func() { moved = !slices.Equal(was, f.Status.Traffic) }()
		if !sameStep(before, f.Status.Rollout) { // another step than the one looked at
			before, how = f.Status.Rollout, rollout.Seen{Since: now}
		}
		r.assign(f, there, how, now)
		after = f.Status.Rollout
		return true
	})
	if err != nil {
		return 0, err
	}
	f.Metadata.Namespace, f.Metadata.Name = k.Namespace, k.Name
	r.tell(ctx, f, before, after)
	if moved {
		if err := r.prune(ctx, k, nil); err != nil {
			return 0, err
		}
	}
	return rollout.Wait(f.Spec.Rollout, after, r.rollouts.seen(k, "", after), time.Now()), nil
}

func sameStep(a, b *api.RolloutStatus) bool {
	return a == nil && b == nil || a != nil && b != nil && a.To == b.To && a.Step == b.Step && a.Phase == b.Phase
}

// tell writes what happened as events.
func (r *Reconciler) tell(ctx context.Context, f *api.Function, before, after *api.RolloutStatus) {
	if after == nil || sameStep(before, after) || before == nil && after.Phase == api.RolloutDone {
		return
	}
	ref, to := reference("Function", &f.Metadata), display(after.To)
	switch after.Phase {
	case api.RolloutRolledBack:
		r.events.Warning(ctx, ref, "RolledBack", "%s was rolled back: %s", to, after.Message)
	case api.RolloutDone:
		r.events.Normal(ctx, ref, "RolledOut", "%s gets all of the requests", to)
	default:
		r.events.Normal(ctx, ref, "RolloutStep", "%s gets %d %% of the requests", to, after.Shares[len(after.Shares)-1].Percent)
	}
}

// there tells which of the revisions f's traffic may name are there and work.
func (r *Reconciler) there(ctx context.Context, k store.Key, f *api.Function) (map[string]bool, error) {
	names := map[string]bool{}
	for _, t := range f.Spec.Traffic {
		names[t.Revision] = true
	}
	if s := f.Status.Rollout; s != nil {
		for _, x := range s.Shares {
			names[x.Revision] = true
		}
	}
	delete(names, "")
	for name := range names {
		rev, err := read[api.Revision](ctx, r.cfg.Store, revisionKey(k.Namespace, name))
		if err != nil {
			return nil, err
		}
		names[name] = rev != nil && rev.Metadata.DeletionTimestamp == nil && rev.Spec.Function == k.Name && rev.Status.Conditions.Ready()
	}
	return names, nil
}

// assign brings f's status up to date: its rollout, its traffic and what they
// mean for its conditions. there has the revisions known to work; one that is
// not in it is taken to.
func (r *Reconciler) assign(f *api.Function, there map[string]bool, how rollout.Seen, now time.Time) {
	s := &f.Status
	works := func(name string) bool { ok, known := there[name]; return ok || !known }
	was := s.Rollout
	if was != nil && slices.ContainsFunc(was.Shares, func(x api.Share) bool { return !works(x.Revision) }) {
		c := *was
		c.Shares = slices.DeleteFunc(slices.Clone(was.Shares), func(x api.Share) bool { return !works(x.Revision) })
		if c.Shares = api.Resize(c.Shares, 100); len(c.Shares) == 0 {
			was = nil
		} else {
			was = &c
		}
	}
	if !pinned(f) || was == nil {
		was = rollout.Step(f.Spec.Rollout, was, s.LatestReadyRevision, how, now)
	}
	s.Rollout = was
	r.rolledOut(f, now)
	if missing := slices.IndexFunc(f.Spec.Traffic, func(t api.TrafficTarget) bool { return t.Revision != "" && !works(t.Revision) }); missing >= 0 {
		name := f.Spec.Traffic[missing].Revision
		r.set(f, now, api.Condition{
			Type: api.ConditionTrafficAssigned, Status: api.False, Reason: "RevisionMissing",
			Message: fmt.Sprintf("spec.traffic names %s, which is not there or does not work; the traffic stays as it was", name),
			Hint:    "hearth get revisions lists what there is",
		})
		return
	}
	s.Traffic = r.shares(f)
	if len(f.Spec.Traffic) == 0 {
		s.Conditions = without(s.Conditions, api.ConditionTrafficAssigned)
		return
	}
	r.set(f, now, api.Condition{Type: api.ConditionTrafficAssigned, Status: api.True, Reason: "Assigned"})
}

// pinned reports whether no share of f's traffic follows the newest revision.
func pinned(f *api.Function) bool {
	return len(f.Spec.Traffic) > 0 && !slices.ContainsFunc(f.Spec.Traffic, func(t api.TrafficTarget) bool { return t.Latest && t.Percent > 0 })
}

// shares are f's targets with the rollout's parts in place of the newest; nil
// where all goes to the newest revision.
func (r *Reconciler) shares(f *api.Function) (out []api.TrafficShare) {
	s := f.Status
	if s.LatestReadyRevision == "" || len(f.Spec.Traffic) == 0 && s.Rollout == nil {
		return nil
	}
	targets := f.Spec.Traffic
	if len(targets) == 0 {
		targets = []api.TrafficTarget{{Latest: true, Percent: 100}}
	}
	for _, t := range targets {
		x := api.TrafficShare{Revision: t.Revision, Percent: t.Percent, Latest: t.Latest, Tag: t.Tag}
		if t.Tag != "" && r.cfg.URL != nil && f.Spec.Visibility != "private" {
			x.URL = r.cfg.URL(f.Metadata.Namespace, t.Tag+"-"+f.Metadata.Name)
		}
		if !t.Latest {
			out = append(out, x)
			continue
		}
		x.Revision = s.LatestReadyRevision
		if s.Rollout == nil || t.Percent == 0 {
			out = append(out, x)
			continue
		}
		parts := rollout.Portion(s.Rollout.Shares, t.Percent)
		at := slices.IndexFunc(parts, func(p api.Share) bool { return p.Revision == x.Revision })
		if x.Percent = 0; at >= 0 {
			x.Percent = parts[at].Percent
		}
		if x.Percent > 0 || x.Tag != "" {
			out = append(out, x)
		}
		for i, p := range parts {
			if i != at && p.Percent > 0 {
				out = append(out, api.TrafficShare{Revision: p.Revision, Percent: p.Percent, Latest: true})
			}
		}
	}
	return out
}

// rolledOut writes how far the rollout is into f's conditions.
func (r *Reconciler) rolledOut(f *api.Function, now time.Time) {
	s := &f.Status
	if s.Rollout == nil {
		s.Conditions = without(s.Conditions, api.ConditionRolledOut)
		return
	}
	to := display(s.Rollout.To)
	switch c := (api.Condition{Type: api.ConditionRolledOut, Reason: s.Rollout.Phase}); s.Rollout.Phase {
	case api.RolloutDone:
		c.Status, c.Message = api.True, to+" gets all of the requests"
		r.set(f, now, c)
	case api.RolloutProgressing:
		n := s.Rollout.Shares[len(s.Rollout.Shares)-1].Percent
		c.Status, c.Message = api.Unknown, fmt.Sprintf("%s gets %d %% of the requests", to, n)
		r.set(f, now, c)
	case api.RolloutRolledBack:
		c.Status, c.Message = api.False, to+" was rolled back: "+s.Rollout.Message
		c.Hint = "hearth logs NAME shows its last words; deploy a better one, or send requests to it by spec.traffic"
		r.set(f, now, c)
		if u, _ := s.Conditions.Get(api.ConditionUpdated); u.Status == api.True && s.LatestReadyRevision == s.Rollout.To {
			u.Status, u.Reason, u.Message, u.Hint = api.False, api.RolloutRolledBack, c.Message, c.Hint
			s.Conditions = s.Conditions.Set(u, now)
			ready, _ := s.Conditions.Get(api.ConditionReady)
			ready.Reason, ready.Message = api.RolloutRolledBack, display(s.Rollout.Shares[0].Revision)+" keeps serving; "+c.Message
			s.Conditions = s.Conditions.Set(ready, now)
		}
	}
}

func (r *Reconciler) set(f *api.Function, now time.Time, c api.Condition) {
	c.ObservedGeneration = f.Metadata.Generation
	f.Status.Conditions = f.Status.Conditions.Set(c, now)
}

func without(cs api.Conditions, t string) api.Conditions {
	return slices.DeleteFunc(cs, func(c api.Condition) bool { return c.Type == t })
}
