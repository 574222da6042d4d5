package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/hearth-run/hearth/api"
)

// maxUpdaters bounds how many managers of ordinary writes an object remembers.
const maxUpdaters = 10

// fieldTypes knows how a kind's fields merge: which lists have keys, which are
// replaced as a whole.
type fieldTypes struct {
	typ typed.ParseableType
}

// newFieldTypes turns a JSON Schema of package api into merge types.
func newFieldTypes(s object) fieldTypes {
	root := atomOf(s)
	p := typed.Parser{Schema: schema.Schema{Types: []schema.TypeDef{{Name: "root", Atom: root}}}}
	return fieldTypes{typ: p.Type("root")}
}

func atomOf(s object) schema.Atom {
	scalar := func(k schema.Scalar) schema.Atom { return schema.Atom{Scalar: &k} }
	switch s["type"] {
	case "object":
		m := &schema.Map{}
		if props, ok := s["properties"].(object); ok {
			for _, name := range sortedKeys(props) {
				m.Fields = append(m.Fields, schema.StructField{Name: name, Type: schema.TypeRef{Inlined: atomOf(props[name].(object))}})
			}
		} else if e, ok := s["additionalProperties"].(object); ok {
			m.ElementType = schema.TypeRef{Inlined: atomOf(e)}
		}
		return schema.Atom{Map: m}
	case "array":
		l := &schema.List{ElementRelationship: schema.Atomic}
		l.ElementType = schema.TypeRef{Inlined: atomOf(s["items"].(object))}
		switch s["x-kubernetes-list-type"] {
		case "map":
			l.ElementRelationship = schema.Associative
			l.Keys = []string{mergeKey(s)}
		case "set":
			l.ElementRelationship = schema.Associative
		}
		return schema.Atom{List: l}
	case "string":
		return scalar(schema.String)
	case "boolean":
		return scalar(schema.Boolean)
	case "integer", "number":
		return scalar(schema.Numeric)
	}
	return scalar(schema.Untyped)
}

func sortedKeys(m object) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// sameVersion converts between versions: there is one.
type sameVersion struct{}

func (sameVersion) Convert(o *typed.TypedValue, _ fieldpath.APIVersion) (*typed.TypedValue, error) {
	return o, nil
}
func (sameVersion) IsMissingVersionError(error) bool { return false }

// serverOwned are fields nobody else can own.
func serverOwned() *fieldpath.Set {
	set := fieldpath.NewSet(fieldpath.MakePathOrDie("apiVersion"), fieldpath.MakePathOrDie("kind"), fieldpath.MakePathOrDie("metadata"))
	for _, f := range []string{"name", "namespace", "generateName", "uid", "creationTimestamp", "deletionTimestamp", "generation", "resourceVersion", "selfLink"} {
		set.Insert(fieldpath.MakePathOrDie("metadata", f))
	}
	return set
}

// otherPart is the part of an object a write to sub does not touch.
func otherPart(sub string) *fieldpath.Set {
	if sub == "status" {
		return fieldpath.NewSet(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("metadata"))
	}
	return fieldpath.NewSet(fieldpath.MakePathOrDie("status"))
}

func updater(version, sub string) *merge.Updater {
	b := merge.UpdaterBuilder{
		Converter:         sameVersion{},
		IgnoreFilter:      map[fieldpath.APIVersion]fieldpath.Filter{fieldpath.APIVersion(version): fieldpath.NewExcludeSetFilter(otherPart(sub))},
		ReturnInputOnNoop: true,
	}
	return b.BuildUpdater()
}

// managerKey names an entry of managed fields.
type managerKey struct{ manager, operation, sub string }

func (k managerKey) String() string { return k.manager + "\x00" + k.operation + "\x00" + k.sub }

func parseManagerKey(s string) managerKey {
	p := strings.SplitN(s, "\x00", 3)
	for len(p) < 3 {
		p = append(p, "")
	}
	return managerKey{p[0], p[1], p[2]}
}

