package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

const merge = "application/merge-patch+json"

func hasCause(o any, reason, field string) bool {
	causes, _ := at(o, "details", "causes").([]any)
	for _, c := range causes {
		if at(c, "reason") == reason && (field == "" || at(c, "field") == field) {
			return true
		}
	}
	return false
}

func TestLifeOfAnObject(t *testing.T) {
	w := newWorld(t)
	in := function("hello")
	in["metadata"].(m)["uid"] = "forged"
	in["metadata"].(m)["resourceVersion"] = "7"
	in["metadata"].(m)["generation"] = 9
	in["status"] = m{"url": "forged"}
	o := w.want(201, "POST", fnPath, "", in)
	uid, rv := at(o, "metadata", "uid"), at(o, "metadata", "resourceVersion")
	if uid == "forged" || uid == "" || at(o, "metadata", "generation") != 1.0 || o["status"] != nil || at(o, "metadata", "namespace") != "default" || at(o, "metadata", "creationTimestamp") == nil {
		t.Fatalf("created: %v", o)
	}
	if e := w.want(409, "POST", fnPath, "", function("hello")); e["reason"] != "AlreadyExists" || e["kind"] != "Status" || !hasCause(e, "Hint", "") {
		t.Errorf("a second one: %v", e)
	}
	// A replacement needs the version that was read.
	o["spec"].(m)["handler"] = "main.two"
	two := w.want(200, "PUT", fnPath+"/hello", "", o)
	if at(two, "metadata", "generation") != 2.0 || at(two, "metadata", "uid") != uid {
		t.Errorf("replaced: %v", two)
	}
	if e := w.want(409, "PUT", fnPath+"/hello", "", o); e["reason"] != "Conflict" {
		t.Errorf("a stale write: %v", e)
	}
	delete(o["metadata"].(m), "resourceVersion")
	w.want(422, "PUT", fnPath+"/hello", "", o)
	if e := w.want(409, "PATCH", fnPath+"/hello", merge, m{"metadata": m{"resourceVersion": rv, "labels": m{"a": "b"}}}); e["reason"] != "Conflict" {
		t.Errorf("a stale patch: %v", e)
	}
	// Writing what is there makes no new version.
	same := w.want(200, "PATCH", fnPath+"/hello", merge, m{"spec": m{"handler": "main.two"}})
	if at(same, "metadata", "resourceVersion") != at(two, "metadata", "resourceVersion") {
		t.Error("an empty change made a version")
	}
	// Labels are no spec.
	labelled := w.want(200, "PATCH", fnPath+"/hello", merge, m{"metadata": m{"labels": m{"a": "b"}}})
	if at(labelled, "metadata", "generation") != 2.0 {
		t.Error("a label counted as a change of the spec")
	}
	if e := w.want(409, "DELETE", fnPath+"/hello", "", m{"preconditions": m{"uid": "another"}}); e["reason"] != "Conflict" {
		t.Errorf("precondition: %v", e)
	}
	w.want(409, "DELETE", fnPath+"/hello", "", m{"preconditions": m{"resourceVersion": rv}})
	if s := w.want(200, "DELETE", fnPath+"/hello", "", nil); s["status"] != "Success" || at(s, "details", "uid") != uid {
		t.Errorf("deleted: %v", s)
	}
	if e := w.want(404, "GET", fnPath+"/hello", "", nil); e["reason"] != "NotFound" || e["message"] != `functions.hearth.run "hello" not found` || at(e, "details", "group") != "hearth.run" {
		t.Errorf("gone: %v", e)
	}
	w.want(404, "DELETE", fnPath+"/hello", "", nil)
}

