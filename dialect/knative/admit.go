package knative

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// admitter makes an Admit of a kind: defaults first, then who wrote it, then the
// rules. T is the kind's Go type.
type admitter[T any] struct {
	settings func() Settings
	defaults func(s Settings, a *api.Admission)
	check    func(c *checker, obj, old *T)
}

func (d admitter[T]) admit(a *api.Admission) error {
	s := d.settings()
	d.defaults(s, a)
	obj, err := typed[T](a.Object)
	if err != nil {
		return api.Errorf(api.CodeUsage, "validation failed: %v", err)
	}
	var old *T
	if a.Old != nil {
		if old, err = typed[T](a.Old); err != nil {
			old = nil // written when the rules were others
		}
	}
	c := &checker{Settings: s, a: a}
	d.check(c, obj, old)
	a.Warnings = append(a.Warnings, words(c.warnings)...)
	return c.err()
}

func typed[T any](o map[string]any) (*T, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	v := new(T)
	return v, json.Unmarshal(b, v)
}

// checker checks one object.
type checker struct {
	Settings
	faults
	a *api.Admission
}

// templateDefaults completes the template of a Service or Configuration.
func templateDefaults(s Settings, a *api.Admission) {
	spec := ensure(ensure(ensure(a.Object, "spec"), "template"), "spec")
	var old map[string]any
	if a.Old != nil {
		old = child(child(child(a.Old, "spec"), "template"), "spec")
	}
	s.defaultRevision(spec, old, child(a.Object, "metadata"))
}

func serviceDefaults(s Settings, a *api.Admission) {
	templateDefaults(s, a)
	defaultTraffic(child(a.Object, "spec"), true)
	stamp(a)
}

func configurationDefaults(s Settings, a *api.Admission) {
	templateDefaults(s, a)
	if !owned(a.Object) {
		stamp(a)
	}
}

func routeDefaults(_ Settings, a *api.Admission) {
	defaultTraffic(ensure(a.Object, "spec"), false)
	if !owned(a.Object) {
		stamp(a)
	}
}

// revisionDefaults completes what is written over a revision, too: it does not
// change, and a manifest without the defaults is no change.
func revisionDefaults(s Settings, a *api.Admission) {
	spec, old := ensure(a.Object, "spec"), child(a.Old, "spec")
	if a.Old == nil || !reflect.DeepEqual(spec, old) {
		s.defaultRevision(spec, old, child(a.Object, "metadata"))
	}
}

func domainDefaults(_ Settings, a *api.Admission) {
	ref := child(child(a.Object, "spec"), "ref")
	if ns := text(child(a.Object, "metadata"), "namespace"); ref != nil && text(ref, "namespace") == "" && ns != "" {
		ref["namespace"] = ns
	}
	stamp(a)
}

func owned(o map[string]any) bool { return len(items(child(o, "metadata"), "ownerReferences")) > 0 }

// stamp notes who made an object, and who changed its spec last. What a client
// writes there for a new object does not count; what it leaves out later stays,
// so that a plain manifest can replace what is there.
func stamp(a *api.Admission) {
	if was := child(child(a.Old, "metadata"), "annotations"); was != nil {
		notes := ensure(ensure(a.Object, "metadata"), "annotations")
		for _, k := range []string{AnnotationCreator, AnnotationModifier} {
			if notes[k] == nil && was[k] != nil {
				notes[k] = was[k]
			}
		}
	}
	if a.User == "" {
		return
	}
	if a.Old == nil {
		notes := ensure(ensure(a.Object, "metadata"), "annotations")
		notes[AnnotationCreator], notes[AnnotationModifier] = a.User, a.User
	} else if !reflect.DeepEqual(a.Object["spec"], a.Old["spec"]) {
		ensure(ensure(a.Object, "metadata"), "annotations")[AnnotationModifier] = a.User
	}
}

func checkService(c *checker, s, old *Service) {
	c.metadata(s.Metadata)
	c.rollout(s.Metadata.Annotations)
	c.template("spec.template", s.Metadata, s.Spec.Template)
	c.targets(s.Spec.Traffic, true)
	if old != nil {
		c.author(s.Metadata, old.Metadata)
		c.renamed(s.Spec.Template, old.Spec.Template)
	}
}

