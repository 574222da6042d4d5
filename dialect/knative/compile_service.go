package knative

import (
	"encoding/json"
	"maps"
)

// service compiles a Service to its Configuration and its Route, and projects
// what became of both.
func (s *step) service(o *Service) {
	if o == nil {
		return
	}
	c := s.conditions(o.Status.Conditions)
	defer func() {
		o.Status.Conditions = c.verdict(ConditionConfigurations, ConditionRoutes)
		o.Status.ObservedGeneration = o.Metadata.Generation
		s.self.set("status", o.Status)
	}()
	s.serviceConfiguration(o, c)
	if name := o.Spec.Template.Metadata.Name; name != "" && s.taken(o, name) {
		c.no(ConditionRoutes, "RevisionNameTaken", "The revision name %q is taken by a conflicting Revision, so traffic will not be migrated", name)
		return
	}
	s.serviceRoute(o, c)
}

func (s *step) serviceConfiguration(o *Service, c *conditions) {
	cfg, d := get[Configuration](s, Configurations, s.k.Name)
	switch {
	case d == nil:
		d = create(s.key(Configurations, s.k.Name), APIVersion, "Configuration")
		s.event("Normal", "Created", "Created Configuration %q", s.k.Name)
	case d.controller() != o.Metadata.UID:
		c.no(ConditionConfigurations, "NotOwned", "There is an existing Configuration %q that we do not own.", s.k.Name)
		return
	}
	annotations := without(o.Metadata.Annotations, AnnotationLastApplied, AnnotationRolloutDuration)
	d.setMeta("labels", with(o.Metadata.Labels, LabelService, s.k.Name, LabelServiceUID, o.Metadata.UID))
	d.setMeta("annotations", annotations)
	d.setMeta("ownerReferences", s.owner(APIVersion, "Service"))
	stale := d.stales("spec", map[string]json.RawMessage{"template": s.rawSpec("template")})
	s.put(d)
	switch {
	case cfg == nil:
		c.unknown(ConditionConfigurations, "", "")
	case stale || cfg.Status.ObservedGeneration != cfg.Metadata.Generation:
		c.unknown(ConditionConfigurations, "OutOfDate", "The Configuration is still working to reflect the latest desired specification.")
	default:
		o.Status.LatestCreatedRevisionName = cfg.Status.LatestCreatedRevisionName
		o.Status.LatestReadyRevisionName = cfg.Status.LatestReadyRevisionName
		c.child(ConditionConfigurations, cfg.Status.Conditions)
	}
}

// stales sets a field of an object that is there and reports whether that makes
// its status one of an older generation.
func (d *draft) stales(field string, v any) bool {
	before := d.changed
	d.changed = false
	d.set(field, v)
	stale := d.changed && d.rec.Revision != 0
	d.changed = d.changed || before
	return stale
}

// rawSpec is a field of the spec as it was written.
func (s *step) rawSpec(field string) json.RawMessage {
	var spec map[string]json.RawMessage
	_ = json.Unmarshal(s.self.top["spec"], &spec) // admission saw to it
	if spec[field] == nil {
		return json.RawMessage("{}")
	}
	return spec[field]
}

// taken reports whether the name wanted for the next revision is another's.
func (s *step) taken(o *Service, name string) bool {
	_, rev := get[Revision](s, Revisions, name)
	if rev == nil {
		return false
	}
	cfg, _ := get[Configuration](s, Configurations, s.k.Name)
	var t struct {
		Spec json.RawMessage `json:"spec"`
	}
	_ = json.Unmarshal(s.rawSpec("template"), &t)
	return cfg == nil || rev.controller() != cfg.Metadata.UID || !equal(rev.top["spec"], t.Spec)
}

func (s *step) serviceRoute(o *Service, c *conditions) {
	rt, d := get[Route](s, Routes, s.k.Name)
	switch {
	case d == nil:
		d = create(s.key(Routes, s.k.Name), APIVersion, "Route")
		s.event("Normal", "Created", "Created Route %q", s.k.Name)
	case d.controller() != o.Metadata.UID:
		c.no(ConditionRoutes, "NotOwned", "There is an existing Route %q that we do not own.", s.k.Name)
		return
	}
	d.setMeta("labels", with(o.Metadata.Labels, LabelService, s.k.Name))
	d.setMeta("annotations", without(o.Metadata.Annotations, AnnotationLastApplied))
	d.setMeta("ownerReferences", s.owner(APIVersion, "Service"))
	traffic := make([]Target, 0, len(o.Spec.Traffic))
	for _, t := range o.Spec.Traffic {
		if t.RevisionName == "" {
			t.ConfigurationName = s.k.Name
		}
		traffic = append(traffic, t)
	}
	if len(traffic) == 0 {
		traffic = []Target{{ConfigurationName: s.k.Name, LatestRevision: ptr(true), Percent: ptr(int64(100))}}
	}
	stale := d.stales("spec", RouteSpec{Traffic: traffic})
	s.put(d)
	switch {
	case rt == nil:
		c.unknown(ConditionRoutes, "", "")
		return
	case stale || rt.Status.ObservedGeneration != rt.Metadata.Generation:
		c.unknown(ConditionRoutes, "OutOfDate", "The Route is still working to reflect the latest desired specification.")
		return
	}
	o.Status.URL, o.Status.Address, o.Status.Traffic = rt.Status.URL, rt.Status.Address, rt.Status.Traffic
	c.child(ConditionRoutes, rt.Status.Conditions)
	if rt.Status.Conditions.Ready() && !migrated(o, rt) {
		c.unknown(ConditionRoutes, "TrafficNotMigrated", "Traffic is not yet migrated to the latest revision.")
	}
}

// migrated reports whether every target that follows the latest revision has it.
func migrated(o *Service, rt *Route) bool {
	latest := o.Status.LatestReadyRevisionName
	for _, t := range rt.Status.Traffic {
		if t.LatestRevision != nil && *t.LatestRevision && t.RevisionName == latest {
			return true
		}
	}
	for _, t := range rt.Spec.Traffic {
		if t.RevisionName == "" {
			return false
		}
	}
	return true
}

// with is m and the pairs.
func with(m map[string]string, pairs ...string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]string{}
	}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// without is m without the names.
func without(m map[string]string, names ...string) map[string]string {
	out := maps.Clone(m)
	for _, n := range names {
		delete(out, n)
	}
	return out
}
