package server

import (
	"context"
	"net/http"
	"slices"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/identity"
)

const (
	groupAuthorization  = "authorization.k8s.io"
	groupAuthentication = "authentication.k8s.io"
)

// authorize asks whether the caller may do verb on t; a refusal is a 403 with
// its reason. hide says that the caller may handle the object but not read its
// values: who may write Secrets without reading them gets them redacted.
func (s *Server) authorize(ctx context.Context, t target, verb string) (hide bool, err error) {
	c := callerOf(ctx)
	d, err := s.cfg.Identity.Authorize(ctx, c, t.action(verb))
	if err != nil {
		return false, err
	}
	secret := t.kind.Resource() == api.Secrets
	read := verb == "get" || verb == "list" || verb == "watch"
	if d.Allowed {
		if secret && !read {
			return !s.may(ctx, t.action("get")), nil
		}
		return false, nil
	}
	if secret && read && s.may(ctx, t.action("update")) {
		return true, nil
	}
	return false, forbidden(d.Reason)
}

// may reports whether the caller is allowed a.
func (s *Server) may(ctx context.Context, a identity.Action) bool {
	d, err := s.cfg.Identity.Authorize(ctx, callerOf(ctx), a)
	return err == nil && d.Allowed
}

// allow is authorize for what is no object of a kind.
func (s *Server) allow(ctx context.Context, a identity.Action) error {
	d, err := s.cfg.Identity.Authorize(ctx, callerOf(ctx), a)
	if err != nil {
		return err
	}
	if !d.Allowed {
		return forbidden(d.Reason)
	}
	return nil
}

func forbidden(reason string) error {
	if reason == "" {
		reason = "no role grants this"
	}
	return api.Errorf(api.CodeForbidden, "%s", reason)
}

// serveReviews answers questions of callers about themselves.
func (s *Server) serveReviews(w http.ResponseWriter, r *http.Request, group, version, rest string) error {
	if version != "v1" {
		return s.noSuchPath(group, version, rest)
	}
	if rest == "" && r.Method == http.MethodGet {
		return s.serveResources(w, group, version)
	}
	if !slices.Contains(reviewsOf(group), rest) {
		return s.noSuchPath(group, version, rest)
	}
	if r.Method != http.MethodPost {
		return &fail{err: api.Errorf(api.CodeUnsupported, "a review is asked by POST"), status: http.StatusMethodNotAllowed}
	}
	data, _, err := body(w, r, maxBody)
	if err != nil {
		return err
	}
	o, err := parseObject(data)
	if err != nil {
		return err
	}
	spec, _ := o["spec"].(object)
	c := callerOf(r.Context())
	o["apiVersion"] = group + "/" + version
	switch rest {
	case "selfsubjectreviews":
		o["kind"] = "SelfSubjectReview"
		o["status"] = object{"userInfo": object{"username": c.Name, "groups": c.Roles}}
	case "selfsubjectaccessreviews":
		o["kind"] = "SelfSubjectAccessReview"
		a, ok := reviewAction(spec)
		if !ok {
			// Paths that are no resources: open to whoever has a token.
			o["status"] = object{"allowed": true, "reason": "every caller may read this path"}
			break
		}
		d, err := s.cfg.Identity.Authorize(r.Context(), c, a)
		if err != nil {
			return err
		}
		o["status"] = object{"allowed": d.Allowed, "reason": d.Reason}
	case "selfsubjectrulesreviews":
		o["kind"] = "SelfSubjectRulesReview"
		o["status"] = s.rules(r.Context(), text(spec, "namespace"))
	}
	answer(w, http.StatusCreated, o)
	return nil
}

func reviewsOf(group string) []string {
	if group == groupAuthentication {
		return []string{"selfsubjectreviews"}
	}
	return []string{"selfsubjectaccessreviews", "selfsubjectrulesreviews"}
}

// reviewAction reads what an access review asks; false means a path.
func reviewAction(spec object) (identity.Action, bool) {
	ra, ok := spec["resourceAttributes"].(object)
	if !ok {
		return identity.Action{}, false
	}
	a := identity.Action{
		Verb: text(ra, "verb"), Resource: text(ra, "resource"), Subresource: text(ra, "subresource"),
		Namespace: text(ra, "namespace"), Name: text(ra, "name"),
	}
	if g := text(ra, "group"); g != "" && g != "*" {
		a.Resource += "." + g
	}
	if a.Verb == "deletecollection" {
		a.Verb = "delete"
	}
	return a, true
}

// rules lists what the caller may do in a namespace.
func (s *Server) rules(ctx context.Context, namespace string) object {
	rules := []any{}
	for _, k := range s.kinds {
		var verbs []any
		for _, v := range []string{"get", "list", "watch", "create", "update", "patch", "delete"} {
			a := identity.Action{Verb: v, Resource: k.Resource(), Namespace: namespace}
			if !k.Namespaced {
				a.Namespace = ""
			}
			if s.may(ctx, a) {
				verbs = append(verbs, v)
			}
		}
		if len(verbs) > 0 {
			rules = append(rules, object{"verbs": verbs, "apiGroups": []any{k.Group}, "resources": []any{k.Plural}})
		}
	}
	if s.may(ctx, identity.Action{Verb: "invoke", Resource: api.Functions, Subresource: "invoke", Namespace: namespace}) {
		rules = append(rules, object{"verbs": []any{"invoke"}, "apiGroups": []any{api.Group}, "resources": []any{"functions/invoke"}})
	}
	return object{"resourceRules": rules, "nonResourceRules": []any{}, "incomplete": false}
}

// hidden stands in for a value the caller may not read, in base64 as Secret
// data is. Written back it means: keep what is there.
const hidden = "KGhpZGRlbik=" // (hidden)

const annotationApplied = "kubectl.kubernetes.io/last-applied-configuration"

// redact hides the values of a Secret, and the annotation in which kubectl
// keeps a copy of them.
func redact(o object) object {
	o = clone(o)
	if d, ok := o["data"].(object); ok {
		for k := range d {
			d[k] = hidden
		}
	}
	delete(o, "stringData")
	if a, ok := meta(o)["annotations"].(object); ok {
		delete(a, annotationApplied)
		if len(a) == 0 {
			delete(meta(o), "annotations")
		}
	}
	return o
}

// unhide puts live values where a Secret came back redacted.
func unhide(o, live object) []api.FieldError {
	data, _ := o["data"].(object)
	old, _ := live["data"].(object)
	var errs []api.FieldError
	for k, v := range data {
		if v != hidden {
			continue
		}
		was, ok := old[k]
		if !ok {
			errs = append(errs, api.FieldError{Path: "data." + k, Message: "is the mark of a hidden value", Hint: "give the value itself"})
			continue
		}
		data[k] = was
	}
	return errs
}
