package api

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Schema is the kind's JSON Schema (draft 2020-12), made from its Go type: json
// gives the names, doc the descriptions, enum, min and max the bounds; a field
// without omitempty or omitzero is required. Lists that are merged by a key
// carry x-kubernetes-list-type and x-kubernetes-list-map-keys. The map is the
// caller's.
func (k Kind) Schema() map[string]any {
	s := schemaOf(reflect.TypeOf(k.New()))
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = k.Kind
	s["description"] = k.Doc
	props := s["properties"].(map[string]any)
	for name, doc := range map[string]string{
		"metadata": "Name, labels and what else every object carries.", "spec": "What its author wants.", "status": "What the system found; written by it alone.",
	} {
		if p, ok := props[name].(map[string]any); ok && p["description"] == nil {
			p["description"] = doc
		}
	}
	props["apiVersion"].(map[string]any)["enum"] = []any{k.APIVersion()}
	props["kind"].(map[string]any)["enum"] = []any{k.Kind}
	return s
}

// class is how a Go type looks in JSON.
type class int

const (
	classAny class = iota
	classObject
	classMap
	classList
	classString
	classBool
	classInt
	classNumber
	classTime
	classDuration
	classQuantity
	classBytes
	classIntOrName
)

// words is how an error names what a class wants.
func (c class) words() string {
	return [...]string{
		"anything", "an object", "an object", "a list", "a string", "true or false", "a whole number", "a number",
		"a time such as 2026-01-02T15:04:05Z", "a duration such as 30s or 2m", "a quantity such as 128Mi or 500m", "text in base64", "a number or a name",
	}[c]
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// example is a hint for where a value is of another class; empty where words say
// enough.
func (c class) example() string {
	switch c {
	case classObject, classMap:
		return "such as {name: value}"
	case classList:
		return "such as [one, two]"
	case classString:
		return `such as "text"; numbers and true need the quotes`
	case classInt:
		return "such as 3"
	case classNumber:
		return "such as 0.5"
	}
	return ""
}

func classOf(t reflect.Type) class {
	switch t {
	case reflect.TypeFor[Time]():
		return classTime
	case reflect.TypeFor[Duration]():
		return classDuration
	case reflect.TypeFor[Quantity]():
		return classQuantity
	case reflect.TypeFor[[]byte]():
		return classBytes
	case reflect.TypeFor[IntOrName]():
		return classIntOrName
	}
	switch t.Kind() {
	case reflect.Struct:
		return classObject
	case reflect.Map:
		return classMap
	case reflect.Slice, reflect.Array:
		return classList
	case reflect.String:
		return classString
	case reflect.Bool:
		return classBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return classInt
	case reflect.Float32, reflect.Float64:
		return classNumber
	default:
		return classAny
	}
}

// field is one JSON field of a struct. Its tag is read when it is needed:
// every check of an object walks all fields, and few have bounds.
type field struct {
	name     string
	typ      reflect.Type // without pointers
	tag      reflect.StructTag
	required bool
}

func (f field) doc() string { return f.tag.Get("doc") }
func (f field) min() *int64 { return bound(f.tag.Get("min")) }
func (f field) max() *int64 { return bound(f.tag.Get("max")) }

// bounds writes them as 0..9; an open end is left out.
func (f field) bounds() string { return f.tag.Get("min") + ".." + f.tag.Get("max") }

// within is a hint about the bounds of f.
func (f field) within() string {
	least, most := f.min(), f.max()
	switch {
	case most == nil:
		return fmt.Sprintf("%d or more", *least)
	case least == nil:
		return fmt.Sprintf("at most %d", *most)
	}
	return fmt.Sprintf("from %d to %d", *least, *most)
}

// needed is a hint for where f, which is needed, is not there: what it is, or an
// example.
func (f field) needed() string {
	if d := f.doc(); d != "" {
		d, _, _ = strings.Cut(d, ". ")
		return strings.TrimSuffix(d, ".")
	}
	k := classOf(deref(f.typ))
	if k != classObject {
		return k.words()
	}
	var names []string
	for _, g := range fieldsOf(deref(f.typ)) {
		if g.required {
			names = append(names, g.name)
		}
	}
	if len(names) == 0 {
		return k.example()
	}
	return k.words() + " with " + strings.Join(names, ", ")
}

// enum lists the values allowed; nil allows all.
func (f field) enum() []string {
	if e := f.tag.Get("enum"); e != "" {
		return strings.Split(e, ",")
	}
	return nil
}

// fieldsOf lists the JSON fields of struct t, those of embedded structs included.
func fieldsOf(t reflect.Type) []field {
	out := make([]field, 0, t.NumField()+1)
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			out = append(out, fieldsOf(deref(f.Type))...)
			continue
		}
		name, rest, _ := strings.Cut(tag, ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		out = append(out, field{name: name, typ: deref(f.Type), tag: f.Tag, required: rest != "omitempty" && rest != "omitzero"})
	}
	return out
}