// managed is an object's managed fields, with the time each last changed.
type managed struct {
	sets  fieldpath.ManagedFields
	times map[string]string
}

func readManaged(o object) managed {
	m := managed{sets: fieldpath.ManagedFields{}, times: map[string]string{}}
	l, _ := meta(o)["managedFields"].([]any)
	for _, e := range l {
		entry, ok := e.(object)
		if !ok || text(entry, "manager") == "" {
			continue
		}
		b, err := json.Marshal(entry["fieldsV1"])
		if err != nil {
			continue
		}
		set := fieldpath.NewSet()
		if err := set.FromJSON(bytes.NewReader(b)); err != nil {
			continue // what cannot be read owns nothing
		}
		op := text(entry, "operation")
		k := managerKey{text(entry, "manager"), op, text(entry, "subresource")}.String()
		if was, ok := m.sets[k]; ok {
			set = was.Set().Union(set)
		}
		m.sets[k] = fieldpath.NewVersionedSet(set, fieldpath.APIVersion(text(entry, "apiVersion")), op == "Apply")
		m.times[k] = text(entry, "time")
	}
	return m
}

// writeManaged puts sets into o; entries that did not change since was keep
// their time.
func writeManaged(o object, sets fieldpath.ManagedFields, was managed) error {
	keys := make([]string, 0, len(sets))
	at := now()
	times := map[string]string{}
	owned := serverOwned()
	for k, v := range sets {
		v = fieldpath.NewVersionedSet(v.Set().Difference(owned), v.APIVersion(), v.Applied())
		sets[k] = v
		if v.Set().Empty() {
			continue
		}
		keys = append(keys, k)
		times[k] = at
		if old, ok := was.sets[k]; ok && old.Set().Equals(v.Set()) && was.times[k] != "" {
			times[k] = was.times[k]
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		// Appliers first, then by time, as people expect to read them.
		ka, kb := parseManagerKey(a), parseManagerKey(b)
		if ka.operation != kb.operation {
			return strings.Compare(ka.operation, kb.operation)
		}
		if c := strings.Compare(times[a], times[b]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	keys = capUpdaters(sets, keys)
	if len(keys) == 0 {
		delete(meta(o), "managedFields")
		return nil
	}
	l := make([]any, 0, len(keys))
	for _, k := range keys {
		b, err := sets[k].Set().ToJSON()
		if err != nil {
			return fmt.Errorf("write managed fields: %w", err)
		}
		fields, err := parse(b)
		if err != nil {
			return err
		}
		mk := parseManagerKey(k)
		e := object{
			"manager": mk.manager, "operation": mk.operation, "apiVersion": string(sets[k].APIVersion()),
			"time": times[k], "fieldsType": "FieldsV1", "fieldsV1": fields,
		}
		if mk.sub != "" {
			e["subresource"] = mk.sub
		}
		l = append(l, e)
	}
	meta(o)["managedFields"] = l
	return nil
}

// capUpdaters merges the oldest ordinary writers into one when there are many.
func capUpdaters(sets fieldpath.ManagedFields, keys []string) []string {
	var updaters, out []string
	for _, k := range keys {
		if mk := parseManagerKey(k); mk.operation == "Update" && mk.sub == "" {
			updaters = append(updaters, k)
		}
	}
	if len(updaters) <= maxUpdaters {
		return keys
	}
	old := updaters[:len(updaters)-maxUpdaters+1]
	ancient := managerKey{"ancient-changes", "Update", ""}.String()
	set := fieldpath.NewSet()
	for _, k := range old {
		set = set.Union(sets[k].Set())
	}
	version := sets[old[0]].APIVersion()
	for _, k := range keys {
		if !slices.Contains(old, k) && k != ancient {
			out = append(out, k)
		}
	}
	sets[ancient] = fieldpath.NewVersionedSet(set, version, false)
	return append(out, ancient)
}

// typedOf makes a merge value of o without its managed fields.
func (s *Server) typedOf(k api.Kind, o object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	c := make(object, len(o))
	for key, v := range o {
		c[key] = v
	}
	m := clone(meta(o))
	delete(m, "managedFields")
	c["metadata"] = m
	return s.fields[k.Resource()].typ.FromUnstructured(c, opts...)
}

// track records in o's managed fields what an ordinary write changed.
func (s *Server) track(t target, live, o object, manager string) error {
	if t.kind.Resource() == api.Events {
		delete(meta(o), "managedFields")
		return nil
	}
	was := managed{sets: fieldpath.ManagedFields{}}
	sets := fieldpath.ManagedFields{}
	if live != nil {
		was = readManaged(live)
		given, isList := meta(o)["managedFields"].([]any)
		switch {
		case isList && len(given) == 1 && reflect.DeepEqual(given[0], object{}):
			// An entry without anything: the client resets them.
		case isList && len(given) > 0:
			sets = readManaged(o).sets
		default:
			sets = readManaged(live).sets
		}
	}
	before := live
	if before == nil {
		before = object{"apiVersion": o["apiVersion"], "kind": o["kind"], "metadata": object{}}
	}
	old, err := s.typedOf(t.kind, before, typed.AllowDuplicates)
	if err != nil {
		return untracked(o, err)
	}
	wanted, err := s.typedOf(t.kind, o, typed.AllowDuplicates)
	if err != nil {
		return untracked(o, err)
	}
	version := t.kind.APIVersion()
	key := managerKey{manager, "Update", t.sub}.String()
	_, sets, err = updater(version, t.sub).Update(old, wanted, fieldpath.APIVersion(version), sets, key)
	if err != nil {
		return untracked(o, err)
	}
	return writeManaged(o, sets, was)
}

// untracked is for objects the merge types cannot read, which happens to none
// that passed admission; the write is refused rather than made without owners.
func untracked(o object, err error) error {
	return &fail{err: api.Errorf(api.CodeInvalid, "the owners of fields of %q cannot be determined: %v", metaText(o, "name"), err)}
}

// conflictError turns merge conflicts into the Status kubectl understands.
func conflictError(t target, err error) error {
	var conflicts merge.Conflicts
	if !errors.As(err, &conflicts) {
		return &fail{err: api.Errorf(api.CodeInvalid, "the configuration cannot be applied: %v", err), kind: t.kind, name: t.name}
	}
	slices.SortFunc(conflicts, func(a, b merge.Conflict) int {
		return strings.Compare(a.Manager+a.Path.String(), b.Manager+b.Path.String())
	})
	f := &fail{kind: t.kind, name: t.name}
	var words []string
	for _, c := range conflicts {
		mk := parseManagerKey(c.Manager)
		who := fmt.Sprintf("conflict with %q", mk.manager)
		if mk.sub != "" {
			who += fmt.Sprintf(" with subresource %q", mk.sub)
		}
		if mk.operation == "Update" {
			who += " using " + t.kind.APIVersion()
		}
		f.causes = append(f.causes, object{"reason": "FieldManagerConflict", "message": who, "field": c.Path.String()})
		words = append(words, who+": "+c.Path.String())
	}
	plural := ""
	if len(words) > 1 {
		plural = "s"
	}
	f.err = api.Errorf(api.CodeConflict, "Apply failed with %d conflict%s: %s", len(words), plural, strings.Join(words, "; "))
	return f
}

// unstructured makes an object of a merge value.
func unstructured(v *typed.TypedValue) (object, error) {
	raw := v.AsValue().Unstructured()
	o, ok := raw.(object)
	if !ok {
		return nil, api.Errorf(api.CodeInternal, "a merge made no object")
	}
	b, err := value.ToJSON(value.NewValueInterface(o))
	if err != nil {
		return nil, err
	}
	return parseObject(b)
}
