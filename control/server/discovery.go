package server

import (
	"net/http"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// kubernetesVersion is the version of the conventions served, which clients
// compare with their own.
const kubernetesVersion = "1.32.0"

func (s *Server) serveVersion(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &fail{err: api.Errorf(api.CodeUnsupported, "only GET is possible here"), status: http.StatusMethodNotAllowed}
	}
	answer(w, http.StatusOK, object{
		"major": "1", "minor": "32", "gitVersion": "v" + kubernetesVersion + "+hearth", "gitCommit": "", "gitTreeState": "clean",
		"buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "gc", "platform": "", "hearthVersion": s.cfg.Version,
	})
	return nil
}

// groups lists the API groups, the core group first.
func (s *Server) groups() []string {
	seen := map[string]bool{}
	out := []string{}
	for _, k := range s.kinds {
		if !seen[k.Group] {
			seen[k.Group] = true
			if k.Group == "" {
				out = append([]string{""}, out...)
			} else {
				out = append(out, k.Group)
			}
		}
	}
	return append(out, groupAuthentication, groupAuthorization)
}

func groupVersion(group string) string {
	if group == "" {
		return "v1"
	}
	return group + "/v1"
}

// aggregated reports whether the client asks for the one-document form, and in
// which version.
func aggregated(r *http.Request) string {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if strings.Contains(part, "as=APIGroupDiscoveryList") {
			for _, v := range []string{"v2", "v2beta1"} {
				if strings.Contains(part+";", "v="+v+";") {
					return v
				}
			}
		}
	}
	return ""
}

func (s *Server) serveDiscovery(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &fail{err: api.Errorf(api.CodeUnsupported, "only GET is possible here"), status: http.StatusMethodNotAllowed}
	}
	core := strings.HasPrefix(r.URL.Path, "/api") && !strings.HasPrefix(r.URL.Path, "/apis")
	if r.URL.Path == "/" {
		paths := []any{"/api", "/api/v1", "/apis"}
		for _, g := range s.groups()[1:] {
			paths = append(paths, "/apis/"+g, "/apis/"+g+"/v1")
		}
		paths = append(paths, "/hearth/v1/blobs", "/hearth/v1/doctor", "/hearth/v1/status", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version")
		answer(w, http.StatusOK, object{"paths": paths})
		return nil
	}
	if v := aggregated(r); v != "" {
		items := []any{}
		for _, g := range s.groups() {
			if (g == "") == core {
				items = append(items, s.aggregatedGroup(g))
			}
		}
		w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v="+v+";as=APIGroupDiscoveryList")
		w.Header().Set("Vary", "Accept")
		answer(w, http.StatusOK, object{"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/" + v, "metadata": object{}, "items": items})
		return nil
	}
	if core {
		answer(w, http.StatusOK, object{"kind": "APIVersions", "versions": []any{"v1"}, "serverAddressByClientCIDRs": []any{object{"clientCIDR": "0.0.0.0/0", "serverAddress": r.Host}}})
		return nil
	}
	groups := []any{}
	for _, g := range s.groups()[1:] {
		groups = append(groups, groupObject(g))
	}
	answer(w, http.StatusOK, object{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
	return nil
}

func groupObject(group string) object {
	v := object{"groupVersion": groupVersion(group), "version": "v1"}
	return object{"name": group, "versions": []any{v}, "preferredVersion": v}
}

func verbs() []any {
	return []any{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
}

func texts(l []string) []any {
	out := make([]any, len(l))
	for i, s := range l {
		out[i] = s
	}
	return out
}

func categories(k api.Kind) []any {
	if k.Group == api.Group {
		return []any{"all", "hearth"}
	}
	return []any{}
}

// reviewKind is the kind of a review by its plural.
func reviewKind(plural string) string {
	switch plural {
	case "selfsubjectreviews":
		return "SelfSubjectReview"
	case "selfsubjectaccessreviews":
		return "SelfSubjectAccessReview"
	}
	return "SelfSubjectRulesReview"
}

func (s *Server) aggregatedGroup(group string) object {
	resources := []any{}
	for _, k := range s.kinds {
		if k.Group != group {
			continue
		}
		scope := "Cluster"
		if k.Namespaced {
			scope = "Namespaced"
		}
		gvk := object{"group": k.Group, "version": k.Version, "kind": k.Kind}
		res := object{
			"resource": k.Plural, "responseKind": gvk, "scope": scope, "singularResource": k.Singular,
			"verbs": verbs(), "shortNames": texts(k.Short), "categories": categories(k),
		}
		if k.Status {
			res["subresources"] = []any{object{"subresource": "status", "responseKind": gvk, "verbs": []any{"get", "patch", "update"}}}
		}
		resources = append(resources, res)
	}
	if group == groupAuthentication || group == groupAuthorization {
		for _, plural := range reviewsOf(group) {
			resources = append(resources, object{
				"resource": plural, "responseKind": object{"group": group, "version": "v1", "kind": reviewKind(plural)}, "scope": "Cluster",
				"singularResource": strings.TrimSuffix(plural, "s"), "verbs": []any{"create"},
			})
		}
	}
	m := object{"creationTimestamp": nil}
	if group != "" {
		m["name"] = group
	}
	return object{"metadata": m, "versions": []any{object{"version": "v1", "freshness": "Current", "resources": resources}}}
}

// serveResources answers /api/v1, /apis/GROUP and /apis/GROUP/VERSION.
func (s *Server) serveResources(w http.ResponseWriter, group, version string) error {
	known := false
	for _, g := range s.groups() {
		known = known || g == group
	}
	if !known || version != "v1" && (version != "" || group == "") {
		return api.Errorf(api.CodeNotFound, "the server has no group %s of version %s", group, version).WithHint("kubectl api-versions lists them")
	}
	if version == "" {
		g := groupObject(group)
		g["kind"], g["apiVersion"] = "APIGroup", "v1"
		answer(w, http.StatusOK, g)
		return nil
	}
	resources := []any{}
	for _, k := range s.kinds {
		if k.Group != group {
			continue
		}
		resources = append(resources, object{
			"name": k.Plural, "singularName": k.Singular, "namespaced": k.Namespaced, "kind": k.Kind,
			"verbs": verbs(), "shortNames": texts(k.Short), "categories": categories(k),
		})
		if k.Status {
			resources = append(resources, object{
				"name": k.Plural + "/status", "singularName": "", "namespaced": k.Namespaced, "kind": k.Kind, "verbs": []any{"get", "patch", "update"},
			})
		}
	}
	if group == groupAuthentication || group == groupAuthorization {
		for _, plural := range reviewsOf(group) {
			resources = append(resources, object{"name": plural, "singularName": strings.TrimSuffix(plural, "s"), "namespaced": false, "kind": reviewKind(plural), "verbs": []any{"create"}})
		}
	}
	answer(w, http.StatusOK, object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": groupVersion(group), "resources": resources})
	return nil
}