func TestStatusSubresource(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", fnPath, "", function("hello"))
	o := w.want(200, "PATCH", fnPath+"/hello/status", merge, m{"status": m{"url": "http://a"}, "spec": m{"handler": "stolen.run"}})
	if at(o, "status", "url") != "http://a" || at(o, "spec", "handler") != "main.run" || at(o, "metadata", "generation") != 1.0 {
		t.Errorf("a status write: %v", o)
	}
	o = w.want(200, "PATCH", fnPath+"/hello", merge, m{"status": m{"url": "http://b"}, "spec": m{"handler": "main.two"}})
	if at(o, "status", "url") != "http://a" || at(o, "spec", "handler") != "main.two" || at(o, "metadata", "generation") != 2.0 {
		t.Errorf("a spec write: %v", o)
	}
	o["status"] = m{"url": "http://c"}
	o["metadata"].(m)["labels"] = m{"a": "b"}
	o = w.want(200, "PUT", fnPath+"/hello/status", "", o)
	if at(o, "status", "url") != "http://c" || at(o, "metadata", "labels") != nil {
		t.Errorf("a status replacement: %v", o)
	}
	o = w.want(200, "GET", fnPath+"/hello/status", "", nil)
	if at(o, "status", "url") != "http://c" {
		t.Errorf("status read: %v", o)
	}
	w.want(404, "GET", secPath+"/x/status", "", nil)
	// The status has owners of its own.
	subs := ""
	for _, e := range at(o, "metadata", "managedFields").([]any) {
		subs += fmt.Sprint(at(e, "subresource"), " ")
	}
	if !strings.Contains(subs, "status") {
		t.Errorf("managed fields of subresources %s", subs)
	}
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", fnPath, "", function("hello"))
	big := `{"metadata":{"name":"big"},"data":{"a":"` + strings.Repeat("x", 3<<20) + `"}}`
	deep := strings.Repeat("[", 100_000)
	tests := []struct {
		name, method, path, media string
		body                      any
		code                      int
		reason, says              string
	}{
		{"no JSON", "POST", fnPath, "", "{nope", 422, "Invalid", "is not valid JSON"},
		{"nothing", "POST", fnPath, "", nil, 422, "Invalid", "ends too early"},
		{"a list", "POST", fnPath, "", "[]", 422, "Invalid", "must be an object"},
		{"deep", "POST", fnPath, "", deep, 422, "Invalid", "not valid JSON"},
		{"too large", "POST", cmPath, "", big, 413, "RequestEntityTooLarge", "larger than"},
		{"unknown field with its line", "POST", fnPath, "", "{\"metadata\":{\"name\":\"a\"},\n\"spec\":{\"source\":{\"inline\":\"x\"},\n\"handlr\":\"x\"}}", 422, "Invalid", `line 3: spec.handlr: unknown field (did you mean "handler"?)`},
		{"wrong kind", "POST", fnPath, "", `{"kind":"Secret","metadata":{"name":"a"},"spec":{"source":{"inline":"x"}}}`, 422, "Invalid", "must be Function"},
		{"wrong namespace", "POST", fnPath, "", `{"metadata":{"name":"a","namespace":"b"},"spec":{"source":{"inline":"x"}}}`, 400, "BadRequest", "is not the namespace of the path"},
		{"absent namespace", "POST", "/api/v1/namespaces/nowhere/configmaps", "", configMap("a"), 404, "NotFound", "kubectl create namespace nowhere"},
		{"bad name", "POST", fnPath, "", function("Not_A_Label"), 422, "Invalid", "is not a DNS label"},
		{"no name", "POST", fnPath, "", `{"metadata":{},"spec":{"source":{"inline":"x"}}}`, 422, "Invalid", "a name is needed"},
		{"a rule of the kind", "POST", fnPath, "", `{"metadata":{"name":"a"},"spec":{"source":{"inline":"x","folder":"y"}}}`, 422, "Invalid", "exactly one of"},
		{"form", "POST", fnPath, "application/x-www-form-urlencoded", "a=b", 415, "UnsupportedMediaType", "not understood"},
		{"content type", "POST", fnPath, ";;;", "{}", 400, "BadRequest", "malformed"},
		{"bad YAML", "POST", fnPath, "application/yaml", "a: [", 400, "BadRequest", "not valid YAML"},
		{"YAML with a key twice", "POST", fnPath, "application/yaml", "metadata: {name: a}\nmetadata: {name: b}", 400, "BadRequest", "already set in map"},
		{"bad protobuf", "POST", cmPath, "application/vnd.kubernetes.protobuf", "k8s\x00\xff\xff\xff", 400, "BadRequest", "protobuf"},
		{"patch type", "PATCH", fnPath + "/hello", "application/json", "{}", 415, "UnsupportedMediaType", "merge-patch"},
		{"patch with an unknown field", "PATCH", fnPath + "/hello", merge, `{"spec":{"handlr":"x"}}`, 422, "Invalid", "did you mean"},
		{"patch to a wrong type", "PATCH", fnPath + "/hello", merge, `{"spec":7}`, 422, "Invalid", "must be an object"},
		{"patch to nothing", "PATCH", fnPath + "/hello", merge, `{"spec":null}`, 422, "Invalid", "spec: is needed"},
		{"rename", "PATCH", fnPath + "/hello", merge, `{"metadata":{"name":"other"}}`, 400, "BadRequest", "cannot be renamed"},
		{"other uid", "PATCH", fnPath + "/hello", merge, `{"metadata":{"uid":"other"}}`, 409, "Conflict", "uid"},
		{"JSON patch, no list", "PATCH", fnPath + "/hello", "application/json-patch+json", `{}`, 400, "BadRequest", "must be a list"},
		{"JSON patch, op", "PATCH", fnPath + "/hello", "application/json-patch+json", `[{"op":"burn","path":"/a"}]`, 400, "BadRequest", "none of add"},
		{"JSON patch, path", "PATCH", fnPath + "/hello", "application/json-patch+json", `[{"op":"remove","path":"/spec/nothing"}]`, 422, "Invalid", "there is no"},
		{"JSON patch, test", "PATCH", fnPath + "/hello", "application/json-patch+json", `[{"op":"test","path":"/spec/handler","value":"x"}]`, 422, "Invalid", "not the tested one"},
		{"apply without manager", "PATCH", fnPath + "/hello", "application/apply-patch+yaml", `{}`, 400, "BadRequest", "fieldManager"},
		{"label selector", "GET", fnPath + "?labelSelector=" + url.QueryEscape("a in b"), "", nil, 400, "BadRequest", "labelSelector"},
		{"field selector", "GET", fnPath + "?fieldSelector=nothing%3D1", "", nil, 400, "BadRequest", "no single value"},
		{"field of a secret", "GET", secPath + "?fieldSelector=data.a%3D1", "", nil, 400, "BadRequest", "no single value"},
		{"limit", "GET", fnPath + "?limit=x", "", nil, 400, "BadRequest", "limit"},
		{"continue", "GET", fnPath + "?continue=x", "", nil, 400, "BadRequest", "continue"},
		{"version", "GET", fnPath + "?watch=1&resourceVersion=x", "", nil, 400, "BadRequest", "resourceVersion"},
		{"timeout", "GET", fnPath + "?watch=1&timeoutSeconds=x", "", nil, 400, "BadRequest", "timeoutSeconds"},
		{"dry run", "POST", fnPath + "?dryRun=Some", "", function("a"), 400, "BadRequest", "dryRun"},
		{"validation", "POST", fnPath + "?fieldValidation=Maybe", "", function("a"), 400, "BadRequest", "fieldValidation"},
		{"policy", "DELETE", fnPath + "/hello?propagationPolicy=Sideways", "", nil, 400, "BadRequest", "propagationPolicy"},
		{"kind", "GET", "/apis/hearth.run/v1/namespaces/default/functons", "", nil, 404, "NotFound", "did you mean functions?"},
		{"group", "GET", "/apis/nowhere/v1", "", nil, 404, "NotFound", "no group"},
		{"path", "GET", "/nowhere", "", nil, 404, "NotFound", "nothing is served"},
		{"no namespace", "GET", "/apis/hearth.run/v1/functions/hello", "", nil, 400, "BadRequest", "names none"},
		{"method", "POST", fnPath + "/hello", "", function("hello"), 405, "MethodNotAllowed", "not possible"},
		{"subresource", "GET", fnPath + "/hello/scale", "", nil, 404, "NotFound", "no subresource"},
		{"dots", "GET", "/api/v1/namespaces//configmaps", "", nil, 400, "BadRequest", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := w.as(t, "admin")
			code, o := w.do(tt.method, tt.path, tt.media, tt.body)
			msg, _ := o["message"].(string)
			if code != tt.code || o["kind"] != "Status" || o["reason"] != tt.reason || o["code"] != float64(code) || !strings.Contains(msg, tt.says) {
				t.Errorf("got %d %v", code, o)
			}
			if !hasCause(o, "Hint", "") {
				t.Errorf("no hint in %v", o)
			}
		})
	}
	if o := w.want(200, "GET", fnPath+"/hello", "", nil); at(o, "spec", "handler") != "main.run" {
		t.Error("bad input changed the object")
	}
}

