package reconcile

import (
	"context"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// startTimeout is how long a revision may take to get ready unless it says
// something else.
const startTimeout = 10 * time.Minute

// check is the loop of native revisions made of foreign objects: one instance
// must start before a revision counts as ready. A revision that fails is tried
// again, ever more rarely: what it waits for may come.
func (f *Foreign) check(ctx context.Context, k store.Key) (wait time.Duration, err error) {
	r, there := f.mirror.Get(k)
	if !there {
		return 0, nil
	}
	rev := nativeRevision(r)
	if rev == nil || rev.Spec.Owner == "" || rev.Metadata.DeletionTimestamp != nil || rev.Status.Conditions.Ready() {
		return 0, nil
	}
	if was, _ := rev.Status.Conditions.Get(api.ConditionReady); was.Status == api.False && rev.Metadata.Annotations[api.AnnotationReserve] == "true" {
		return 0, nil // nobody waits for it; a route to it takes the annotation away
	}
	if rest := f.soft.rest(k, time.Now()); rest > 0 {
		return rest, nil // it comes here by its own change of status, too
	}
	c := api.Condition{Type: api.ConditionReady, Status: api.True, Reason: "Started", Message: "an instance started"}
	if a := rev.Spec.Scale.Auto; a != nil && a.Initial != nil && *a.Initial == 0 {
		c.Reason, c.Message = "NotStarted", "it starts with the first call"
	} else if err := f.start(ctx, k, rev); err != nil {
		if ctx.Err() != nil {
			return 0, nil
		}
		c = verdictOn(rev, err)
	}
	c.ObservedGeneration = rev.Metadata.Generation
	if c.Status == api.False {
		wait = f.soft.failed(k, time.Now()) // before the status is seen
	}
	err = writeStatus(ctx, f.cfg.Store, k, func(v *api.Revision) *api.RevisionStatus { return &v.Status }, func(v *api.Revision) bool {
		if v.Metadata.UID != rev.Metadata.UID {
			return false
		}
		v.Status.Conditions = v.Status.Conditions.Set(c, time.Now())
		return true
	})
	if err != nil || c.Status == api.True {
		f.soft.succeeded(k)
		return 0, err
	}
	f.events.Warning(ctx, reference("Revision", &rev.Metadata), c.Reason, "%s", c.Message)
	return wait, nil
}

// late is how long after a revision's time the engine may take to say, with the
// program's last words, that it was not ready in time.
const late = 30 * time.Second

// start starts an instance of rev, within its time. It is given up when the
// revision goes.
func (f *Foreign) start(ctx context.Context, k store.Key, rev *api.Revision) error {
	if f.cfg.Check == nil {
		return nil
	}
	limit := rev.Spec.StartTimeout.Or(startTimeout)
	inner, cancel := context.WithTimeout(ctx, limit+late)
	defer cancel()
	f.soft.starting(k, cancel)
	defer f.soft.starting(k, nil)
	err := telling(inner, func(ctx context.Context) error { return f.cfg.Check(ctx, rev) }, waiting(f.cfg.Waits, rev), func(s startStage) {
		if err := sayStage(inner, f.cfg.Store, k, s); err != nil && inner.Err() == nil {
			f.failed(k, err)
		}
	})
	if err != nil && inner.Err() == context.DeadlineExceeded {
		return api.Errorf(api.CodeTimeout, "it was not ready within %s", (api.Duration{Duration: limit}).Text()).
			WithHint("what takes longer to start needs a longer time to get ready").WithCause(err)
	}
	return err
}

// verdictOn is the condition of a revision that does not start.
func verdictOn(rev *api.Revision, err error) api.Condition {
	e := api.AsError(err)
	c := api.Condition{Type: api.ConditionReady, Status: api.False, Reason: "StartFailed", Message: e.Message, Hint: e.HelpFor(rev.Spec.Function)}
	switch e.Code {
	case api.CodeTimeout:
		c.Reason = "NeverReady"
	case api.CodeNotFound, api.CodeUnreachable, api.CodeUnauthorized, api.CodeForbidden, api.CodeChecksum, api.CodeUnsafeArchive:
		c.Reason = "ImageUnavailable" // all else that is missing says so itself
	}
	if e.Detail != "" {
		c.Message += "\n" + e.Detail
	}
	c.Message = cut(c.Message)
	return c
}
