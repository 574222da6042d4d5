package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// Finalizers with a meaning of their own.
const (
	finalizerForeground = "foregroundDeletion"  // dependents go first
	finalizerOrphan     = "orphan"              // dependents are cut loose first
	finalizerContent    = "hearth.run/contents" // a namespace's contents go first
)

// deleteOptions are metav1.DeleteOptions.
type deleteOptions struct {
	Policy        string `json:"propagationPolicy"`
	Orphan        *bool  `json:"orphanDependents"`
	Preconditions struct {
		UID             string `json:"uid"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"preconditions"`
	DryRun []string `json:"dryRun"`

	dryRun bool
}

func parseDeleteOptions(w http.ResponseWriter, r *http.Request) (deleteOptions, error) {
	var o deleteOptions
	data, _, err := body(w, r, maxBody)
	if err != nil {
		return o, err
	}
	if len(data) > 0 {
		if err := json.Unmarshal(data, &o); err != nil {
			return o, badRequest("send DeleteOptions or no body", "the body is no DeleteOptions")
		}
	}
	q := r.URL.Query()
	if p := q.Get("propagationPolicy"); p != "" {
		o.Policy = p
	}
	if o.Policy == "" && (o.Orphan != nil && *o.Orphan || q.Get("orphanDependents") == "true") {
		o.Policy = "Orphan"
	}
	switch o.Policy {
	case "":
		o.Policy = "Background"
	case "Background", "Foreground", "Orphan":
	default:
		return o, badRequest("use Background, Foreground or Orphan", "propagationPolicy=%q is not possible", o.Policy)
	}
	for _, d := range append(o.DryRun, q["dryRun"]...) {
		if d != "All" {
			return o, badRequest("use dryRun=All", "dryRun=%q is not possible", d)
		}
		o.dryRun = true
	}
	return o, nil
}

func (s *Server) serveDelete(w http.ResponseWriter, r *http.Request, t target) error {
	opts, err := parseDeleteOptions(w, r)
	if err != nil {
		return err
	}
	o, gone, err := s.remove(r.Context(), t, opts)
	if err != nil {
		return err
	}
	if gone {
		answer(w, http.StatusOK, object{
			"kind": "Status", "apiVersion": "v1", "metadata": object{}, "status": "Success",
			"details": object{"name": t.name, "group": t.kind.Group, "kind": t.kind.Plural, "uid": metaText(o, "uid")},
		})
		return nil
	}
	return s.answerObject(w, r, http.StatusOK, t, o, s.hides(r.Context(), t))
}

// remove deletes an object, or marks it for deletion where something must
// happen first; gone says which.
func (s *Server) remove(ctx context.Context, t target, opts deleteOptions) (o object, gone bool, err error) {
	if t.kind.Resource() == api.Namespaces && t.name == api.DefaultNamespace {
		return nil, false, api.Errorf(api.CodeForbidden, "the namespace %s cannot be deleted", t.name).WithHint("kubectl delete functions,routes --all empties it")
	}
	for range maxRetries {
		live, rev, err := s.get(ctx, t)
		if err != nil {
			return nil, false, err
		}
		p := opts.Preconditions
		if p.UID != "" && p.UID != metaText(live, "uid") || p.ResourceVersion != "" && p.ResourceVersion != version(rev) {
			return nil, false, about(api.Errorf(api.CodeConflict, "%s %q is not the one the request means: its uid is %s and its version %d",
				t.kind.Resource(), t.name, metaText(live, "uid"), rev), t.kind, t.name)
		}
		o := clone(live)
		fins := metaList(o, "finalizers")
		add, drop := "", ""
		switch opts.Policy {
		case "Foreground":
			add, drop = finalizerForeground, finalizerOrphan
		case "Orphan":
			add, drop = finalizerOrphan, finalizerForeground
		}
		fins = remaining(fins, drop)
		if add != "" && !slices.Contains(fins, add) {
			fins = append(fins, add)
		}
		if t.kind.Resource() == api.Namespaces && !slices.Contains(fins, finalizerContent) {
			fins = append(fins, finalizerContent)
		}
		setList(o, "finalizers", fins)
		if len(fins) > 0 && !deleting(o) {
			meta(o)["deletionTimestamp"] = now()
			if t.kind.Resource() == api.Namespaces {
				o["status"] = object{"phase": "Terminating"}
			}
		}
		if opts.dryRun {
			return o, len(fins) == 0, nil
		}
		if len(fins) == 0 {
			_, err = s.cfg.Store.Delete(ctx, t.key(), rev)
		} else {
			o, err = s.put(ctx, t, o, rev)
		}
		if api.IsCode(err, api.CodeConflict) {
			continue
		}
		return o, len(fins) == 0, err
	}
	return nil, false, conflict(t)
}

func remaining(l []string, drop string) []string {
	out := make([]string, 0, len(l))
	for _, e := range l {
		if e != drop {
			out = append(out, e)
		}
	}
	return out
}

// serveDeleteAll deletes what a list with the same selectors would show.
func (s *Server) serveDeleteAll(w http.ResponseWriter, r *http.Request, t target) error {
	opts, err := parseDeleteOptions(w, r)
	if err != nil {
		return err
	}
	if t.kind.Namespaced && t.namespace == "" {
		return &fail{err: api.Errorf(api.CodeUnsupported, "a collection is deleted in one namespace at a time").WithHint("use …/namespaces/NAMESPACE/%s", t.kind.Plural), status: http.StatusMethodNotAllowed}
	}
	sel, err := s.parseSelector(r, t)
	if err != nil {
		return err
	}
	objs, rev, _, err := s.list(r.Context(), t, sel, 0, "")
	if err != nil {
		return err
	}
	hide := s.hides(r.Context(), t)
	items := make([]any, 0, len(objs))
	for _, o := range objs {
		one := target{kind: t.kind, namespace: metaText(o, "namespace"), name: metaText(o, "name")}
		_, _, err := s.remove(r.Context(), one, opts)
		if api.IsCode(err, api.CodeNotFound) || api.IsCode(err, api.CodeForbidden) {
			continue
		}
		if err != nil {
			return err
		}
		if hide {
			o = redact(o)
		}
		items = append(items, o)
	}
	answer(w, http.StatusOK, object{"kind": t.kind.Kind + "List", "apiVersion": t.kind.APIVersion(), "metadata": object{"resourceVersion": version(rev)}, "items": items})
	return nil
}

// keyTarget is the target of a stored record; false for kinds not served.
func (s *Server) keyTarget(k store.Key) (target, bool) {
	kind, ok := s.byResource(k.Resource)
	return target{kind: kind, namespace: k.Namespace, name: k.Name}, ok
}
