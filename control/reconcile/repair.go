package reconcile

import (
	"context"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// repairOne is the loop of repairs: a build that takes long must not keep a
// function from what still works.
func (r *Reconciler) repairOne(ctx context.Context, k store.Key) (time.Duration, error) {
	f, err := read[api.Function](ctx, r.cfg.Store, k)
	if f == nil || err != nil {
		return 0, err
	}
	return 0, r.repair(ctx, k, f)
}

// repair deals with a serving revision that someone deleted: the newest other
// one that works takes its place at once, whatever becomes of the newest spec.
func (r *Reconciler) repair(ctx context.Context, k store.Key, f *api.Function) error {
	gone := f.Status.LatestReadyRevision
	if gone == "" {
		return nil
	}
	if rev, err := read[api.Revision](ctx, r.cfg.Store, revisionKey(k.Namespace, gone)); rev != nil || err != nil {
		return err
	}
	next := ""
	for _, i := range r.index.revisionsOf(k) {
		rev, err := read[api.Revision](ctx, r.cfg.Store, revisionKey(k.Namespace, i.name))
		if err != nil {
			return err
		}
		if rev != nil && ownerOf(rev) == f.Metadata.UID && rev.Status.Conditions.Ready() {
			next = i.name
			break
		}
	}
	err := r.functionStatus(ctx, k, func(f *api.Function) bool {
		s := &f.Status
		if s.LatestReadyRevision != gone {
			return false
		}
		s.LatestReadyRevision = next
		ready, _ := s.Conditions.Get(api.ConditionReady)
		ready.Type, ready.Status, ready.Reason = api.ConditionReady, api.False, "RevisionGone"
		ready.Message, ready.Hint = display(gone)+" served and was deleted; no other revision works", "hearth deploy makes a new one"
		if next != "" {
			ready.Status, ready.Reason, ready.Hint = api.True, "ServingPrevious", ""
			ready.Message = display(next) + " serves, because " + display(gone) + " was deleted"
		}
		s.Conditions = s.Conditions.Set(ready, time.Now())
		if u, _ := s.Conditions.Get(api.ConditionUpdated); u.Status == api.True {
			u.Status, u.Reason, u.Message = api.Unknown, "RevisionGone", display(gone)+" was deleted; it is made again"
			s.Conditions = s.Conditions.Set(u, time.Now())
		}
		return true
	})
	if err != nil {
		return err
	}
	f.Status.LatestReadyRevision = next
	return nil
}