func bound(s string) *int64 {
	if s == "" {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

func schemaOf(t reflect.Type) map[string]any {
	t = deref(t)
	switch c := classOf(t); c {
	case classObject:
		props, required := map[string]any{}, []any{}
		for _, f := range fieldsOf(t) {
			props[f.name] = f.schema()
			if f.required {
				required = append(required, f.name)
			}
		}
		s := map[string]any{"type": "object", "properties": props, "additionalProperties": false}
		if len(required) > 0 {
			s["required"] = required
		}
		return s
	case classMap:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case classList:
		s := map[string]any{"type": "array", "items": schemaOf(t.Elem())}
		if key := listKey(t.Elem()); key != "" {
			s["x-kubernetes-list-type"] = "map"
			s["x-kubernetes-list-map-keys"] = []any{key}
		} else {
			s["x-kubernetes-list-type"] = "atomic"
		}
		return s
	case classString:
		return map[string]any{"type": "string"}
	case classBool:
		return map[string]any{"type": "boolean"}
	case classInt:
		return map[string]any{"type": "integer", "format": "int64"}
	case classNumber:
		return map[string]any{"type": "number"}
	case classTime:
		return map[string]any{"type": "string", "format": "date-time"}
	case classDuration, classQuantity:
		return map[string]any{"type": []any{"string", "number"}}
	case classIntOrName:
		return map[string]any{"type": []any{"string", "integer"}}
	case classBytes:
		return map[string]any{"type": "string", "format": "byte", "contentEncoding": "base64"}
	default:
		return map[string]any{}
	}
}

func (f field) schema() map[string]any {
	s := schemaOf(f.typ)
	if d := f.doc(); d != "" {
		s["description"] = d
	}
	if f.tag.Get("list") == "atomic" {
		s["x-kubernetes-list-type"] = "atomic"
		delete(s, "x-kubernetes-list-map-keys")
	}
	if f.name == "finalizers" {
		s["x-kubernetes-list-type"] = "set"
	}
	if enum := f.enum(); enum != nil {
		vs := make([]any, len(enum))
		for i, e := range enum {
			vs[i] = e
		}
		s["enum"] = vs
	}
	if least := f.min(); least != nil {
		s["minimum"] = *least
	}
	if most := f.max(); most != nil {
		s["maximum"] = *most
	}
	return s
}

// listKey is the field that tells items of a list of t apart when appliers
// merge it; "" for lists that are replaced as a whole.
func listKey(t reflect.Type) string {
	switch deref(t) {
	case reflect.TypeFor[EnvVar](), reflect.TypeFor[Container](), reflect.TypeFor[Volume]():
		return "name"
	case reflect.TypeFor[Condition]():
		return "type"
	case reflect.TypeFor[OwnerReference]():
		return "uid"
	}
	return ""
}
