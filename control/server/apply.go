package server

import (
	"encoding/json"
	"errors"
	"net/http"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/merge"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/identity"
)

// serveApply is server-side apply: the configuration names the fields its
// manager wants; fields it named before and names no more are removed; fields
// of others conflict unless force is given.
func (s *Server) serveApply(w http.ResponseWriter, r *http.Request, t target, data []byte, opts writeOptions) error {
	if r.URL.Query().Get("fieldManager") == "" {
		return badRequest("add fieldManager=NAME", "server-side apply needs a fieldManager")
	}
	config, err := opts.fields(t.kind, t.name, data, true)
	if err != nil {
		return err
	}
	if l, ok := meta(config)["managedFields"].([]any); ok && len(l) > 0 {
		return badRequest("remove it; the server keeps it", "metadata.managedFields must be empty in an applied configuration")
	}
	delete(meta(config), "managedFields")
	config["apiVersion"], config["kind"] = t.kind.APIVersion(), t.kind.Kind
	if n := metaText(config, "name"); n != "" && n != t.name {
		return badRequest("objects cannot be renamed", "metadata.name %q is not the name in the path, %q", n, t.name)
	}
	if t.kind.Resource() == api.Secrets {
		moveStringData(config)
	}
	for range maxRetries {
		code := http.StatusOK
		o, err := s.update(r.Context(), t, &opts, func(live object) (object, bool, error) {
			o, err := s.merge(t, live, clone(config), opts)
			return o, true, err
		})
		if api.IsCode(err, api.CodeNotFound) && t.sub == "" {
			if err := s.allow(r.Context(), identity.Action{Verb: "create", Resource: t.kind.Resource(), Namespace: t.namespace, Name: t.name}); err != nil {
				return err
			}
			if metaText(config, "uid") != "" || metaText(config, "resourceVersion") != "" {
				return err // it was meant to be there
			}
			code = http.StatusCreated
			o, err = s.createApplied(r, t, clone(config), &opts)
			if api.IsCode(err, api.CodeExists) {
				continue // someone else was faster
			}
		}
		if err != nil {
			return err
		}
		warn(w, opts.warnings)
		return s.answerObject(w, r, code, t, o, s.hides(r.Context(), t))
	}
	return conflict(t)
}

// merge applies config to live.
func (s *Server) merge(t target, live, config object, opts writeOptions) (object, error) {
	want := meta(config)
	rv, uid := want["resourceVersion"], want["uid"]
	delete(want, "resourceVersion")
	delete(want, "uid")
	was := readManaged(live)
	sets := readManaged(live).sets
	version := fieldpath.APIVersion(t.kind.APIVersion())
	old, err := s.typedOf(t.kind, live, typed.AllowDuplicates)
	if err != nil {
		return nil, untracked(live, err)
	}
	if len(sets) == 0 {
		// Written before anyone tracked its fields: they have an owner of their own.
		if set, err := old.ToFieldSet(); err == nil {
			set = set.RecursiveDifference(otherPart(t.sub))
			sets[managerKey{"before-first-apply", "Update", ""}.String()] = fieldpath.NewVersionedSet(set, version, false)
		}
	}
	conf, err := s.typedOf(t.kind, config)
	if err != nil {
		return nil, &fail{err: api.Errorf(api.CodeInvalid, "the configuration cannot be applied: %v", err), kind: t.kind, name: t.name}
	}
	key := managerKey{opts.manager, "Apply", t.sub}.String()
	up := updater(string(version), t.sub)
	merged, owners, err := up.Apply(old, conf, version, sets, key, opts.force)
	if err != nil && opts.manager == managerKubectl && s.ownBefore(t.kind, live, old, err) {
		merged, owners, err = up.Apply(old, conf, version, readManaged(live).sets, key, true)
	}
	if err != nil {
		return nil, conflictError(t, err)
	}
	sets = owners
	o, err := unstructured(merged)
	if err != nil {
		return nil, err
	}
	if a, ok := meta(o)["annotations"].(object); ok && a[annotationApplied] != nil && opts.manager == managerKubectl {
		// Client-side apply compares with what was applied last, by either way.
		b, err := json.Marshal(config)
		if err != nil {
			return nil, err
		}
		a[annotationApplied] = string(b) + "\n"
	}
	if err := writeManaged(o, sets, was); err != nil {
		return nil, err
	}
	for field, v := range map[string]any{"resourceVersion": rv, "uid": uid} {
		if v != nil {
			meta(o)[field] = v
		}
	}
	return o, nil
}

// managerKubectl is what kubectl calls itself when it applies at the server.
const managerKubectl = "kubectl"

// ownBefore reports whether every conflict is about a field that kubectl itself
// set by client-side apply, and that still has that value: moving from one way
// to the other is no conflict.
func (s *Server) ownBefore(k api.Kind, live object, old *typed.TypedValue, err error) bool {
	var conflicts merge.Conflicts
	annotation := text(live, "metadata", "annotations", annotationApplied)
	if annotation == "" || !errors.As(err, &conflicts) {
		return false
	}
	o, err := parseObject([]byte(annotation))
	if err != nil {
		return false
	}
	api.Normal(k, o)
	last, err := s.typedOf(k, o, typed.AllowDuplicates)
	if err != nil {
		return false
	}
	set, err := last.ToFieldSet()
	if err != nil {
		return false
	}
	diff, err := last.Compare(old)
	if err != nil {
		return false
	}
	return conflicts.ToSet().Difference(set.Difference(diff.Modified)).Empty()
}

// createApplied makes a new object of an applied configuration.
func (s *Server) createApplied(r *http.Request, t target, config object, opts *writeOptions) (object, error) {
	empty := object{"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": object{}}
	o, err := s.merge(t, empty, config, *opts)
	if err != nil {
		return nil, err
	}
	meta(o)["name"] = t.name
	opts.applied = true
	return s.create(r.Context(), t, o, opts)
}

// moveStringData puts a Secret's stringData into its data.
func moveStringData(o object) {
	sd, ok := o["stringData"].(object)
	delete(o, "stringData")
	if !ok || len(sd) == 0 {
		return
	}
	data, ok := o["data"].(object)
	if !ok {
		data = object{}
		o["data"] = data
	}
	for k, v := range sd {
		if t, ok := v.(string); ok {
			data[k] = encode64(t)
		}
	}
}
