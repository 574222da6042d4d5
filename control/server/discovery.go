package server

import (
	"net/http"
	"slices"
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
	return append(out, groupAuthentication, groupAuthorization, groupExtensions)
}

// versions lists the versions of a group, the preferred one first.
func (s *Server) versions(group string) (out []string) {
	for _, k := range s.kinds {
		if k.Group == group && !slices.Contains(out, k.Version) {
			out = append(out, k.Version)
		}
	}
	if out == nil {
		return []string{"v1"}
	}
	return out
}

func groupVersion(group, version string) string {
	if group == "" {
		return version
	}
	return group + "/" + version
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
			paths = append(paths, "/apis/"+g)
			for _, v := range s.versions(g) {
				paths = append(paths, "/apis/"+g+"/"+v)
			}
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
		groups = append(groups, s.groupObject(g))
	}
	answer(w, http.StatusOK, object{"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
	return nil
}

func (s *Server) groupObject(group string) object {
	versions := []any{}
	for _, v := range s.versions(group) {
		versions = append(versions, object{"groupVersion": groupVersion(group, v), "version": v})
	}
	return object{"name": group, "versions": versions, "preferredVersion": versions[0]}
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
	if k.Categories != nil {
		return texts(k.Categories)
	}
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
	versions := []any{}
	for _, v := range s.versions(group) {
		versions = append(versions, object{"version": v, "freshness": "Current", "resources": s.aggregatedResources(group, v)})
	}
	m := object{"creationTimestamp": nil}
	if group != "" {
		m["name"] = group
	}
	return object{"metadata": m, "versions": versions}
}

func (s *Server) aggregatedResources(group, version string) []any {
	resources := []any{}
	for _, k := range s.kinds {
		if k.Group != group || k.Version != version {
			continue
		}
		scope := "Cluster"
		if k.Namespaced {
			scope = "Namespaced"
		}
		res := object{
			"resource": k.Plural, "responseKind": gvk(k), "scope": scope, "singularResource": k.Singular,
			"verbs": verbs(), "shortNames": texts(k.Short), "categories": categories(k),
		}
		if k.Status {
			res["subresources"] = []any{object{"subresource": "status", "responseKind": gvk(k), "verbs": []any{"get", "patch", "update"}}}
		}
		resources = append(resources, res)
	}
	for _, e := range extras(group) {
		res := object{
			"resource": e.plural, "responseKind": object{"group": group, "version": "v1", "kind": e.kind}, "scope": "Cluster",
			"singularResource": e.singular, "verbs": texts(e.verbs),
		}
		if e.short != nil {
			res["shortNames"] = texts(e.short)
		}
		resources = append(resources, res)
	}
	return resources
}

// extra is a resource that is not stored.
type extra struct {
	plural, singular, kind string
	short, verbs           []string
}

func extras(group string) (out []extra) {
	switch group {
	case groupAuthentication, groupAuthorization:
		for _, plural := range reviewsOf(group) {
			out = append(out, extra{plural: plural, singular: strings.TrimSuffix(plural, "s"), kind: reviewKind(plural), verbs: []string{"create"}})
		}
	case groupExtensions:
		out = append(out, extra{
			plural: "customresourcedefinitions", singular: "customresourcedefinition", kind: "CustomResourceDefinition",
			short: []string{"crd", "crds"}, verbs: []string{"get", "list"},
		})
	}
	return out
}

// serveResources answers /api/v1, /apis/GROUP and /apis/GROUP/VERSION.
func (s *Server) serveResources(w http.ResponseWriter, group, version string) error {
	if !slices.Contains(s.groups(), group) || version == "" && group == "" || version != "" && !slices.Contains(s.versions(group), version) {
		return api.Errorf(api.CodeNotFound, "the server has no group %s of version %s", group, version).WithHint("kubectl api-versions lists them")
	}
	if version == "" {
		g := s.groupObject(group)
		g["kind"], g["apiVersion"] = "APIGroup", "v1"
		answer(w, http.StatusOK, g)
		return nil
	}
	resources := []any{}
	for _, k := range s.kinds {
		if k.Group != group || k.Version != version {
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
	for _, e := range extras(group) {
		res := object{"name": e.plural, "singularName": e.singular, "namespaced": false, "kind": e.kind, "verbs": texts(e.verbs)}
		if e.short != nil {
			res["shortNames"] = texts(e.short)
		}
		resources = append(resources, res)
	}
	answer(w, http.StatusOK, object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": groupVersion(group, version), "resources": resources})
	return nil
}
