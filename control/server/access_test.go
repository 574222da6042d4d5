package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

func TestEveryPathNeedsAToken(t *testing.T) {
	w := newWorld(t)
	nobody, stranger := w.as(t, ""), w.as(t, "guess")
	for _, path := range []string{"/", "/api", "/apis", "/api/v1", fnPath, fnPath + "/x", fnPath + "/x/invoke", "/openapi/v3", "/hearth/v1/status", "/hearth/v1/blobs/x", "/nowhere", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			for _, who := range []*world{nobody, stranger} {
				code, text, h := who.raw(method, path, nil, nil)
				if code != 401 || !strings.Contains(text, `"reason":"Unauthorized"`) || h.Get("WWW-Authenticate") == "" {
					t.Errorf("%s %s: %d %s", method, path, code, text)
				}
			}
		}
	}
	if code, _, _ := nobody.raw("GET", "/version", nil, nil); code != http.StatusOK {
		t.Errorf("/version: %d", code)
	}
	if strings.Contains(w.log.String(), "guess") {
		t.Error("the log holds a token")
	}
}

func TestRoles(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", nsPath, "", m{"metadata": m{"name": "shop"}})
	w.want(201, "POST", fnPath, "", function("hello"))
	viewer, editor, shop := w.as(t, "viewer"), w.as(t, "editor"), w.as(t, "shop")
	viewer.want(200, "GET", fnPath, "", nil)
	e := viewer.want(403, "POST", fnPath, "", function("mine"))
	if e["reason"] != "Forbidden" || !strings.Contains(e["message"].(string), "test-viewer may not create functions.hearth.run in tenant default: no role grants it (roles: viewer)") {
		t.Errorf("got %v", e)
	}
	viewer.want(403, "PUT", fnPath+"/hello", "", function("hello"))
	viewer.want(403, "PATCH", fnPath+"/hello", merge, m{})
	viewer.want(403, "DELETE", fnPath+"/hello", "", nil)
	viewer.want(403, "DELETE", fnPath, "", nil)
	viewer.want(403, "GET", secPath, "", nil)
	viewer.want(403, "PATCH", fnPath+"/hello/status", merge, m{})
	editor.want(403, "POST", nsPath, "", m{"metadata": m{"name": "x"}})
	shop.want(403, "GET", fnPath, "", nil)
	shop.want(403, "GET", "/apis/hearth.run/v1/functions", "", nil)
	shop.want(200, "GET", "/apis/hearth.run/v1/namespaces/shop/functions", "", nil)
	shop.want(201, "POST", "/apis/hearth.run/v1/namespaces/shop/functions", "", function("hello"))
}

func TestReviews(t *testing.T) {
	w := newWorld(t)
	ask := func(who, verb, group, resource, ns string) any {
		t.Helper()
		o := w.as(t, who).want(201, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "",
			m{"spec": m{"resourceAttributes": m{"verb": verb, "group": group, "resource": resource, "namespace": ns}}})
		return at(o, "status", "allowed")
	}
	if ask("admin", "create", "hearth.run", "functions", "default") != true || ask("viewer", "create", "hearth.run", "functions", "default") != false ||
		ask("viewer", "list", "hearth.run", "functions", "default") != true || ask("shop", "list", "hearth.run", "functions", "default") != false {
		t.Error("an access review is wrong")
	}
	o := w.as(t, "viewer").want(201, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "", m{})
	if at(o, "status", "userInfo", "username") != "test-viewer" {
		t.Errorf("got %v", o)
	}
	w.want(400, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "", "[]")
	w.want(404, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", "", m{})
	w.want(405, "GET", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "", nil)
}

// TestSecretsAreHidden holds that who writes Secrets without reading them never
// gets a value, and loses none by writing back what was shown.
func TestSecretsAreHidden(t *testing.T) {
	w := newWorld(t)
	editor := w.as(t, "editor")
	value := base64.StdEncoding.EncodeToString([]byte("the-value"))
	applied := map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "the-value", "note": "x"}
	answers := []any{
		editor.want(201, "POST", secPath, "", m{"metadata": m{"name": "s", "annotations": applied}, "stringData": m{"a": "the-value"}}),
		editor.want(200, "GET", secPath+"/s", "", nil),
		editor.want(200, "GET", secPath, "", nil),
		editor.want(200, "PATCH", secPath+"/s", merge, m{"stringData": m{"b": "the-value"}}),
		editor.want(200, "PATCH", secPath+"/s?fieldManager=x", "application/apply-patch+yaml", m{"metadata": m{"labels": m{"c": "d"}}}),
		editor.want(422, "PATCH", secPath+"/s", "application/json-patch+json", l{m{"op": "test", "path": "/data/a", "value": "x"}}),
		editor.want(200, "PATCH", secPath+"/s", "application/json-patch+json", l{m{"op": "copy", "from": "/data/a", "path": "/metadata/annotations/stolen"}}),
		editor.want(422, "PATCH", secPath+"/s", "application/json-patch+json", l{m{"op": "test", "path": "/data/a", "value": value}}),
		editor.want(422, "PATCH", secPath+"/s", "application/json-patch+json", l{m{"op": "copy", "from": "/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration", "path": "/metadata/annotations/stolen"}}),
		editor.want(200, "DELETE", secPath+"?dryRun=All", "", nil),
	}
	for i, a := range answers {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if s := string(b); strings.Contains(s, value) || strings.Contains(s, "the-value") {
			t.Errorf("answer %d shows the value: %s", i, s)
		}
	}
	shown := editor.want(200, "GET", secPath+"/s", "", nil)
	shown["metadata"].(m)["labels"] = m{"e": "f"}
	editor.want(200, "PUT", secPath+"/s", "", shown)
	o := w.want(200, "GET", secPath+"/s", "", nil)
	if at(o, "data", "a") != value || at(o, "data", "b") != value || at(o, "metadata", "labels", "e") != "f" || at(o, "metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration") != "the-value" {
		t.Errorf("after writing back: %v", o)
	}
	editor.want(422, "PATCH", secPath+"/s", merge, m{"data": m{"fresh": at(shown, "data", "a")}})
	if strings.Contains(w.log.String(), "the-value") || strings.Contains(w.log.String(), value) {
		t.Error("the log holds a secret")
	}
}
