package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"math"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// object is a resource as JSON: maps, slices, strings, bools, int64, float64.
type object = map[string]any

// parse decodes JSON into the value types of object.
func parse(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, api.Errorf(api.CodeUsage, "the body is not valid JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, api.Errorf(api.CodeUsage, "the body has text after the end of its JSON value")
	}
	return numbers(v), nil
}

func parseObject(data []byte) (object, error) {
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	o, ok := v.(object)
	if !ok {
		return nil, api.Errorf(api.CodeUsage, "the body is not a JSON object")
	}
	return o, nil
}

// numbers turns json.Number into int64 where it is one, else float64.
func numbers(v any) any {
	switch t := v.(type) {
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return i
		}
		f, err := t.Float64()
		if err != nil || math.IsInf(f, 0) {
			return t.String()
		}
		return f
	case object:
		for k, e := range t {
			t[k] = numbers(e)
		}
	case []any:
		for i, e := range t {
			t[i] = numbers(e)
		}
	}
	return v
}

// clone copies v deeply.
func clone[T any](v T) T {
	c, _ := cloneAny(any(v)).(T)
	return c
}

func cloneAny(v any) any {
	switch t := v.(type) {
	case object:
		if t == nil {
			return t
		}
		c := make(object, len(t))
		for k, e := range t {
			c[k] = cloneAny(e)
		}
		return c
	case []any:
		c := make([]any, len(t))
		for i, e := range t {
			c[i] = cloneAny(e)
		}
		return c
	}
	return v
}

// meta is o's metadata, made when missing or malformed.
func meta(o object) object {
	m, ok := o["metadata"].(object)
	if !ok {
		m = object{}
		o["metadata"] = m
	}
	return m
}

// text is the string at the end of a path of field names, or "".
func text(o object, path ...string) string {
	var v any = o
	for _, p := range path {
		m, _ := v.(object)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

func metaText(o object, field string) string { return text(o, "metadata", field) }

// list is the list of strings in metadata.field.
func metaList(o object, field string) []string {
	m, _ := o["metadata"].(object)
	l, _ := m[field].([]any)
	out := make([]string, 0, len(l))
	for _, e := range l {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func setList(o object, field string, vs []string) {
	if len(vs) == 0 {
		delete(meta(o), field)
		return
	}
	l := make([]any, len(vs))
	for i, v := range vs {
		l[i] = v
	}
	meta(o)[field] = l
}

func labelsOf(o object) map[string]string {
	m, _ := o["metadata"].(object)
	l, _ := m["labels"].(object)
	out := make(map[string]string, len(l))
	for k, v := range l {
		out[k], _ = v.(string)
	}
	return out
}

func deleting(o object) bool { return metaText(o, "deletionTimestamp") != "" }

// read makes the object of a record. Records written by reconcilers may lack
// what a client sent; type, name and version are filled in.
func read(k api.Kind, r store.Record) (object, error) {
	o, err := parseObject(r.Value)
	if err != nil {
		return nil, api.Errorf(api.CodeInternal, "the stored %s %s is damaged", k.Singular, r.Key.Name).WithCause(err)
	}
	o["apiVersion"], o["kind"] = k.APIVersion(), k.Kind
	m := meta(o)
	m["name"] = r.Key.Name
	if k.Namespaced {
		m["namespace"] = r.Key.Namespace
	}
	m["resourceVersion"] = version(r.Revision)
	return o, nil
}

// write makes the stored value of an object: it without its version, which is
// the record's.
func write(o object) ([]byte, error) {
	c := make(object, len(o))
	for k, v := range o {
		c[k] = v
	}
	m := make(object, len(meta(o)))
	for k, v := range meta(o) {
		if k != "resourceVersion" && k != "selfLink" {
			m[k] = v
		}
	}
	c["metadata"] = m
	return json.Marshal(c)
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// lookup finds the value at a dotted path; name[X] selects the item of a list
// whose type or name is X. Label keys with dots stand in brackets as well.
func lookup(o object, path string) any {
	var v any = o
	for path != "" {
		var seg, sel string
		if i := strings.IndexAny(path, ".["); i < 0 {
			seg, path = path, ""
		} else if path[i] == '.' {
			seg, path = path[:i], path[i+1:]
		} else {
			end := strings.IndexByte(path[i:], ']')
			if end < 0 {
				return nil
			}
			seg, sel = path[:i], path[i+1:i+end]
			path = strings.TrimPrefix(path[i+end+1:], ".")
		}
		m, ok := v.(object)
		if !ok {
			return nil
		}
		v = m[seg]
		if sel != "" {
			v = selectItem(v, strings.Trim(sel, `'"`))
		}
	}
	return v
}

func selectItem(v any, sel string) any {
	if m, ok := v.(object); ok {
		return m[sel]
	}
	l, _ := v.([]any)
	for _, e := range l {
		if m, ok := e.(object); ok && (m["type"] == sel || m["name"] == sel) {
			return m
		}
	}
	return nil
}

func encode64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
