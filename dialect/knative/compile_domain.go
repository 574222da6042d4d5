package knative

import (
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// domainMapping compiles a DomainMapping to a native route at its host, with
// the targets of the Route it refers to, which sees its own host.
func (s *step) domainMapping(o *DomainMapping) {
	if o == nil {
		return
	}
	c := s.conditions(o.Status.Conditions)
	defer func() {
		o.Status.Conditions = c.verdict(ConditionClaimed, ConditionResolved, ConditionIngress, ConditionCertificate)
		o.Status.ObservedGeneration = o.Metadata.Generation
		s.self.set("status", o.Status)
	}()
	url := s.d.c.URL(s.k.Name)
	auto := s.certificates(o.Metadata.Annotations, c)
	switch {
	case o.Spec.TLS != nil && o.Spec.TLS.SecretName != "":
		url, auto = "https://"+s.k.Name, false
		c.yes(ConditionCertificate)
	case auto:
		url = s.d.c.SecureURL(s.k.Name)
	}
	o.Status.URL, o.Status.Address = url, &Address{URL: url}
	_, d := get[api.Route](s, api.Routes, nativeDomain(s.k.Name))
	if !s.claimed(c) {
		if d != nil && d.controller() == o.Metadata.UID {
			s.out.Delete = append(s.out.Delete, d.rec) // the host is another's
		}
		return
	}
	ref := o.Spec.Ref
	if k := ref.Kind; k != "Service" && k != "Route" || ref.Namespace != "" && ref.Namespace != s.k.Namespace {
		c.no(ConditionResolved, "ResolveFailed", "%s %q is no Service or Route of namespace %s", k, ref.Name, s.k.Namespace)
		return
	}
	rt, _ := get[Route](s, Routes, ref.Name)
	target, _ := get[api.Route](s, api.Routes, nativeRoute(ref.Name))
	switch {
	case rt == nil:
		c.no(ConditionResolved, "ResolveFailed", "services.serving.knative.dev %q not found", ref.Name)
		return
	case target == nil:
		c.unknown(ConditionResolved, "ResolveFailed", "address not set for %s %q", ref.Kind, ref.Name)
		return
	}
	c.yes(ConditionResolved)
	spec := api.RouteSpec{
		Host: s.k.Name, Prefix: "/", TagHeader: target.Spec.TagHeader,
		RequestHeaders: &api.HeaderRules{Set: map[string]string{"Host": s.inside(ref.Name)}},
	}
	for _, t := range target.Spec.Targets {
		if t.Tag, t.TagWeight = "", nil; t.Weight == nil || *t.Weight > 0 {
			spec.Targets = append(spec.Targets, t)
		}
	}
	if t := o.Spec.TLS; t != nil && t.SecretName != "" {
		spec.TLS = &api.RouteTLS{Secret: t.SecretName}
	} else if auto {
		spec.TLS = &api.RouteTLS{ACME: true, Redirect: s.redirects(o.Metadata.Annotations)}
	}
	native, d := get[api.Route](s, api.Routes, nativeDomain(s.k.Name))
	if d == nil {
		d = create(s.key(api.Routes, nativeDomain(s.k.Name)), api.GroupVersion, "Route")
	}
	stale := s.native(d, spec, s.owner(APIVersionDomain, "DomainMapping"))
	s.put(d)
	s.ingress(native, stale, false, c)
}

// certificates reports whether the hosts of an object with these annotations get
// certificates by themselves, and writes the condition about them.
func (s *step) certificates(annotations map[string]string, c *conditions) bool {
	_, off, _ := disableTLS(annotations)
	switch {
	case !s.set.autoTLS || strings.EqualFold(off, "true"):
		c.set(ConditionCertificate, api.True, "TLSNotEnabled", "external-domain-tls is not enabled", "")
	case !s.d.c.ACME:
		c.set(ConditionCertificate, api.True, "TLSNotEnabled", "external-domain-tls is enabled, but hearth up was told of no certificate authority (--acme)", "")
	default:
		c.yes(ConditionCertificate)
		return true
	}
	return false
}

// redirects reports whether plain HTTP is sent to HTTPS.
func (s *step) redirects(annotations map[string]string) bool {
	_, v, _ := httpProtocol(annotations)
	return strings.EqualFold(v, "redirected") || v == "" && s.set.redirect
}

// claimed sees to it that the host belongs to the mapping's namespace.
func (s *step) claimed(c *conditions) bool {
	k := store.Key{Resource: DomainClaims, Name: s.k.Name}
	r, there := s.v.Get(k)
	if !there {
		if !s.set.autoClaim {
			c.no(ConditionClaimed, "DomainClaimFailed", "no ClusterDomainClaim found for domain %q; make one, or set autocreate-cluster-domain-claims in the ConfigMap config-network", s.k.Name)
			return false
		}
		d := create(k, APIVersionNetwork, "ClusterDomainClaim")
		delete(d.meta, "namespace")
		d.annotate(annotationClaimedFor, s.k.Namespace)
		d.set("spec", DomainClaimSpec{Namespace: s.k.Namespace})
		s.put(d)
		c.yes(ConditionClaimed)
		return true
	}
	claim := decode[DomainClaim](r)
	if claim == nil || claim.Spec.Namespace != s.k.Namespace {
		c.no(ConditionClaimed, "DomainAlreadyClaimed", "The domain name is already in use by another DomainMapping")
		return false
	}
	c.yes(ConditionClaimed)
	return true
}

// annotationClaimedFor is on a claim that was made for a DomainMapping, with its
// namespace.
const annotationClaimedFor = "hearth.run/claimed-for"

// domainClaim removes a claim that was made for a DomainMapping which is gone. One
// that has been given to another namespace since, or was made by hand, stays.
func (s *step) domainClaim(o *DomainClaim) {
	if o == nil || o.Spec.Namespace == "" || o.Metadata.Annotations[annotationClaimedFor] != o.Spec.Namespace {
		return
	}
	if _, there := s.v.Get(store.Key{Resource: DomainMappings, Namespace: o.Spec.Namespace, Name: s.k.Name}); !there {
		s.out.Delete = append(s.out.Delete, s.self.rec)
	}
}
