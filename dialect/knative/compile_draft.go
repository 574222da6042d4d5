package knative

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// draft is an object being changed field by field, so that whatever else stands
// in it stays as it was written.
type draft struct {
	rec     store.Record // Revision 0: a new one
	m       api.Meta     // as it was
	top     map[string]json.RawMessage
	meta    map[string]json.RawMessage
	changed bool
}

// open starts a change of what is there.
func open(r store.Record) (*draft, error) {
	d := &draft{rec: r}
	if err := json.Unmarshal(r.Value, &d.top); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(d.top["metadata"], &d.meta); err != nil {
		return nil, err
	}
	return d, json.Unmarshal(d.top["metadata"], &d.m)
}

// create starts a new object.
func create(k store.Key, apiVersion, kind string) *draft {
	return &draft{
		rec: store.Record{Key: k}, changed: true,
		top:  map[string]json.RawMessage{"apiVersion": raw(apiVersion), "kind": raw(kind)},
		meta: map[string]json.RawMessage{"name": raw(k.Name), "namespace": raw(k.Namespace)},
	}
}

// set replaces a top-level field; nil and what is empty removes it.
func (d *draft) set(field string, v any) { d.replace(d.top, field, v) }

// setMeta replaces a field of the metadata.
func (d *draft) setMeta(field string, v any) { d.replace(d.meta, field, v) }

func (d *draft) replace(in map[string]json.RawMessage, field string, v any) {
	is := raw(v)
	if s := string(is); s == "null" || s == "{}" || s == "[]" {
		if _, was := in[field]; was && !equal(in[field], is) {
			delete(in, field)
			d.changed = true
		}
		return
	}
	if !equal(in[field], is) {
		in[field] = is
		d.changed = true
	}
}

// annotate sets one annotation; "" removes it.
func (d *draft) annotate(name, value string) { d.entry("annotations", name, value) }

// label sets one label; "" removes it.
func (d *draft) label(name, value string) { d.entry("labels", name, value) }

func (d *draft) entry(field, name, value string) {
	var m map[string]string
	_ = json.Unmarshal(d.meta[field], &m) // none then
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	if m[name] = value; value == "" {
		delete(m, name)
	}
	d.setMeta(field, m)
}

// controller is the uid of the object's controller; "" for none.
func (d *draft) controller() string {
	for _, r := range d.m.OwnerReferences {
		if r.Controller {
			return r.UID
		}
	}
	return ""
}

// value is the object, and whether it differs from what is there.
func (d *draft) value() ([]byte, bool) {
	if !d.changed {
		return nil, false
	}
	d.top["metadata"] = raw(d.meta)
	return raw(d.top), true
}

// raw is v as JSON; what is passed here always can be.
func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("JSON of " + err.Error())
	}
	return b
}

// equal compares JSON values, not bytes; nothing equals what is empty.
func equal(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	if len(a) > 0 && json.Unmarshal(a, &x) != nil || len(b) > 0 && json.Unmarshal(b, &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}
