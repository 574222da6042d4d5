package knative

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// localDomain ends the names inside a cluster.
const localDomain = "svc.cluster.local"

// Names of native routes have a dot, so that none written by hand has them.
func nativeRoute(name string) string  { return name + ".knative" }
func nativeShort(name string) string  { return name + ".knative-short" }
func nativeDomain(name string) string { return name + ".knative-domain" }

// nativeTag begins the names of the routes for tags at hosts of their own.
func nativeTag(name string) string { return name + ".knative-tag-" }

// inside is the host of a Route in its cluster.
func (s *step) inside(name string) string { return name + "." + s.k.Namespace + "." + localDomain }

// route compiles a Route to a native one at its hosts, with placeholders for
// their names, and projects what became of it. Until every target can be
// served, the native route stays as it is.
func (s *step) route(o *Route) {
	if o == nil {
		return
	}
	c := s.conditions(o.Status.Conditions)
	defer func() {
		o.Status.Conditions = c.verdict(ConditionAssigned, ConditionIngress, ConditionCertificate)
		o.Status.ObservedGeneration = o.Metadata.Generation
		s.self.set("status", o.Status)
	}()
	domain := or(s.set.domainOf(o.Metadata.Labels), s.d.c.Domain)
	// A domain for what is inside makes a Route local, too.
	local := o.Metadata.Labels[LabelVisibility] == VisibilityLocal || domain == localDomain
	auto := s.certificates(o.Metadata.Annotations, c) && !local
	host := s.set.hostOf(&o.Metadata, s.k.Name, domain)
	hostsOf := func(tag string) []string {
		name := s.set.tagName(tag, s.k.Name)
		inside := s.inside(name)
		hosts := []string{inside, strings.TrimSuffix(inside, ".cluster.local")}
		if !local {
			hosts = append([]string{s.set.hostOf(&o.Metadata, name, domain)}, hosts...)
		}
		return hosts
	}
	url := func(tag string) string {
		switch h := hostsOf(tag)[0]; {
		case local:
			return "http://" + h
		case s.set.https, auto:
			return s.d.c.SecureURL(h)
		default:
			return s.d.c.URL(h)
		}
	}
	o.Status.URL, o.Status.Address = url(""), &Address{URL: "http://" + s.inside(s.k.Name)}

	native, d := get[api.Route](s, api.Routes, nativeRoute(s.k.Name))
	effect := native != nil && native.Status.ObservedGeneration == native.Metadata.Generation && native.Status.Conditions.Ready()
	shares, rollouts, bad := s.traffic(o, d, effect)
	if bad != nil {
		c.set(ConditionAssigned, bad.status, bad.reason, bad.message, "")
		if native == nil {
			c.unknown(ConditionIngress, "", "")
		}
		return
	}
	c.yes(ConditionAssigned)
	if why := rolledBack(rollouts); why != "" {
		c.no(ConditionAssigned, "RolledBack", "%s", why)
	}
	o.Status.Traffic = nil
	for _, p := range shares {
		t := Target{RevisionName: p.revision, Tag: p.tag, LatestRevision: ptr(p.latest), Percent: ptr(int64(p.percent))}
		if p.tag != "" {
			t.URL = url(p.tag)
		}
		o.Status.Traffic = append(o.Status.Traffic, t)
	}

	spec := api.RouteSpec{Hosts: hostsOf(""), Prefix: "/", Targets: targets(shares), TagHeader: s.set.tagHeaderOf(shares)}
	if redirect := s.redirects(o.Metadata.Annotations); redirect || auto {
		spec.TLS = &api.RouteTLS{ACME: auto, Redirect: redirect}
	}
	if d == nil {
		if fn, _ := get[api.Function](s, api.Functions, s.k.Name); fn != nil && fn.Spec.Visibility != "private" && host == s.k.Name+"."+s.k.Namespace+"."+s.d.c.Domain && !local {
			c.no(ConditionIngress, "HostTaken", "There is an existing Function %q, which answers at %s.", s.k.Name, host)
			return
		}
		d = create(s.key(api.Routes, nativeRoute(s.k.Name)), api.GroupVersion, "Route")
	}
	stale := s.native(d, spec, s.owner(APIVersion, "Route"))
	moving := false
	for _, r := range rollouts {
		moving = moving || r.moving()
	}
	if state, err := json.Marshal(rollouts); err == nil && len(rollouts) > 0 {
		d.annotate(annotationRollout, string(state))
	}
	s.put(d)
	s.short(o, spec, domain, local)
	s.tagged(spec, shares, hostsOf)
	if !s.placeholders(o, shares, c) {
		return
	}
	s.ingress(native, stale, moving, c)
}

// native writes the spec of a native route and reports whether that makes its
// status an old one.
func (s *step) native(d *draft, spec api.RouteSpec, owner []api.OwnerReference) bool {
	d.setMeta("ownerReferences", owner)
	return d.stales("spec", spec)
}

