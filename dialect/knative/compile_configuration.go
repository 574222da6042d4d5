package knative

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/hearth-run/hearth/api"
)

// revisionName is the name of the revision of a Configuration's present
// generation: its author's, or one with the generation's number.
func revisionName(o *Configuration) string {
	return or(o.Spec.Template.Metadata.Name, fmt.Sprintf("%s-%05d", o.Metadata.Name, o.Metadata.Generation))
}

// stamped is a revision of the Configuration that is stepped.
type stamped struct {
	*Revision
	d          *draft
	generation int64
}

// stampedOf are the revisions of a Configuration, oldest generation first.
func (s *step) stampedOf(uid string) (out []stamped) {
	for _, r := range s.v.Owned(uid) {
		if r.Key.Resource != Revisions {
			continue
		}
		d, err := open(r)
		rev := decode[Revision](r)
		if err != nil || rev == nil {
			continue
		}
		n, _ := strconv.ParseInt(rev.Metadata.Labels[LabelConfigurationGeneration], 10, 64) // 0: none
		out = append(out, stamped{rev, d, n})
	}
	slices.SortStableFunc(out, func(a, b stamped) int { return int(a.generation - b.generation) })
	return out
}

// configuration stamps the revision of the present generation, finds the newest
// that is ready, and removes old ones.
func (s *step) configuration(o *Configuration) {
	if o == nil {
		return
	}
	c := s.conditions(o.Status.Conditions)
	defer func() {
		o.Status.Conditions = c.verdict()
		o.Status.ObservedGeneration = o.Metadata.Generation
		s.self.set("status", o.Status)
	}()
	name := revisionName(o)
	mine := s.stampedOf(o.Metadata.UID)
	rev, d := get[Revision](s, Revisions, name)
	switch {
	case rev == nil:
		s.put(s.stamp(o, name))
		s.event("Normal", "Created", "Created Revision %q", name)
	case d.controller() != o.Metadata.UID, o.Spec.Template.Metadata.Name != "" && !equal(d.top["spec"], s.templateSpec()):
		c.no(api.ConditionReady, "RevisionFailed", "Revision creation failed with message: revisions.serving.knative.dev %q already exists.", name)
		return
	}
	st := &o.Status
	st.LatestCreatedRevisionName = name
	if ready := latestReady(st.LatestReadyRevisionName, o.Metadata.Generation, mine); ready != "" && ready != st.LatestReadyRevisionName {
		if st.LatestReadyRevisionName == "" {
			s.event("Normal", "ConfigurationReady", "Configuration becomes ready")
		}
		s.event("Normal", "LatestReadyUpdate", "LatestReadyRevisionName updated to %q", ready)
		st.LatestReadyRevisionName = ready
	}
	var verdict api.Condition
	if rev != nil {
		verdict, _ = rev.Status.Conditions.Get(api.ConditionReady)
	}
	switch {
	case verdict.Status == api.False:
		c.no(api.ConditionReady, "RevisionFailed", "Revision %q failed with message: %s.", name, verdict.Message)
		if was, _ := o.Status.Conditions.Get(api.ConditionReady); was.Status != api.False {
			s.event("Warning", "LatestCreatedFailed", "Latest created revision %q has failed", name)
		}
	case st.LatestReadyRevisionName == name && verdict.Status == api.True:
		c.yes(api.ConditionReady)
	default:
		c.unknown(api.ConditionReady, "", "")
		if verdict.Status == api.Unknown && verdict.Message != "" { // how far its image is
			c.unknown(api.ConditionReady, verdict.Reason, "%s", verdict.Message)
		}
	}
	s.collect(o, mine)
}

// templateSpec is the template's spec as it was written.
func (s *step) templateSpec() json.RawMessage { return s.template("spec") }

func (s *step) template(field string) json.RawMessage {
	var t map[string]json.RawMessage
	_ = json.Unmarshal(s.rawSpec("template"), &t) // rawSpec gives an object
	if t[field] == nil {
		return json.RawMessage("{}")
	}
	return t[field]
}

// stamp makes the revision of the present generation.
func (s *step) stamp(o *Configuration, name string) *draft {
	d := create(s.key(Revisions, name), APIVersion, "Revision")
	t := o.Spec.Template.Metadata
	labels := with(t.Labels,
		LabelConfiguration, o.Metadata.Name, LabelConfigurationUID, o.Metadata.UID,
		LabelConfigurationGeneration, strconv.FormatInt(o.Metadata.Generation, 10), LabelRoutingState, RoutingPending)
	for _, l := range []string{LabelService, LabelServiceUID} {
		if v := o.Metadata.Labels[l]; v != "" {
			labels[l] = v
		}
	}
	annotations := with(t.Annotations, AnnotationRoutingStateModified, s.now.UTC().Format(time.RFC3339))
	if who := or(o.Metadata.Annotations[AnnotationModifier], o.Metadata.Annotations[AnnotationCreator]); who != "" {
		annotations[AnnotationCreator] = who
	}
	d.setMeta("labels", labels)
	d.setMeta("annotations", annotations)
	d.setMeta("ownerReferences", s.owner(APIVersion, "Configuration"))
	d.set("spec", s.templateSpec())
	return d
}

// latestReady is the newest revision that is ready, from the present one (or
// the first, where that is gone) up to the generation.
func latestReady(present string, generation int64, mine []stamped) string {
	from := int64(0)
	for _, r := range mine {
		if r.Metadata.Name == present {
			from = r.generation
		}
	}
	found := ""
	for _, r := range mine {
		if r.generation >= from && r.generation <= generation && r.Status.Conditions.Ready() && r.Metadata.DeletionTimestamp == nil {
			found = r.Metadata.Name
		}
	}
	return found
}
