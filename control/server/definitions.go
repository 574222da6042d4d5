package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// groupExtensions holds the definitions of custom kinds. Clients list them to
// find out which kinds a server has; here they are read-only.
const groupExtensions = "apiextensions.k8s.io"

// serveDefinitions answers /apis/apiextensions.k8s.io/v1/customresourcedefinitions.
func (s *Server) serveDefinitions(w http.ResponseWriter, r *http.Request, version, rest string) error {
	plural, name, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	if version != "v1" || plural != "customresourcedefinitions" {
		return api.Errorf(api.CodeNotFound, "the server could not find the requested resource").WithHint("kubectl api-resources lists the kinds")
	}
	k := api.Kind{
		Group: groupExtensions, Version: "v1", Kind: "CustomResourceDefinition", Plural: plural, Singular: "customresourcedefinition",
		Columns: []api.Column{{Name: "Created At", Path: "metadata.creationTimestamp"}},
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead || wantsWatch(r) {
		return &fail{
			err:  api.Errorf(api.CodeUnsupported, "the kinds are built in; they can only be read").WithHint("kubectl get crds lists them"),
			kind: k, name: name, status: http.StatusMethodNotAllowed,
		}
	}
	sel, err := s.parseSelector(r, target{kind: k})
	if err != nil {
		return err
	}
	items := []object{}
	for _, d := range s.definitions() {
		if name == "" && !sel.selects(d) || name != "" && metaText(d, "name") != name {
			continue
		}
		items = append(items, d)
	}
	switch form := accepted(r); {
	case name != "" && len(items) == 0:
		return about(api.Errorf(api.CodeNotFound, "%s %q not found", plural+"."+groupExtensions, name), k, name)
	case form == formTable:
		answer(w, http.StatusOK, table(k, items, "1", "", r.URL.Query().Get("includeObject"), true))
	case name != "" && form == formPartial:
		answer(w, http.StatusOK, partial(items[0]))
	case name != "":
		answer(w, http.StatusOK, items[0])
	default:
		l := object{"kind": "CustomResourceDefinitionList", "apiVersion": groupExtensions + "/v1", "metadata": object{"resourceVersion": "1"}, "items": items}
		if form == formPartial {
			for i := range items {
				items[i] = partial(items[i])
			}
			l["kind"], l["apiVersion"] = "PartialObjectMetadataList", "meta.k8s.io/v1"
		}
		answer(w, http.StatusOK, l)
	}
	return nil
}

// definitions describes the kinds outside the core group, by name.
func (s *Server) definitions() []object {
	var out []object
	for _, k := range s.kinds {
		if k.Group == "" {
			continue
		}
		scope := "Cluster"
		if k.Namespaced {
			scope = "Namespaced"
		}
		v := object{"name": k.Version, "served": true, "storage": true, "schema": object{"openAPIV3Schema": object{"type": "object", "description": k.Doc}}}
		if k.Status {
			v["subresources"] = object{"status": object{}}
		}
		names := object{
			"plural": k.Plural, "singular": k.Singular, "kind": k.Kind, "listKind": k.Kind + "List", "shortNames": texts(k.Short), "categories": categories(k),
		}
		conditions := []any{}
		for _, c := range []string{"NamesAccepted", "Established"} {
			conditions = append(conditions, object{"type": c, "status": api.True, "reason": "BuiltIn", "message": "the kind is part of hearth"})
		}
		labels := object{}
		for key, v := range k.Labels {
			labels[key] = v
		}
		out = append(out, object{
			"kind": "CustomResourceDefinition", "apiVersion": groupExtensions + "/v1",
			"metadata": object{"name": k.Resource(), "creationTimestamp": s.started, "labels": labels, "resourceVersion": "1"},
			"spec":     object{"group": k.Group, "scope": scope, "names": names, "versions": []any{v}},
			"status":   object{"acceptedNames": names, "conditions": conditions, "storedVersions": []any{k.Version}},
		})
	}
	slices.SortFunc(out, func(a, b object) int { return strings.Compare(metaText(a, "name"), metaText(b, "name")) })
	return out
}
