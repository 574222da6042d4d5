package reconcile

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
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
	if ready.Status == api.True {
		if ready, err = r.certificate(ctx, k.Namespace, self); err != nil {
			return 0, err
		}
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
	targets := o.Spec.Targets
	if m := o.Spec.Mirror; m != nil {
		targets = append(slices.Clip(targets), api.RouteTarget{Function: m.Function, Revision: m.Revision})
	}
	for _, t := range targets {
		if t.Weight != nil && *t.Weight == 0 && t.Tag == "" {
			continue
		}
		if t.Revision != "" {
			rev, err := read[api.Revision](ctx, r.cfg.Store, revisionKey(namespace, t.Revision))
			switch {
			case err != nil:
				return api.Condition{}, err
			case rev == nil:
				return no("TargetMissing", "hearth get revisions lists what there is", "revision %s is not there", t.Revision)
			case rev.Metadata.Annotations[api.AnnotationReserve] == "true" && rev.Spec.Owner == "":
				if err := r.reserve(ctx, revisionKey(namespace, t.Revision), false); err != nil {
					return api.Condition{}, err
				}
			}
			if !rev.Status.Conditions.Ready() {
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

// certificate looks at the Secret a route names for its hosts.
func (r *Reconciler) certificate(ctx context.Context, namespace string, o *api.Route) (api.Condition, error) {
	ready := api.Condition{Type: api.ConditionReady, Status: api.True, Reason: "Serving"}
	t := o.Spec.TLS
	if t == nil || t.Secret == "" {
		return ready, nil
	}
	s, err := read[api.Secret](ctx, r.cfg.Store, secretKey(namespace, t.Secret))
	if err != nil {
		return ready, err
	}
	ready.Hint = fmt.Sprintf("kubectl create secret tls %s -n %s --cert=FILE --key=FILE", t.Secret, namespace)
	ready.Status = api.False
	switch {
	case s == nil:
		ready.Reason, ready.Message = "CertificateMissing", fmt.Sprintf("Secret %s is not there", t.Secret)
		return ready, nil
	case s.Type != api.SecretTypeTLS:
		ready.Reason, ready.Message = "CertificateInvalid", fmt.Sprintf("Secret %s has the type %q, not %s", t.Secret, s.Type, api.SecretTypeTLS)
		return ready, nil
	}
	c, err := tls.X509KeyPair(s.Data[api.SecretTLSCert], s.Data[api.SecretTLSKey])
	if err != nil { // whose words may quote the key
		ready.Reason, ready.Message = "CertificateInvalid", fmt.Sprintf("Secret %s has no certificate in %s with its key in %s", t.Secret, api.SecretTLSCert, api.SecretTLSKey)
		return ready, nil
	}
	for _, h := range api.RouteHosts(&o.Spec) {
		if c.Leaf.VerifyHostname(strings.Replace(h, "*", "any", 1)) != nil {
			ready.Reason, ready.Message = "CertificateInvalid", fmt.Sprintf("the certificate in Secret %s is not for %s but for %s", t.Secret, h, strings.Join(c.Leaf.DNSNames, ", "))
			return ready, nil
		}
	}
	if time.Now().After(c.Leaf.NotAfter) {
		ready.Reason, ready.Message = "CertificateExpired", fmt.Sprintf("the certificate in Secret %s expired on %s", t.Secret, c.Leaf.NotAfter.UTC().Format(time.DateOnly))
		return ready, nil
	}
	return api.Condition{Type: api.ConditionReady, Status: api.True, Reason: "Serving"}, nil
}

func secretKey(namespace, name string) store.Key {
	return store.Key{Resource: api.Secrets, Namespace: namespace, Name: name}
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
