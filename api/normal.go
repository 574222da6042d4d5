package api

import "reflect"

// Normal brings obj, a JSON object of kind k as package encoding/json decodes
// it into a map, into the form that is stored, in place: fields the kind does
// not have and nulls are dropped. All other values stay as they were written.
func Normal(k Kind, obj map[string]any) { normalObject(obj, reflect.TypeOf(k.New()).Elem()) }

func normalObject(obj map[string]any, t reflect.Type) {
	fields := fieldsOf(t)
	for key, v := range obj {
		f, ok := findField(fields, key)
		if !ok || v == nil {
			delete(obj, key)
			continue
		}
		normalValue(v, f.typ)
	}
}

func normalValue(v any, t reflect.Type) {
	t = deref(t)
	switch classOf(t) {
	case classObject:
		if m, ok := v.(map[string]any); ok {
			normalObject(m, t)
		}
	case classMap:
		m, _ := v.(map[string]any)
		for key, e := range m {
			if e == nil {
				delete(m, key)
				continue
			}
			normalValue(e, t.Elem())
		}
	case classList:
		l, _ := v.([]any)
		for _, e := range l {
			normalValue(e, t.Elem())
		}
	}
}
