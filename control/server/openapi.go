package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// openAPI holds the served descriptions: one per group version, an index of
// them, and all in version 2 for clients that ask for it.
type openAPI struct {
	index []byte
	docs  map[string][]byte // by path below /openapi/v3/
	v2    []byte
	wire  []byte // version 2 as a protocol buffer
}

func newOpenAPI(kinds []api.Kind, version string) (openAPI, error) {
	o := openAPI{docs: map[string][]byte{}}
	byGroup := map[string][]api.Kind{}
	for _, k := range kinds {
		p := "api/" + k.Version
		if k.Group != "" {
			p = "apis/" + k.Group + "/" + k.Version
		}
		byGroup[p] = append(byGroup[p], k)
	}
	info := object{"title": "Hearth", "version": version}
	index := object{}
	definitions := object{}
	for p, ks := range byGroup {
		paths, schemas := object{}, object{}
		for _, k := range ks {
			for path, item := range kindPaths(p, k, "#/components/schemas/") {
				paths[path] = item
			}
			for name, s := range kindSchemas(k, "#/components/schemas/") {
				schemas[name] = s
			}
			for name, s := range kindSchemas(k, "#/definitions/") {
				definitions[name] = s
			}
		}
		b, err := json.Marshal(object{"openapi": "3.0.0", "info": info, "paths": paths, "components": object{"schemas": schemas}})
		if err != nil {
			return o, err
		}
		o.docs[p] = b
		sum := sha256.Sum256(b)
		index[p] = object{"serverRelativeURL": "/openapi/v3/" + p + "?hash=" + strings.ToUpper(hex.EncodeToString(sum[:]))}
	}
	var err error
	if o.index, err = json.Marshal(object{"paths": index}); err != nil {
		return o, err
	}
	if o.wire, err = openAPIWire(kinds, version); err != nil {
		return o, err
	}
	o.v2, err = json.Marshal(object{"swagger": "2.0", "info": info, "paths": object{}, "definitions": definitions})
	return o, err
}

// schemaName is the name of a kind's schema among the components.
func schemaName(k api.Kind) string {
	if k.Group == "" {
		return "run.hearth.core." + k.Version + "." + k.Kind
	}
	labels := strings.Split(k.Group, ".")
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	return strings.Join(labels, ".") + "." + k.Version + "." + k.Kind
}

func gvk(k api.Kind) object {
	return object{"group": k.Group, "version": k.Version, "kind": k.Kind}
}

func kindSchemas(k api.Kind, ref string) object {
	s := openSchema(k.Schema()).(object)
	delete(s, "$schema")
	delete(s, "title")
	// Said by the extension below; kubectl explain would print it in the way.
	for _, f := range []string{"apiVersion", "kind"} {
		if p, ok := s["properties"].(object)[f].(object); ok {
			delete(p, "enum")
		}
	}
	s["x-kubernetes-group-version-kind"] = []any{gvk(k)}
	list := gvk(k)
	list["kind"] = k.Kind + "List"
	return object{
		schemaName(k): s,
		schemaName(k) + "List": object{
			"type": "object", "description": "A list of " + k.Plural + ".", "required": []any{"items"},
			"properties": object{
				"apiVersion": object{"type": "string"}, "kind": object{"type": "string"}, "metadata": object{"type": "object"},
				"items": object{"type": "array", "items": object{"$ref": ref + schemaName(k)}},
			},
			"x-kubernetes-group-version-kind": []any{list},
		},
	}
}

// openSchema turns JSON Schema 2020-12 into the older dialect of OpenAPI 3.0:
// one type per schema, no contentEncoding, no additionalProperties: false.
func openSchema(v any) any {
	switch t := v.(type) {
	case object:
		c := make(object, len(t))
		for k, e := range t {
			switch {
			case k == "contentEncoding":
			case k == "additionalProperties" && e == false:
			case k == "type":
				if l, ok := e.([]any); ok {
					e = l[0]
				}
				c[k] = e
			default:
				c[k] = openSchema(e)
			}
		}
		if len(t) == 0 {
			c["x-kubernetes-preserve-unknown-fields"] = true
		}
		return c
	case []any:
		c := make([]any, len(t))
		for i, e := range t {
			c[i] = openSchema(e)
		}
		return c
	}
	return v
}

