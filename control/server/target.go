package server

import (
	"net/http"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/store"
)

// target is what a resource path names.
type target struct {
	kind      api.Kind
	namespace string // empty: all, or a kind without namespace
	name      string // empty: the collection
	sub       string // status, invoke
}

func (t target) key() store.Key {
	return store.Key{Resource: t.kind.Resource(), Namespace: t.namespace, Name: t.name}
}

func (t target) action(verb string) identity.Action {
	return identity.Action{Verb: verb, Resource: t.kind.Resource(), Subresource: t.sub, Namespace: t.namespace, Name: t.name}
}

// parseTarget reads the part of a path behind /api/v1/ or /apis/GROUP/VERSION/.
func (s *Server) parseTarget(group, version, path string) (target, error) {
	var t target
	segs := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if len(segs) > 2 && segs[0] == "namespaces" {
		if k, ok := s.kind(group, version, segs[2]); ok && k.Namespaced {
			t.namespace, segs = segs[1], segs[2:]
			if t.namespace == "" {
				return t, badRequest("name a namespace between the slashes", "the path has an empty namespace")
			}
		}
	}
	k, ok := s.kind(group, version, segs[0])
	if !ok {
		if len(segs) > 2 && segs[0] == "namespaces" {
			return t, s.noSuchPath(group, version, segs[2])
		}
		return t, s.noSuchPath(group, version, segs[0])
	}
	t.kind = k
	if len(segs) > 1 {
		t.name = segs[1]
		if k.Namespaced && t.namespace == "" {
			return t, badRequest("use …/namespaces/NAMESPACE/"+k.Plural+"/"+t.name, "%s have a namespace; the path names none", k.Plural)
		}
		if t.name == "" {
			return t, badRequest("leave the last slash out for the collection", "the path has an empty name")
		}
	}
	if len(segs) > 2 {
		t.sub = segs[2]
		switch {
		case t.sub == "status" && k.Status && len(segs) == 3:
		case t.sub == "invoke" && k.Resource() == api.Functions:
			// What follows is the function's path; see invokedPath.
		default:
			return t, api.Errorf(api.CodeNotFound, "%s have no subresource %q", k.Plural, strings.Join(segs[2:], "/"))
		}
	}
	return t, nil
}

func (s *Server) kind(group, version, plural string) (api.Kind, bool) {
	for _, k := range s.kinds {
		if k.Group == group && k.Version == version && k.Plural == plural {
			return k, true
		}
	}
	return api.Kind{}, false
}

func (s *Server) byResource(resource string) (api.Kind, bool) {
	for _, k := range s.kinds {
		if k.Resource() == resource {
			return k, true
		}
	}
	return api.Kind{}, false
}

func (s *Server) noSuchPath(group, version, plural string) error {
	var names []string
	for _, k := range s.kinds {
		if k.Group == group && k.Version == version {
			names = append(names, k.Plural)
		}
	}
	e := api.Errorf(api.CodeNotFound, "the server could not find the requested resource")
	if near := api.Nearest(plural, names); near != "" {
		return e.WithHint("did you mean %s?", near)
	}
	return e.WithHint("kubectl api-resources lists the kinds")
}

// verb is what a request wants of its target, in identity's words.
func verb(r *http.Request, t target) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case wantsWatch(r):
			return "watch"
		case t.name == "":
			return "list"
		}
		return "get"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	return ""
}

func wantsWatch(r *http.Request) bool {
	switch r.URL.Query().Get("watch") {
	case "true", "1", "True", "t":
		return true
	}
	return false
}
