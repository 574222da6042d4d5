package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/rollout"
	"github.com/hearth-run/hearth/core/store"
)

// attempt is one try to bring a function's newest spec into service.
type attempt struct {
	r       *Reconciler
	k       store.Key
	f       *api.Function
	runtime *api.RuntimeSpec // the Runtime object, if there is one
	started time.Time
	built   Built
	retry   bool // the same was tried before: say nothing new unless it is new
}

// function is the loop of functions.
func (r *Reconciler) function(ctx context.Context, k store.Key) (time.Duration, error) {
	f, err := read[api.Function](ctx, r.cfg.Store, k)
	if err != nil {
		return 0, err
	}
	if f == nil {
		r.work.forget(k)
		return 0, nil
	}
	f.Metadata.Namespace, f.Metadata.Name = k.Namespace, k.Name
	if f.Metadata.DeletionTimestamp != nil {
		return 0, nil
	}
	if err := r.repair(ctx, k, f); err != nil {
		return 0, err
	}
	rt, err := r.runtimeOf(ctx, k.Namespace, f.Spec.Runtime)
	if err != nil {
		return 0, err
	}
	full := printOf(f) + "/" + runtimePrint(rt)
	was := r.work.get(k)
	if settled(f, was, full) {
		return 0, r.prune(ctx, k, f)
	}
	if was.failed && was.tried == full {
		return 0, nil
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	r.work.begin(k, printOf(f), full, cancel)
	defer r.work.end(k)
	a := &attempt{r: r, k: k, f: f, runtime: rt, started: time.Now(), retry: was.tried == full}
	err = a.run(inner)
	switch {
	case ctx.Err() != nil:
		return 0, nil
	case inner.Err() != nil:
		return 0, nil // a newer spec took over, which is queued, or it is gone
	case err != nil:
		return 0, err
	}
	again := r.work.get(k)
	if !again.failed && again.fails > 0 {
		return retryWait(again.fails), nil
	}
	return 0, nil
}

// retryWait is the time until a function that failed is tried again: the reason
// may be elsewhere, such as a database that is down while the code loads.
func retryWait(fails int) time.Duration {
	return min(5*time.Second<<min(fails-1, 10), 10*time.Minute)
}

// settled reports whether f's newest spec serves.
func settled(f *api.Function, was working, full string) bool {
	s := f.Status
	updated, _ := s.Conditions.Get(api.ConditionUpdated)
	proven := updated.Status == api.True || updated.Reason == api.RolloutRolledBack // it serves, or was found not to
	if s.ObservedGeneration != f.Metadata.Generation || !proven || s.Build == nil ||
		s.Build.Rebuild != f.Metadata.Annotations[api.AnnotationRebuild] || was.tried != "" && was.tried != full {
		return false
	}
	// What repair found instead of a deleted revision is not the newest.
	return s.LatestReadyRevision != "" && s.LatestReadyRevision == s.LatestRevision
}

func (r *Reconciler) runtimeOf(ctx context.Context, namespace, name string) (*api.RuntimeSpec, error) {
	if name == "" {
		return nil, nil
	}
	o, err := read[api.Runtime](ctx, r.cfg.Store, store.Key{Resource: api.Runtimes, Namespace: namespace, Name: name})
	if o == nil || err != nil {
		return nil, err
	}
	return &o.Spec, nil
}

// runtimePrint is what of a Runtime decides what is built and whether it loads.
// Its pool does not.
func runtimePrint(s *api.RuntimeSpec) string {
	if s == nil {
		return ""
	}
	c := *s
	c.Pool, c.StartTimeout = nil, nil
	return hashOf(c)
}

func hashOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("hash of " + err.Error()) // our own types always marshal
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// run goes from spec to service. It returns an error only for what is the
// host's fault and worth trying again at once; all else ends in the status.
func (a *attempt) run(ctx context.Context) error {
	r := a.r
	if err := a.announce(ctx); err != nil {
		return err
	}
	if check := r.cfg.References; check != nil {
		if err := check(ctx, a.f); err != nil {
			return a.failed(ctx, stageReferences, err)
		}
	}
	built, err := r.cfg.Build(ctx, BuildRequest{Namespace: a.k.Namespace, Function: *a.f, Runtime: a.f.Spec.Runtime, Spec: a.runtime})
	a.built = built
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return a.failed(ctx, stageBuild, err)
	}
	rev, made, err := a.revision(ctx)
	if err != nil {
		return err
	}
	if made {
		r.events.Normal(ctx, reference("Function", &a.f.Metadata), "Built", "%s built in %s", rev.Metadata.Name, built.Duration.Round(time.Millisecond))
	}
	if !rev.Status.Conditions.Ready() {
		if err := a.check(ctx, rev); err != nil {
			if ctx.Err() != nil {
				if r.cfg.Retire != nil {
					r.cfg.Retire(rev) // what starts would go on to its verdict, which nobody wants any more
				}
				return ctx.Err()
			}
			return a.failedRevision(ctx, rev, err)
		}
	}
	return a.serve(ctx, rev)
}

// check starts an instance of rev and writes what came of it.
func (a *attempt) check(ctx context.Context, rev *api.Revision) error {
	if a.r.cfg.Check != nil {
		err := telling(ctx, func(ctx context.Context) error { return a.r.cfg.Check(ctx, rev) }, waiting(a.r.cfg.Waits, rev), func(s startStage) { a.starting(ctx, rev, s) })
		if err != nil {
			return err
		}
	}
	return a.r.revisionStatus(ctx, revisionKey(a.k.Namespace, rev.Metadata.Name), func(v *api.Revision) bool {
		v.Status.Conditions = v.Status.Conditions.Set(api.Condition{
			Type: api.ConditionReady, Status: api.True, Reason: "Loaded", Message: "the code loads", ObservedGeneration: v.Metadata.Generation,
		}, time.Now())
		return true
	})
}

