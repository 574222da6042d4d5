package server

import (
	"strings"

	"github.com/hearth-run/hearth/api"
)

// strategicPatch merges a patch as kubectl makes it for the core kinds: maps
// merge, lists with a key merge by it, finalizers merge as a set, other lists
// are replaced. Directives begin with $: patch (replace, delete, merge),
// retainKeys, setElementOrder/FIELD and deleteFromPrimitiveList/FIELD.
func strategicPatch(o, patch object, schema object) (object, error) {
	if err := mergeStrategic(o, patch, schema, 0); err != nil {
		return nil, err
	}
	return o, nil
}

func badDirective(name string) error {
	return badRequest("use kubectl patch --type merge", "strategic merge patch: the directive %s is malformed", name)
}

func mergeStrategic(o, patch, schema object, depth int) error {
	props, _ := schema["properties"].(object)
	switch patch["$patch"] {
	case nil, "merge":
	case "replace":
		delete(patch, "$patch")
		clear(o)
		for k, v := range patch {
			o[k] = v
		}
		return nil
	case "delete":
		clear(o)
		return nil
	default:
		return badDirective("$patch")
	}
	if keep, ok := patch["$retainKeys"]; ok {
		l, ok := keep.([]any)
		if !ok {
			return badDirective("$retainKeys")
		}
		retained := map[any]bool{}
		for _, k := range l {
			if s, ok := k.(string); ok {
				retained[s] = true
			}
		}
		for k := range o {
			if !retained[k] {
				delete(o, k)
			}
		}
	}
	for k, v := range patch {
		if field, ok := strings.CutPrefix(k, "$deleteFromPrimitiveList/"); ok {
			gone, ok := v.([]any)
			if !ok {
				return badDirective(k)
			}
			l, _ := o[field].([]any)
			o[field] = without(l, gone)
		}
	}
	for k, v := range patch {
		if strings.HasPrefix(k, "$") {
			continue
		}
		sub, _ := props[k].(object)
		if sub == nil {
			sub, _ = schema["additionalProperties"].(object)
		}
		if err := mergeField(o, k, v, sub, depth); err != nil {
			return err
		}
	}
	for k, v := range patch {
		if field, ok := strings.CutPrefix(k, "$setElementOrder/"); ok {
			order, isList := v.([]any)
			if !isList {
				return badDirective(k)
			}
			sub, _ := props[field].(object)
			l, _ := o[field].([]any)
			o[field] = ordered(l, order, mergeKey(sub))
			if l == nil {
				delete(o, field)
			}
		}
	}
	return nil
}

func mergeField(o object, k string, v any, schema object, depth int) error {
	switch t := v.(type) {
	case nil:
		delete(o, k)
		return nil
	case object:
		old, ok := o[k].(object)
		if !ok {
			old = object{}
		}
		o[k] = old
		if err := mergeStrategic(old, t, schema, depth+1); err != nil {
			return err
		}
		if t["$patch"] == "delete" {
			delete(o, k)
		}
		return nil
	case []any:
		old, _ := o[k].([]any)
		if key := mergeKey(schema); key != "" {
			l, err := mergeItems(old, t, key, schema, depth)
			o[k] = l
			return err
		}
		if schema["x-kubernetes-list-type"] == "set" {
			o[k] = append(without(old, t), t...)
			return nil
		}
	}
	o[k] = v
	return nil
}

func mergeKey(schema object) string {
	keys, _ := schema["x-kubernetes-list-map-keys"].([]any)
	if len(keys) == 0 {
		return ""
	}
	k, _ := keys[0].(string)
	return k
}

// mergeItems merges a keyed list.
func mergeItems(old, patch []any, key string, schema object, depth int) ([]any, error) {
	item, _ := schema["items"].(object)
	for _, e := range patch {
		if m, ok := e.(object); ok && m["$patch"] == "replace" && len(m) == 1 {
			old = nil // the whole list
		}
	}
	at := make(map[string]int, len(old))
	for i, e := range old {
		at[keyOf(e, key)] = i
	}
	gone := map[int]bool{}
	for _, e := range patch {
		m, ok := e.(object)
		if !ok {
			return nil, api.Errorf(api.CodeUsage, "strategic merge patch: an item of a list keyed by %s is not an object", key)
		}
		if m["$patch"] == "replace" && len(m) == 1 {
			continue
		}
		k := keyOf(m, key)
		i, found := at[k]
		if found = found && k != "" && !gone[i]; m["$patch"] == "delete" {
			if found {
				gone[i] = true
			}
			continue
		}
		into, ok := object{}, true
		if found {
			into, ok = old[i].(object)
		}
		if !ok {
			return nil, api.Errorf(api.CodeUsage, "strategic merge patch: the list keyed by %s has an item that is not an object", key)
		}
		if err := mergeStrategic(into, m, item, depth+1); err != nil {
			return nil, err
		}
		if !found {
			at[k] = len(old)
			old = append(old, into)
		}
	}
	out := make([]any, 0, len(old))
	for i, e := range old {
		if !gone[i] {
			out = append(out, e)
		}
	}
	return out, nil
}

// same writes a value so that equal values are equal texts.
func same(v any) string {
	if _, ok := v.(string); ok {
		return "s" + cell(v)
	}
	return "j" + cell(v)
}

// keyOf is the identity of a list's item; "" where it has none.
func keyOf(e any, key string) string {
	if key == "" {
		return same(e)
	}
	m, _ := e.(object)
	if m[key] == nil {
		return ""
	}
	return same(m[key])
}

func without(l, gone []any) []any {
	drop := make(map[string]bool, len(gone))
	for _, g := range gone {
		drop[same(g)] = true
	}
	out := make([]any, 0, len(l))
	for _, e := range l {
		if !drop[same(e)] {
			out = append(out, e)
		}
	}
	return out
}

// ordered sorts l as order says; items it does not name keep their place behind.
func ordered(l, order []any, key string) []any {
	at := make(map[string][]int, len(l))
	for i, e := range l {
		if k := keyOf(e, key); k != "" {
			at[k] = append(at[k], i)
		}
	}
	out := make([]any, 0, len(l))
	taken := make([]bool, len(l))
	for _, want := range order {
		k := keyOf(want, key)
		for _, i := range at[k] {
			taken[i] = true
			out = append(out, l[i])
		}
		delete(at, k)
	}
	for i, e := range l {
		if !taken[i] {
			out = append(out, e)
		}
	}
	return out
}
