package server

import (
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

// typedOf makes a merge value of o without its managed fields.
func (s *Server) typedOf(k api.Kind, o object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	c := make(object, len(o))
	for key, v := range o {
		c[key] = v
	}
	m := clone(meta(o))
	delete(m, "managedFields")
	c["metadata"] = m
	return s.fields[k.Resource()]().typ.FromUnstructured(c, opts...)
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