func checkConfiguration(c *checker, o, old *Configuration) {
	c.metadata(o.Metadata)
	c.belongs(LabelService, "Service", o.Metadata)
	c.template("spec.template", o.Metadata, o.Spec.Template)
	if old != nil {
		if !owned(c.a.Object) {
			c.author(o.Metadata, old.Metadata)
		}
		c.renamed(o.Spec.Template, old.Spec.Template)
	}
}

func checkRoute(c *checker, r, old *Route) {
	c.metadata(r.Metadata)
	c.belongs(LabelService, "Service", r.Metadata)
	c.rollout(r.Metadata.Annotations)
	c.targets(r.Spec.Traffic, false)
	if old != nil && !owned(c.a.Object) {
		c.author(r.Metadata, old.Metadata)
	}
}

func checkRevision(c *checker, r, old *Revision) {
	c.names(r.Metadata)
	c.autoscaling("metadata.annotations", r.Metadata.Annotations)
	c.belongs(LabelConfiguration, "Configuration", r.Metadata)
	if old == nil {
		c.revision("spec", r.Spec)
		return
	}
	if diff := differences(old.Spec, r.Spec); diff != "" {
		c.errors = []fault{{
			message: "Immutable fields changed (-old +new)", paths: []string{"spec"}, details: diff,
			hint: "a revision never changes: change spec.template of its Service or Configuration, which makes a new one",
		}}
	}
}

// belongs checks a label that names the owner.
func (c *checker) belongs(label, kind string, m api.Meta) {
	owner, ok := m.Labels[label]
	if !ok || slices.ContainsFunc(m.OwnerReferences, func(r api.OwnerReference) bool { return r.Kind == kind && r.Name == owner }) {
		return
	}
	c.missing("the label is set with an owner reference to the "+kind+"; leave it out", "metadata.labels."+label)
}

// author guards the annotations the server writes.
func (c *checker) author(m, old api.Meta) {
	if m.Annotations[AnnotationCreator] != old.Annotations[AnnotationCreator] {
		c.add("annotation value is immutable", "send back the value that was read, or change the object with a patch", "metadata.annotations."+AnnotationCreator)
	}
	if now := m.Annotations[AnnotationModifier]; now != old.Annotations[AnnotationModifier] && reflect.DeepEqual(c.a.Object["spec"], c.a.Old["spec"]) {
		c.invalid(now, "metadata.annotations."+AnnotationModifier, "send back the value that was read; it moves with the spec")
	}
}

// renamed checks that a template whose revision has a name of its own does not
// change without the name.
func (c *checker) renamed(t, old Template) {
	if t.Metadata.Name == "" || t.Metadata.Name != old.Metadata.Name {
		return
	}
	if diff := differences(old, t); diff != "" {
		c.add("Saw the following changes without a name change (-old +new)",
			"revisions do not change: give the new one another name, such as "+t.Metadata.Name+"-2, or leave the name out", "spec.template.metadata.name")
		c.errors[len(c.errors)-1].details = diff
	}
}

// differences lists the fields in which two values differ, one per line.
func differences(old, now any) string {
	flat := func(v any) map[string]string {
		out := map[string]string{}
		b, err := json.Marshal(v)
		var tree any
		if err == nil && json.Unmarshal(b, &tree) == nil {
			flatten("", tree, out)
		}
		return out
	}
	was, is := flat(old), flat(now)
	var keys []string
	for k := range was {
		keys = append(keys, k)
	}
	for k := range is {
		if _, ok := was[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		if was[k] != is[k] {
			fmt.Fprintf(&b, "%s:\n\t-: %s\n\t+: %s\n", k, orNone(was[k]), orNone(is[k]))
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}

func flatten(at string, v any, out map[string]string) {
	switch t := v.(type) {
	case map[string]any:
		for k, e := range t {
			flatten(join(at, k), e, out)
		}
	case []any:
		for i, e := range t {
			flatten(fmt.Sprintf("%s[%d]", at, i), e, out)
		}
	default:
		b, _ := json.Marshal(t) // it came out of JSON
		out[at] = string(b)
	}
}