// announce writes that the newest spec is being worked on.
func (a *attempt) announce(ctx context.Context) error {
	if a.retry {
		return nil
	}
	return a.write(ctx, func(f *api.Function) {
		s := &f.Status
		now := time.Now()
		s.ObservedGeneration = f.Metadata.Generation
		s.URL = a.url(f)
		s.Build = &api.BuildInfo{Phase: "Running", Started: api.NewTime(now), Rebuild: f.Metadata.Annotations[api.AnnotationRebuild]}
		reason, source, spec, first := "Building", "the source is being built", "the newest spec is being built", "the first revision is being built"
		if f.Spec.Source.Image != "" {
			const what = "the image is looked up"
			reason, source, spec, first = "Resolving", what, what, what
		}
		a.set(f, api.Condition{Type: api.ConditionBuilt, Status: api.Unknown, Reason: reason, Message: source})
		a.set(f, api.Condition{Type: api.ConditionUpdated, Status: api.Unknown, Reason: reason, Message: spec})
		if s.LatestReadyRevision == "" {
			a.set(f, api.Condition{Type: api.ConditionReady, Status: api.Unknown, Reason: reason, Message: first})
		}
		a.isolated(f)
	})
}

func (a *attempt) url(f *api.Function) string {
	if a.r.cfg.URL == nil || f.Spec.Visibility == "private" {
		return ""
	}
	return a.r.cfg.URL(a.k.Namespace, a.k.Name)
}

// serve makes rev the revision that serves.
func (a *attempt) serve(ctx context.Context, rev *api.Revision) error {
	name := rev.Metadata.Name
	moved := false
	there, err := a.r.there(ctx, a.k, a.f)
	if err != nil {
		return err
	}
	var before, after *api.RolloutStatus
	err = a.write(ctx, func(f *api.Function) {
		s := &f.Status
		now := time.Now()
		f.Metadata.Namespace, f.Metadata.Name = a.k.Namespace, a.k.Name
		if before = s.Rollout; f.Spec.Rollout != nil && before == nil { // what served so far is what it starts from
			a.r.assign(f, there, rollout.Seen{Since: now}, now)
		}
		moved = s.LatestReadyRevision != name
		s.ObservedGeneration = f.Metadata.Generation
		s.LatestRevision, s.LatestReadyRevision, s.URL = name, name, a.url(f)
		s.RevisionCount = max(s.RevisionCount, rev.Spec.Number)
		a.buildInfo(f, "Succeeded", "")
		a.set(f, api.Condition{Type: api.ConditionBuilt, Status: api.True, Reason: "Built"})
		a.set(f, api.Condition{Type: api.ConditionUpdated, Status: api.True, Reason: "Serving", Message: display(name) + " is the newest spec"})
		a.set(f, api.Condition{Type: api.ConditionReady, Status: api.True, Reason: "Serving", Message: display(name) + " serves"})
		if f.Spec.Rollout != nil || len(f.Spec.Traffic) > 0 || s.Rollout != nil || len(s.Traffic) > 0 {
			a.r.assign(f, there, rollout.Seen{Since: now}, now)
		}
		after = s.Rollout
		a.isolated(f)
	})
	if err != nil {
		return err
	}
	a.r.work.change(a.k, func(c *working) { c.fails = 0 })
	if moved {
		a.r.events.Normal(ctx, reference("Function", &a.f.Metadata), "RevisionReady", "%s serves", display(name))
		a.r.tell(ctx, a.f, before, after)
	}
	return a.r.prune(ctx, a.k, nil)
}

// buildInfo writes what came of the build. Another try with the same outcome
// leaves what the first one wrote.
func (a *attempt) buildInfo(f *api.Function, phase, message string) {
	b, was := a.built, f.Status.Build
	if a.retry && was != nil && was.Phase == phase && was.Message == message && was.Artifact == b.Artifact {
		return
	}
	i := &api.BuildInfo{Phase: phase, Started: api.NewTime(a.started), Source: b.Source, Artifact: b.Artifact, Log: b.Log, Message: message,
		Rebuild: a.f.Metadata.Annotations[api.AnnotationRebuild]}
	if b.Duration > 0 {
		i.Duration = &api.Duration{Duration: b.Duration.Round(time.Millisecond)}
	}
	f.Status.Build = i
}

// write changes the function's status, unless the spec has moved on meanwhile.
func (a *attempt) write(ctx context.Context, change func(*api.Function)) error {
	return a.r.functionStatus(ctx, a.k, func(f *api.Function) bool {
		if printOf(f) != printOf(a.f) || f.Metadata.DeletionTimestamp != nil {
			return false
		}
		change(f)
		return true
	})
}

// set puts a condition about the newest spec.
func (a *attempt) set(f *api.Function, c api.Condition) {
	c.ObservedGeneration = f.Metadata.Generation
	f.Status.Conditions = f.Status.Conditions.Set(c, time.Now())
}

// isolated writes what the host's sandbox lacks.
func (a *attempt) isolated(f *api.Function) {
	if a.r.cfg.Findings == nil {
		return
	}
	c := api.Condition{Type: api.ConditionIsolated, Status: api.True, Reason: "Complete"}
	for _, x := range a.r.cfg.Findings() {
		if x.OK {
			continue
		}
		c.Status, c.Reason, c.Hint = api.False, "Incomplete", "hearth doctor shows what is missing and how to mend it"
		if c.Message != "" {
			c.Message += "; "
		}
		c.Message += x.Check + ": " + x.Detail
	}
	a.set(f, c)
}
