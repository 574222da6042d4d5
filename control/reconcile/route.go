package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// route is the loop of routes.
func (r *Reconciler) route(ctx context.Context, k store.Key) (time.Duration, error) {
	self, all := r.index.rivals(k)
	if self == nil {
		return 0, nil
	}
	admitted := api.Condition{Type: api.ConditionAdmitted, Status: api.True, Reason: "Admitted"}
	if w := api.RouteLosers(all)[self]; w != nil {
		admitted.Status, admitted.Reason = api.False, "Conflict"
		// A tenant does not learn the names of another's objects.
		admitted.Message = "an older route of another tenant has the same host, path and methods"
		if w.Metadata.Namespace == k.Namespace {
			admitted.Message = fmt.Sprintf("route %s is older and has the same host, path and methods", w.Metadata.Name)
		}
		admitted.Hint = "give this route another host, path or method"
	}
	ready, err := r.routeReady(ctx, k.Namespace, self)
	if err != nil {
		return 0, err
	}
	if admitted.Status == api.False {
		ready = api.Condition{Type: api.ConditionReady, Status: api.False, Reason: admitted.Reason, Message: admitted.Message, Hint: admitted.Hint}
	}
	return 0, writeStatus(ctx, r.cfg.Store, k, func(o *api.Route) *api.RouteStatus { return &o.Status }, func(o *api.Route) bool {
		o.Metadata.Namespace, o.Metadata.Name = k.Namespace, k.Name
		now := time.Now()
		o.Status.ObservedGeneration = o.Metadata.Generation
		for _, c := range []api.Condition{admitted, ready} {
			c.ObservedGeneration = o.Metadata.Generation
			o.Status.Conditions = o.Status.Conditions.Set(c, now)
		}
		if r.cfg.RouteURL != nil {
			o.Status.URL = r.cfg.RouteURL(o)
		}
		return true
	})
}

// routeReady looks at every target that gets a share of the requests.
func (r *Reconciler) routeReady(ctx context.Context, namespace string, o *api.Route) (api.Condition, error) {
	no := func(reason, hint, format string, args ...any) (api.Condition, error) {
		return api.Condition{Type: api.ConditionReady, Status: api.False, Reason: reason, Message: fmt.Sprintf(format, args...), Hint: hint}, nil
	}
	for _, t := range o.Spec.Targets {
		if t.Weight != nil && *t.Weight == 0 {
			continue
		}
		if t.Revision != "" {
			rev, err := read[api.Revision](ctx, r.cfg.Store, revisionKey(namespace, t.Revision))
			switch {
			case err != nil:
				return api.Condition{}, err
			case rev == nil:
				return no("TargetMissing", "hearth get revisions lists what there is", "revision %s is not there", t.Revision)
			case !rev.Status.Conditions.Ready():
				return no("TargetNotReady", "hearth describe revision/"+t.Revision, "revision %s is not ready", t.Revision)
			}
			continue
		}
		f, err := read[api.Function](ctx, r.cfg.Store, functionKey(namespace, t.Function))
		switch {
		case err != nil:
			return api.Condition{}, err
		case f == nil:
			return no("TargetMissing", "hearth get functions lists what there is", "function %s is not there", t.Function)
		case f.Status.LatestReadyRevision == "":
			return no("TargetNotReady", "hearth describe function/"+t.Function, "function %s has no revision that works", t.Function)
		}
	}
	return api.Condition{Type: api.ConditionReady, Status: api.True, Reason: "Serving"}, nil
}

// runtime is the loop of runtimes.
func (r *Reconciler) runtime(ctx context.Context, k store.Key) (time.Duration, error) {
	o, err := read[api.Runtime](ctx, r.cfg.Store, k)
	if o == nil || err != nil {
		return 0, err
	}
	o.Metadata.Namespace, o.Metadata.Name = k.Namespace, k.Name
	c := api.Condition{Type: api.ConditionReady, Status: api.True, Reason: "Found"}
	version, again := "", time.Duration(0)
	if r.cfg.Probe != nil {
		version, err = r.cfg.Probe(ctx, o)
		if ctx.Err() != nil {
			return 0, nil
		}
		if err != nil {
			e := api.AsError(err)
			c.Status, c.Reason, c.Message, c.Hint = api.False, "RuntimeMissing", e.Message, e.Help()
			again = time.Minute // someone may install it
		}
	}
	generation := o.Metadata.Generation
	c.ObservedGeneration = generation
	return again, writeStatus(ctx, r.cfg.Store, k, func(o *api.Runtime) *api.RuntimeStatus { return &o.Status }, func(o *api.Runtime) bool {
		if o.Metadata.Generation != generation {
			return false // comes again
		}
		o.Status.ObservedGeneration, o.Status.Version = generation, version
		o.Status.Conditions = o.Status.Conditions.Set(c, time.Now())
		return true
	})
}