func TestYAMLAndLeniency(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", fnPath, "application/yaml", "metadata: {name: written}\nspec: {timeout: 30, source: {inline: x}}\n")
	bad := `{"metadata":{"name":"w"},"spec":{"handlr":"x","source":{"inline":"x"}}}`
	code, text, h := w.raw("POST", fnPath+"?fieldValidation=Warn", nil, bad)
	if code != 201 || !strings.Contains(h.Get("Warning"), "spec.handlr") || strings.Contains(text, "handlr\":") {
		t.Errorf("Warn: %d %s %q", code, text, h.Get("Warning"))
	}
	code, text, h = w.raw("POST", fnPath+"?fieldValidation=Ignore", nil, strings.Replace(bad, `"w"`, `"i"`, 1))
	if code != 201 || h.Get("Warning") != "" || strings.Contains(text, "handlr\":") {
		t.Errorf("Ignore: %d %s", code, text)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", fnPath, "", function("hello"))
	before := at(w.want(200, "GET", fnPath, "", nil), "metadata", "resourceVersion")
	w.want(201, "POST", fnPath+"?dryRun=All", "", function("other"))
	w.want(409, "POST", fnPath+"?dryRun=All", "", function("hello"))
	w.want(422, "POST", fnPath+"?dryRun=All", "", function("BAD"))
	o := w.want(200, "PATCH", fnPath+"/hello?dryRun=All", merge, m{"spec": m{"handler": "x.y"}})
	if at(o, "spec", "handler") != "x.y" || at(o, "metadata", "generation") != 2.0 {
		t.Errorf("dry run answers %v", o)
	}
	w.want(200, "PATCH", fnPath+"/hello?dryRun=All&fieldManager=a&force=true", "application/apply-patch+yaml", `{"spec":{"handler":"x.y"}}`)
	w.want(201, "PATCH", fnPath+"/fresh?dryRun=All&fieldManager=a", "application/apply-patch+yaml", `{"spec":{"source":{"inline":"x"}}}`)
	w.want(200, "DELETE", fnPath+"/hello?dryRun=All", "", nil)
	w.want(200, "DELETE", fnPath+"?dryRun=All", "", nil)
	w.want(200, "PUT", fnPath+"/hello?dryRun=All", "", o)
	if after := at(w.want(200, "GET", fnPath, "", nil), "metadata", "resourceVersion"); after != before {
		t.Errorf("the store went from %v to %v", before, after)
	}
}

func TestListSelectorsAndPages(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", nsPath, "", m{"metadata": m{"name": "shop"}})
	for i := range 7 {
		c := configMap(fmt.Sprintf("c%d", i))
		c["metadata"].(m)["labels"] = m{"n": fmt.Sprint(i), "odd": fmt.Sprint(i%2 == 1)}
		path := cmPath
		if i >= 5 {
			path = "/api/v1/namespaces/shop/configmaps"
		}
		w.want(201, "POST", path, "", c)
	}
	w.want(201, "POST", "/api/v1/namespaces/default/events", "", m{"metadata": m{"name": "e1"}, "involvedObject": m{"kind": "Function", "name": "hello"}, "reason": "A"})
	w.want(201, "POST", "/api/v1/namespaces/default/events", "", m{"metadata": m{"name": "e2"}, "involvedObject": m{"kind": "Function", "name": "other"}, "reason": "B"})
	names := func(o m) string {
		out := []string{}
		for _, i := range o["items"].([]any) {
			out = append(out, at(i, "metadata", "name").(string))
		}
		return strings.Join(out, " ")
	}
	for q, want := range map[string]string{
		"/api/v1/configmaps": "c0 c1 c2 c3 c4 c5 c6",
		cmPath:               "c0 c1 c2 c3 c4",
		cmPath + "?labelSelector=" + url.QueryEscape("odd=true"):                                                              "c1 c3",
		cmPath + "?labelSelector=" + url.QueryEscape("odd!=true"):                                                             "c0 c2 c4",
		cmPath + "?labelSelector=" + url.QueryEscape("n in (1,2, 9),odd"):                                                     "c1 c2",
		cmPath + "?labelSelector=" + url.QueryEscape("n notin (1,2),odd==true"):                                               "c3",
		cmPath + "?labelSelector=" + url.QueryEscape("!odd"):                                                                  "",
		cmPath + "?fieldSelector=" + url.QueryEscape("metadata.name=c3"):                                                      "c3",
		cmPath + "?fieldSelector=" + url.QueryEscape("metadata.name!=c3,metadata.name!=c4"):                                   "c0 c1 c2",
		"/api/v1/configmaps?fieldSelector=" + url.QueryEscape("metadata.namespace=shop"):                                      "c5 c6",
		"/api/v1/configmaps?fieldSelector=" + url.QueryEscape("metadata.name=c5"):                                             "c5",
		"/api/v1/namespaces/default/events?fieldSelector=" + url.QueryEscape("involvedObject.name=hello,reason=A"):            "e1",
		"/api/v1/namespaces/default/events?fieldSelector=" + url.QueryEscape("involvedObject.kind=Function,reason!=A"):        "e2",
		"/api/v1/namespaces/default/events?fieldSelector=" + url.QueryEscape("involvedObject.namespace=,involvedObject.uid="): "e1 e2",
	} {
		o := w.want(200, "GET", q, "", nil)
		if got := names(o); got != want {
			t.Errorf("%s: %q, want %q", q, got, want)
		}
		if rv := at(o, "metadata", "resourceVersion"); rv == nil || rv == "0" {
			t.Errorf("%s: version %v", q, rv)
		}
	}
	for _, q := range []string{"/api/v1/configmaps?limit=2", "/api/v1/configmaps?limit=2&labelSelector=" + url.QueryEscape("odd in (true,false)")} {
		var all []string
		next := ""
		for range 10 {
			o := w.want(200, "GET", q+"&continue="+next, "", nil)
			all = append(all, names(o))
			next, _ = at(o, "metadata", "continue").(string)
			if next == "" {
				break
			}
		}
		if got := strings.Join(all, "|"); got != "c0 c1|c2 c3|c4 c5|c6" {
			t.Errorf("pages: %s", got)
		}
	}
}

func TestTables(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", fnPath, "", function("hello"))
	w.want(200, "PATCH", fnPath+"/hello/status", merge, m{"status": m{"conditions": l{m{"type": "Ready", "status": "False", "reason": "Building"}}}})
	w.want(201, "POST", secPath, "", m{"metadata": m{"name": "s"}, "stringData": m{"a": "1", "b": "2"}})
	table := func(path string) m {
		t.Helper()
		_, text, _ := w.raw("GET", path, map[string]string{"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}, nil)
		var o m
		if err := json.Unmarshal([]byte(text), &o); err != nil || o["kind"] != "Table" {
			t.Fatalf("%v: %s", err, text)
		}
		return o
	}
	o := table(fnPath)
	var heads []string
	for _, c := range o["columnDefinitions"].([]any) {
		heads = append(heads, fmt.Sprintf("%v%v", at(c, "name"), at(c, "priority")))
	}
	if got := strings.Join(heads, " "); got != "Name0 Runtime0 Ready0 Reason0 Revision0 URL0 Handler1 Age0" {
		t.Errorf("columns: %s", got)
	}
	if got := fmt.Sprint(at(o, "rows", 0, "cells")); !strings.HasPrefix(got, "[hello node False Building   main.run ") {
		t.Errorf("cells: %s", got)
	}
	if at(o, "rows", 0, "object", "metadata", "name") != "hello" || at(o, "rows", 0, "object", "spec") != nil {
		t.Error("a row's object is not the metadata")
	}
	if o := table(fnPath + "/hello?includeObject=Object"); at(o, "rows", 0, "object", "spec") == nil {
		t.Error("includeObject=Object has no object")
	}
	if got := at(table(secPath), "rows", 0, "cells", 2); got != 2.0 {
		t.Errorf("a Secret's data count: %v", got)
	}
	_, text, _ := w.raw("GET", fnPath, map[string]string{"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}, nil)
	if !strings.Contains(text, "PartialObjectMetadataList") || strings.Contains(text, "main.run") {
		t.Errorf("partial: %s", text)
	}
}

func TestImmutable(t *testing.T) {
	w := newWorld(t)
	rev := m{"metadata": m{"name": "f-1"}, "spec": m{"function": "f", "number": 1, "runtime": "node", "artifact": "sha256:" + strings.Repeat("a", 64), "timeout": "1s", "concurrency": 1}}
	w.want(201, "POST", revPath, "", rev)
	if e := w.want(422, "PATCH", revPath+"/f-1", merge, m{"spec": m{"number": 2}}); !hasCause(e, "FieldValueInvalid", "spec") {
		t.Errorf("got %v", e)
	}
	w.want(200, "PATCH", revPath+"/f-1", merge, m{"metadata": m{"labels": m{"a": "b"}}})
	c := configMap("c")
	c["immutable"] = true
	w.want(201, "POST", cmPath, "", c)
	w.want(422, "PATCH", cmPath+"/c", merge, m{"data": m{"a": "2"}})
	w.want(422, "PATCH", cmPath+"/c", merge, m{"immutable": false})
	w.want(201, "POST", secPath, "", m{"metadata": m{"name": "s"}})
	w.want(422, "PATCH", secPath+"/s", merge, m{"type": "other"})
}

func TestGenerateName(t *testing.T) {
	w := newWorld(t)
	seen := map[any]bool{}
	for range 5 {
		o := w.want(201, "POST", cmPath, "", m{"metadata": m{"generateName": "x-"}})
		n := at(o, "metadata", "name")
		if s, _ := n.(string); !strings.HasPrefix(s, "x-") || len(s) != 7 || seen[n] {
			t.Errorf("name %v", n)
		}
		seen[n] = true
	}
}

func TestFinalizers(t *testing.T) {
	w := newWorld(t)
	c := configMap("c")
	c["metadata"].(m)["finalizers"] = l{"example.com/a", "example.com/b"}
	w.want(201, "POST", cmPath, "", c)
	o := w.want(200, "DELETE", cmPath+"/c", "", nil)
	if at(o, "metadata", "deletionTimestamp") == nil || o["kind"] != "ConfigMap" {
		t.Fatalf("deleted: %v", o)
	}
	if e := w.want(422, "PATCH", cmPath+"/c", merge, m{"metadata": m{"finalizers": l{"example.com/a", "example.com/c"}}}); !hasCause(e, "FieldValueInvalid", "metadata.finalizers") {
		t.Errorf("adding a finalizer: %v", e)
	}
	w.want(200, "PATCH", cmPath+"/c", merge, m{"metadata": m{"finalizers": l{"example.com/a"}}})
	w.want(200, "GET", cmPath+"/c", "", nil)
	w.want(200, "PATCH", cmPath+"/c", merge, m{"metadata": m{"finalizers": nil}})
	w.want(404, "GET", cmPath+"/c", "", nil)
}

// TestConcurrentPatches holds that no unconditional write is lost.
func TestConcurrentPatches(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", cmPath, "", configMap("c"))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			code, text, _ := w.raw("PATCH", cmPath+"/c", map[string]string{"Content-Type": merge}, m{"data": m{fmt.Sprintf("k%d", i): "1"}})
			if code != 200 {
				t.Errorf("%d %s", code, text)
			}
		})
	}
	wg.Wait()
	if n := len(w.want(200, "GET", cmPath+"/c", "", nil)["data"].(m)); n != 21 {
		t.Errorf("%d of 21 keys", n)
	}
}

func TestDeleteCollection(t *testing.T) {
	w := newWorld(t)
	for _, n := range []string{"a", "b", "c"} {
		c := configMap(n)
		c["metadata"].(m)["labels"] = m{"keep": fmt.Sprint(n == "c")}
		w.want(201, "POST", cmPath, "", c)
	}
	o := w.want(200, "DELETE", cmPath+"?labelSelector=keep%3Dfalse", "", nil)
	if len(o["items"].([]any)) != 2 {
		t.Errorf("deleted: %v", o)
	}
	w.want(404, "GET", cmPath+"/a", "", nil)
	w.want(200, "GET", cmPath+"/c", "", nil)
	w.want(405, "DELETE", "/api/v1/configmaps", "", nil)
}

// TestForeignRecords holds that what others wrote straight into the store is
// served, and that damage in one object does not hide the others.
func TestForeignRecords(t *testing.T) {
	w := newWorld(t)
	put := func(name, value string) {
		t.Helper()
		if _, err := w.store.Apply(context.Background(), store.Key{Resource: api.Functions, Namespace: "default", Name: name}, []byte(value), store.New); err != nil {
			t.Fatal(err)
		}
	}
	put("plain", `{"spec":{"source":{"inline":"x"}}}`)
	put("damaged", `{{{`)
	o := w.want(200, "GET", fnPath+"/plain", "", nil)
	if o["kind"] != "Function" || at(o, "metadata", "name") != "plain" || at(o, "metadata", "namespace") != "default" {
		t.Errorf("got %v", o)
	}
	w.want(200, "PATCH", fnPath+"/plain?fieldManager=a", "application/apply-patch+yaml", `{"metadata":{"labels":{"a":"b"}}}`)
	if e := w.want(500, "GET", fnPath+"/damaged", "", nil); e["reason"] != "InternalError" {
		t.Errorf("got %v", e)
	}
	if items := w.want(200, "GET", fnPath, "", nil)["items"].([]any); len(items) != 1 {
		t.Errorf("%d items", len(items))
	}
	w.want(404, "GET", fnPath+"/"+url.PathEscape("../../x"), "", nil)
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]string{
		"/api": `"versions":["v1"]`, "/apis": `"hearth.run/v1"`, "/api/v1": `"namespaces/status"`, "/apis/hearth.run/v1": `"shortNames":["fn"]`,
		"/apis/hearth.run": `"preferredVersion"`, "/": `"/openapi/v3"`, "/openapi/v3": `/openapi/v3/apis/hearth.run/v1?hash=`,
		"/openapi/v3/apis/hearth.run/v1": `"run.hearth.v1.Function"`, "/openapi/v3/api/v1": `fieldValidation`, "/openapi/v2": `"definitions"`,
		"/version": `"minor":"32"`, "/healthz": "ok", "/readyz": "ok", "/livez": "ok", "/apis/authorization.k8s.io/v1": "selfsubjectaccessreviews",
	} {
		code, text, _ := w.raw("GET", path, nil, nil)
		if code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("%s: %d %.300s", path, code, text)
		}
	}
	for _, path := range []string{"/api", "/apis"} {
		_, text, h := w.raw("GET", path, map[string]string{"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}, nil)
		if !strings.Contains(h.Get("Content-Type"), "as=APIGroupDiscoveryList") || !strings.Contains(text, `"apidiscovery.k8s.io/v2"`) {
			t.Errorf("%s: %s %.200s", path, h.Get("Content-Type"), text)
		}
	}
	_, _, h := w.raw("GET", "/openapi/v2", nil, nil)
	if code, _, _ := w.raw("GET", "/openapi/v2", map[string]string{"If-None-Match": h.Get("ETag")}, nil); code != http.StatusNotModified {
		t.Errorf("a known description is sent again: %d", code)
	}
}
