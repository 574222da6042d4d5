package api

import (
	"encoding/json"
	"reflect"
	"time"
)

// Normal brings obj, a JSON object of kind k as package encoding/json decodes
// it into a map, into the form that is stored, in place: fields the kind does
// not have and nulls are dropped, and durations and quantities given as numbers
// become text. It leaves values alone that have the wrong type.
func Normal(k Kind, obj map[string]any) { normalObject(obj, reflect.TypeOf(k.New()).Elem()) }

func normalObject(obj map[string]any, t reflect.Type) {
	fields := fieldsOf(t)
	for key, v := range obj {
		f, ok := findField(fields, key)
		if !ok || v == nil {
			delete(obj, key)
			continue
		}
		obj[key] = normalValue(v, f.typ)
	}
}

func normalValue(v any, t reflect.Type) any {
	t = deref(t)
	switch classOf(t) {
	case classObject:
		if m, ok := v.(map[string]any); ok {
			normalObject(m, t)
		}
	case classMap:
		if m, ok := v.(map[string]any); ok {
			for key, e := range m {
				if e == nil {
					delete(m, key)
					continue
				}
				m[key] = normalValue(e, t.Elem())
			}
		}
	case classList:
		if l, ok := v.([]any); ok {
			for i, e := range l {
				if e != nil {
					l[i] = normalValue(e, t.Elem())
				}
			}
		}
	case classDuration:
		switch n := v.(type) {
		case float64:
			return Duration{time.Duration(n * float64(time.Second))}.Text()
		case int64:
			return Duration{time.Duration(n) * time.Second}.Text()
		}
	case classQuantity:
		switch v.(type) {
		case float64, int64:
			if b, err := json.Marshal(v); err == nil {
				return string(b)
			}
		}
	}
	return v
}