// kindPaths are the operations on a kind: what clients look for is which
// parameters they take.
func kindPaths(prefix string, k api.Kind, ref string) object {
	base := "/" + prefix + "/"
	if k.Namespaced {
		base += "namespaces/{namespace}/"
	}
	base += k.Plural
	query := func(names ...string) []any {
		out := []any{}
		for _, n := range names {
			out = append(out, object{"name": n, "in": "query", "schema": object{"type": "string", "uniqueItems": true}})
		}
		return out
	}
	inPath := func(names ...string) []any {
		out := []any{}
		for _, n := range names {
			out = append(out, object{"name": n, "in": "path", "required": true, "schema": object{"type": "string", "uniqueItems": true}})
		}
		return out
	}
	obj := object{"$ref": ref + schemaName(k)}
	responses := object{"200": object{"description": "OK", "content": object{mediaJSON: object{"schema": obj}}}}
	op := func(action, word string, params []any, media ...string) object {
		o := object{
			"operationId": word + k.Kind, "tags": []any{k.Plural}, "responses": responses, "parameters": params,
			"x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk(k),
		}
		if len(media) > 0 {
			content := object{}
			for _, m := range media {
				content[m] = object{"schema": obj}
				if action == "patch" {
					content[m] = object{"schema": object{"type": "object"}}
				}
			}
			o["requestBody"] = object{"required": true, "content": content}
		}
		return o
	}
	write := query("dryRun", "fieldManager", "fieldValidation")
	patch := query("dryRun", "fieldManager", "fieldValidation", "force")
	patches := []string{mediaApply, mediaJSONPatch, mediaMerge}
	var ns []any
	names := inPath("name")
	if k.Namespaced {
		ns, names = inPath("namespace"), inPath("name", "namespace")
	}
	item := object{
		"get":        op("get", "read", query("pretty")),
		"put":        op("put", "replace", write, mediaJSON),
		"patch":      op("patch", "patch", patch, patches...),
		"delete":     op("delete", "delete", query("dryRun", "propagationPolicy")),
		"parameters": names,
	}
	out := object{
		base: object{
			"get":    op("list", "list", query("labelSelector", "fieldSelector", "limit", "continue", "watch", "resourceVersion", "timeoutSeconds", "allowWatchBookmarks")),
			"post":   op("post", "create", write, mediaJSON),
			"delete": op("deletecollection", "deleteCollection", query("labelSelector", "fieldSelector", "dryRun")),
		},
		base + "/{name}": item,
	}
	if ns != nil {
		out[base].(object)["parameters"] = ns
	}
	if k.Status {
		out[base+"/{name}/status"] = object{
			"get": op("get", "readStatus", query("pretty")), "put": op("put", "replaceStatus", write, mediaJSON),
			"patch": op("patch", "patchStatus", patch, patches...), "parameters": names,
		}
	}
	return out
}

func (s *Server) serveOpenAPI(w http.ResponseWriter, r *http.Request) error {
	open, err := s.open()
	if err != nil {
		return err
	}
	var doc []byte
	media := mediaJSON
	switch p := strings.TrimPrefix(r.URL.Path, "/openapi/"); {
	case p == "v3" || p == "v3/":
		doc = open.index
	case p == "v2":
		if strings.Contains(r.Header.Get("Accept"), "proto-openapi") {
			doc, media = open.wire, mediaOpenAPI
			break
		}
		if a := r.Header.Get("Accept"); a != "" && !strings.Contains(a, "json") && !strings.Contains(a, "*/*") {
			return &fail{err: api.Errorf(api.CodeUsage, "the description is served as JSON"), status: http.StatusNotAcceptable, reason: "NotAcceptable"}
		}
		doc = open.v2
	default:
		name, _ := strings.CutPrefix(p, "v3/")
		var ok bool
		if doc, ok = open.docs[name]; !ok {
			return api.Errorf(api.CodeNotFound, "there is no description of %q", name).WithHint("kubectl get --raw /openapi/v3 lists them")
		}
	}
	sum := sha256.Sum256(doc)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", media)
	_, _ = w.Write(doc) // a client that went away is no failure
	return nil
}