// ingress projects whether the gateway has taken a native route.
func (s *step) ingress(native *api.Route, stale, moving bool, c *conditions) {
	if native == nil || stale || native.Status.ObservedGeneration != native.Metadata.Generation {
		if was, ok := c.old.Get(ConditionIngress); ok && moving && was.Reason == "RolloutInProgress" {
			return // each step of a rollout is a new spec
		}
		c.unknown(ConditionIngress, "IngressNotConfigured", "Ingress has not yet been reconciled.")
		return
	}
	ready, _ := native.Status.Conditions.Get(api.ConditionReady)
	switch {
	case ready.Status == api.False:
		c.no(ConditionIngress, or(ready.Reason, "NotReady"), "%s", ready.Message)
	case ready.Status != api.True:
		c.unknown(ConditionIngress, "Uninitialized", "Waiting for load balancer to be ready")
	case moving:
		c.unknown(ConditionIngress, "RolloutInProgress", "A gradual rollout of the latest revision(s) is in progress.")
	default:
		c.yes(ConditionIngress)
	}
}

func targets(shares []share) (out []api.RouteTarget) {
	for _, p := range shares {
		t := api.RouteTarget{Revision: p.revision, Weight: ptr(p.percent), Tag: p.tag}
		if p.own > 0 {
			t.TagWeight = ptr(p.own)
		}
		out = append(out, t)
	}
	return out
}

// short gives a Route of the default namespace the host NAME.DOMAIN, as
// functions have, unless a function has it. Nothing depends on it.
func (s *step) short(o *Route, spec api.RouteSpec, domain string, local bool) {
	_, d := get[api.Route](s, api.Routes, nativeShort(s.k.Name))
	fn, _ := get[api.Function](s, api.Functions, s.k.Name)
	if s.k.Namespace != api.DefaultNamespace || local || fn != nil {
		if d != nil && d.controller() == o.Metadata.UID {
			s.out.Delete = append(s.out.Delete, d.rec)
		}
		return
	}
	spec.Hosts = []string{s.k.Name + "." + domain}
	if d == nil {
		d = create(s.key(api.Routes, nativeShort(s.k.Name)), api.GroupVersion, "Route")
	}
	s.native(d, spec, s.owner(APIVersion, "Route"))
	s.put(d)
}

// tagged makes routes for the tags whose hosts are not those the gateway answers
// at anyway, TAG-HOST, as the templates of the administrator say, and removes those
// of others.
func (s *step) tagged(main api.RouteSpec, shares []share, hostsOf func(tag string) []string) {
	wanted := map[string]bool{}
	for _, p := range shares {
		name := nativeTag(s.k.Name) + p.tag
		if p.tag == "" || wanted[name] {
			continue
		}
		usual := make([]string, len(main.Hosts))
		for i, h := range main.Hosts {
			usual[i] = p.tag + "-" + h
		}
		hosts := hostsOf(p.tag)
		if slices.Equal(hosts, usual) {
			continue
		}
		wanted[name] = true
		spec := api.RouteSpec{Hosts: hosts, Prefix: "/", TagHeader: api.TagHeaderIgnored, TLS: main.TLS}
		for _, q := range shares {
			if q.tag == p.tag {
				spec.Targets = append(spec.Targets, api.RouteTarget{Revision: q.revision, Weight: ptr(or(q.own, 1))})
			}
		}
		_, d := get[api.Route](s, api.Routes, name)
		if d == nil {
			d = create(s.key(api.Routes, name), api.GroupVersion, "Route")
		}
		s.native(d, spec, s.owner(APIVersion, "Route"))
		s.put(d)
	}
	for _, r := range s.v.Owned(s.self.m.UID) {
		if r.Key.Resource == api.Routes && strings.HasPrefix(r.Key.Name, nativeTag(s.k.Name)) && !wanted[r.Key.Name] {
			s.out.Delete = append(s.out.Delete, r)
		}
	}
}

// placeholders makes the core Services a Route's names resolve by, and removes
// those of tags that are gone. It reports whether all of them are the Route's.
func (s *step) placeholders(o *Route, shares []share, c *conditions) bool {
	names := []string{s.k.Name}
	for _, p := range shares {
		if p.tag != "" {
			names = append(names, s.set.tagName(p.tag, s.k.Name))
		}
	}
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[name] = true
		_, d := get[CoreService](s, CoreServices, name)
		switch {
		case d == nil:
			d = create(s.key(CoreServices, name), "v1", "Service")
			s.event("Normal", "Created", "Created placeholder service %q", name)
		case d.controller() != o.Metadata.UID:
			c.no(ConditionIngress, "NotOwned", "There is an existing placeholder Service %q that we do not own.", name)
			return false
		}
		d.setMeta("labels", with(without(o.Metadata.Labels, LabelVisibility), LabelRoute, s.k.Name))
		d.setMeta("annotations", without(o.Metadata.Annotations, AnnotationLastApplied))
		d.setMeta("ownerReferences", s.owner(APIVersion, "Route"))
		d.set("spec", CoreServiceSpec{
			Type: "ExternalName", ExternalName: "gateway." + s.d.c.Domain, SessionAffinity: "None",
			Ports: []CorePort{{Name: "http2", Protocol: "TCP", Port: 80, TargetPort: "80"}},
		})
		s.put(d)
	}
	for _, r := range s.v.Owned(o.Metadata.UID) {
		if r.Key.Resource == CoreServices && !wanted[r.Key.Name] {
			s.out.Delete = append(s.out.Delete, r)
		}
	}
	return true
}
