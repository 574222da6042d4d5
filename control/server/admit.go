package server

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/hearth-run/hearth/api"
)

// keepOwned puts back what the request may not change: the server's metadata
// and, by the part that is written, status or all the rest.
func keepOwned(t target, o, live object) object {
	if t.sub == "status" {
		r := clone(live)
		delete(r, "status")
		if st, ok := o["status"]; ok {
			r["status"] = st
		}
		if mf, ok := meta(o)["managedFields"]; ok {
			meta(r)["managedFields"] = mf
		}
		return r
	}
	if t.kind.Status {
		delete(o, "status")
		if st, ok := live["status"]; ok {
			o["status"] = clone(st)
		}
	}
	m, was := meta(o), meta(live)
	for _, f := range []string{"name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation", "generateName", "resourceVersion"} {
		delete(m, f)
		if v, ok := was[f]; ok {
			m[f] = v
		}
	}
	return o
}

// generations reports whether changes of the kind's spec are counted.
func generations(k api.Kind) bool { return k.Group != "" }

// admit sets defaults, checks the object against its kind and its own past, and
// counts the generation. live is nil for a new one. Warnings go to opts.
func (s *Server) admit(ctx context.Context, t target, o, live object, opts *writeOptions) (object, error) {
	k := t.kind
	o["apiVersion"], o["kind"] = k.APIVersion(), k.Kind
	var errs []api.FieldError
	switch k.Resource() {
	case api.Secrets:
		moveStringData(o)
		errs = unhide(o, live)
		if text(o, "type") == "" {
			o["type"] = "Opaque"
		}
	case api.Namespaces:
		o["status"] = object{"phase": "Active"}
		if deleting(o) {
			o["status"] = object{"phase": "Terminating"}
		}
	}
	if m := meta(o); len(metaList(o, "finalizers")) == 0 {
		delete(m, "finalizers")
	}
	if k.Admit != nil && t.sub == "" && len(errs) == 0 {
		a := &api.Admission{Object: o, Old: live, User: callerOf(ctx).Name}
		if err := k.Admit(a); err != nil {
			return nil, about(err, k, t.name)
		}
		o, opts.warnings = a.Object, appendNew(opts.warnings, a.Warnings)
	}
	if live != nil {
		errs = append(errs, unchangeable(k, o, live)...)
		if generations(k) && !reflect.DeepEqual(o["spec"], live["spec"]) {
			g, _ := meta(live)["generation"].(int64)
			meta(o)["generation"] = g + 1
		}
	}
	if len(errs) == 0 {
		errs = check(k, o)
	}
	if len(errs) > 0 {
		return nil, invalid(k, t.name, errs)
	}
	return o, nil
}

// check says what is wrong with an object as a whole.
func check(k api.Kind, o object) []api.FieldError {
	data, err := json.Marshal(o)
	if err != nil {
		return []api.FieldError{{Message: "cannot be written as JSON"}}
	}
	typed, errs := api.Decode(k, data)
	if len(errs) > 0 {
		return errs
	}
	var head struct {
		Metadata api.Meta `json:"metadata"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return []api.FieldError{{Path: "metadata", Message: err.Error()}}
	}
	errs = api.CheckMeta(k, head.Metadata)
	if k.Validate != nil {
		errs = append(errs, k.Validate(typed)...)
	}
	return errs
}

// unchangeable says which fixed fields a write tried to change.
func unchangeable(k api.Kind, o, live object) (errs []api.FieldError) {
	fixed := func(field, hint string) {
		if !reflect.DeepEqual(o[field], live[field]) {
			errs = append(errs, api.FieldError{Path: field, Message: "cannot be changed", Hint: hint})
		}
	}
	switch r := k.Resource(); r {
	case api.Revisions:
		fixed("spec", "change the function; it gets a new revision")
	case api.Secrets, api.ConfigMaps:
		if live["immutable"] == true {
			for _, f := range []string{"data", "binaryData", "immutable"} {
				fixed(f, "it is immutable; delete it and create it again")
			}
		}
		if r == api.Secrets && text(live, "type") != "" {
			fixed("type", "delete it and create it again")
		}
	}
	if deleting(live) {
		had := metaList(live, "finalizers")
		for _, f := range metaList(o, "finalizers") {
			if !slices.Contains(had, f) {
				errs = append(errs, api.FieldError{Path: "metadata.finalizers", Message: "no finalizer can be added while the object is being deleted: " + f})
			}
		}
	}
	return errs
}

// appendNew appends those of more that are not in l: a write that is repeated
// warns once.
func appendNew(l, more []string) []string {
	for _, w := range more {
		if !slices.Contains(l, w) {
			l = append(l, w)
		}
	}
	return l
}
