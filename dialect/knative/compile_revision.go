package knative

import (
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// unbounded is the length of bodies a service takes: Knative has no limit.
const unbounded = 1 << 50

// revision compiles a Revision to a native one of its name, and projects what
// became of it. Its images are bound to digests first, once.
func (s *step) revision(o *Revision) {
	if o == nil {
		return
	}
	c := s.conditions(o.Status.Conditions)
	defer func() {
		o.Status.Conditions = c.verdict(ConditionResources, ConditionHealthy)
		o.Status.ObservedGeneration = o.Metadata.Generation
		s.self.set("status", o.Status)
	}()
	state := s.routing(o)
	native, d := get[api.Revision](s, api.Revisions, s.k.Name)
	if native != nil && d.controller() != o.Metadata.UID {
		c.no(ConditionResources, "NotOwned", "There is an existing Deployment %q that we do not own.", s.k.Name)
		return
	}
	if native == nil {
		spec, ok := s.bound(o, c)
		if !ok {
			return
		}
		d = create(s.key(api.Revisions, s.k.Name), api.GroupVersion, "Revision")
		d.setMeta("labels", with(podMeta(o.Metadata.Labels),
			api.LabelFunction, spec.Function, api.LabelRevision, strconv.FormatInt(spec.Number, 10),
			"app", o.Metadata.Name, LabelRevision, o.Metadata.Name, LabelRevision+"UID", o.Metadata.UID))
		d.setMeta("annotations", podMeta(o.Metadata.Annotations))
		d.setMeta("ownerReferences", s.owner(APIVersion, "Revision"))
		d.set("spec", spec)
		native = &api.Revision{Spec: spec}
	}
	reserve := ""
	if state == RoutingReserve || state == RoutingPending && s.superseded(o) {
		reserve = "true"
	}
	d.annotate(api.AnnotationReserve, reserve)
	s.put(d)
	o.Status.LogURL = strings.ReplaceAll(s.set.logTemplate, "${REVISION_UID}", o.Metadata.UID)
	o.Status.ContainerStatuses = statuses(native.Spec.Containers)
	o.Status.InitContainerStatuses = statuses(native.Spec.InitContainers)
	s.health(native, c)
	s.replicas(o, native, c)
}

// podMeta is what of a revision's labels or annotations the pods of Knative have,
// so that programs find it where they ask for it; not what changes later, nor
// what has a meaning of its own here.
func podMeta(of map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range of {
		switch k {
		case LabelRoutingState, AnnotationRoutingStateModified, AnnotationRoutes, AnnotationLastApplied:
		default:
			if !strings.HasPrefix(k, api.Group+"/") {
				out[k] = v
			}
		}
	}
	return out
}

func statuses(cs []api.Container) (out []ContainerStatus) {
	for _, c := range cs {
		one := ContainerStatus{Name: c.Name}
		if strings.Contains(c.Image, "@") { // else its registry is not asked
			one.ImageDigest = c.Image
		}
		out = append(out, one)
	}
	return out
}

// bound is the native spec with the digests of its images; false while they are
// not known.
func (s *step) bound(o *Revision, c *conditions) (api.RevisionSpec, bool) {
	spec := s.compile(o)
	ask := spec
	ask.Containers, ask.InitContainers = s.unbound(spec.Containers), s.unbound(spec.InitContainers)
	if len(ask.Containers)+len(ask.InitContainers) == 0 {
		return spec, true
	}
	images, err, known := s.v.Images(o.Metadata.UID)
	if !known || err != nil {
		s.out.Within = s.set.resolving
		s.out.Resolve = &api.Revision{Metadata: api.Meta{Name: s.k.Name, Namespace: s.k.Namespace, UID: o.Metadata.UID}, Spec: ask}
	}
	switch {
	case err != nil:
		e := api.AsError(err)
		c.no(ConditionHealthy, "ContainerMissing", "Unable to fetch image %q: %s", missingImage(ask, images), e.Message)
		c.unknown(ConditionResources, "ResolvingDigests", "")
		return spec, false
	case !known:
		c.unknown(ConditionHealthy, "ResolvingDigests", "")
		c.unknown(ConditionResources, "ResolvingDigests", "")
		return spec, false
	}
	for _, list := range [][]api.Container{spec.Containers, spec.InitContainers} {
		for i := range list {
			list[i].Image = or(images[list[i].Image], list[i].Image)
		}
	}
	return spec, true
}

func missingImage(r api.RevisionSpec, images map[string]string) string {
	for _, list := range [][]api.Container{r.Containers, r.InitContainers} {
		for _, c := range list {
			if images[c.Image] == "" {
				return c.Image
			}
		}
	}
	return ""
}

// unbound are the containers whose images want a digest.
func (s *step) unbound(cs []api.Container) (out []api.Container) {
	for _, c := range cs {
		registry, _, _ := strings.Cut(c.Image, "/")
		skip := strings.Contains(c.Image, "@sha256:")
		for _, r := range s.set.unresolved {
			skip = skip || r == registry
		}
		if !skip {
			out = append(out, c)
		}
	}
	return out
}

// compile translates a spec. Images stay as they are.
func (s *step) compile(o *Revision) api.RevisionSpec {
	config := o.Metadata.Labels[LabelConfiguration]
	number, _ := strconv.ParseInt(o.Metadata.Labels[LabelConfigurationGeneration], 10, 64) // 0: none
	in := o.Spec
	seconds := func(p *int64) *api.Duration {
		if p == nil || *p == 0 {
			return nil
		}
		return api.Seconds(int(*p))
	}
	timeout := seconds(in.TimeoutSeconds)
	if timeout == nil {
		timeout = api.Seconds(300)
	}
	spec := api.RevisionSpec{
		Function: or(or(o.Metadata.Labels[LabelService], config), o.Metadata.Name), Number: number, Owner: "Revision/" + o.Metadata.Name,
		Timeout: *timeout, RequestTimeout: timeout, ResponseStartTimeout: seconds(in.ResponseStartTimeoutSeconds), IdleTimeout: seconds(in.IdleTimeoutSeconds),
		Concurrency: api.Unlimited, BodyLimit: unbounded, StartTimeout: s.deadline(o),
		PullSecrets: in.ImagePullSecrets, ServiceAccount: in.ServiceAccountName, Volumes: in.Volumes,
		Scale: s.scale(o.Metadata.Annotations, in.ContainerConcurrency),
	}
	if n := in.ContainerConcurrency; n != nil && *n > 0 {
		spec.Concurrency = int(*n)
	}
	env := []api.EnvVar{{Name: "K_REVISION", Value: o.Metadata.Name}, {Name: "K_CONFIGURATION", Value: config}, {Name: "K_SERVICE", Value: o.Metadata.Labels[LabelService]}}
	for _, c := range in.Containers {
		c.Env = append(append([]api.EnvVar(nil), c.Env...), env...)
		spec.Containers = append(spec.Containers, podSecurity(c, in.SecurityContext))
	}
	for _, c := range in.InitContainers {
		spec.InitContainers = append(spec.InitContainers, podSecurity(c, in.SecurityContext))
	}
	return spec
}

// podSecurity lets a container inherit what the pod says.
func podSecurity(c api.Container, pod *PodSecurityContext) api.Container {
	if pod == nil {
		return c
	}
	var own api.SecurityContext
	if c.SecurityContext != nil {
		own = *c.SecurityContext
	}
	own.RunAsUser, own.RunAsGroup = or(own.RunAsUser, pod.RunAsUser), or(own.RunAsGroup, pod.RunAsGroup)
	own.RunAsNonRoot, own.SeccompProfile = or(own.RunAsNonRoot, pod.RunAsNonRoot), or(own.SeccompProfile, pod.SeccompProfile)
	c.SecurityContext = &own
	return c
}

func (s *step) deadline(o *Revision) *api.Duration {
	_, v, _ := annotation(o.Metadata.Annotations, AnnotationProgressDeadline, GroupServing+"/progressDeadline")
	if d, err := time.ParseDuration(v); err == nil && d > 0 {
		return &api.Duration{Duration: d}
	}
	return &api.Duration{Duration: s.set.deadline}
}

// superseded reports whether a newer revision has come since, and no Route asks
// for this one.
func (s *step) superseded(o *Revision) bool {
	for _, r := range s.v.Needing(s.key(Revisions, s.k.Name)) {
		if r.Key.Resource == Routes {
			return false
		}
	}
	cfg, _ := get[Configuration](s, Configurations, o.Metadata.Labels[LabelConfiguration])
	return cfg != nil && cfg.Status.LatestCreatedRevisionName != "" && cfg.Status.LatestCreatedRevisionName != s.k.Name &&
		cfg.Status.LatestReadyRevisionName != s.k.Name && cfg.Status.ObservedGeneration == cfg.Metadata.Generation
}

// routesTo are the Routes that lead to a revision now.
func (s *step) routesTo(revision string) (names []string) {
	for _, r := range s.v.Needing(s.key(Revisions, revision)) {
		if r.Key.Resource != Routes {
			continue
		}
		if rt := decode[Route](r); rt != nil && leadsTo(rt, revision) {
			names = append(names, r.Key.Name)
		}
	}
	return names
}

func leadsTo(rt *Route, revision string) bool {
	for _, t := range rt.Status.Traffic {
		if t.RevisionName == revision {
			return true
		}
	}
	return false
}

// routing writes which Routes lead to the revision, and returns the state that
// follows: active, reserve once it was, pending until then.
func (s *step) routing(o *Revision) string {
	routes := s.routesTo(s.k.Name)
	was := o.Metadata.Labels[LabelRoutingState]
	state := or(was, RoutingPending)
	switch {
	case len(routes) > 0:
		state = RoutingActive
	case was == RoutingActive:
		state = RoutingReserve
	}
	s.self.annotate(AnnotationRoutes, strings.Join(routes, ","))
	if state != was {
		s.self.label(LabelRoutingState, state)
		s.self.annotate(AnnotationRoutingStateModified, s.now.UTC().Format(time.RFC3339))
	}
	return state
}
