package server_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/dialect/knative"
)

const ksvcPath = "/apis/serving.knative.dev/v1/namespaces/default/services"

func newKnative(t *testing.T) *world {
	return newWorld(t, func(c *server.Config) { c.Kinds = append(api.Kinds(), knative.Kinds()...) })
}

// foreign are one object of every kind of Knative.
func foreign() []specimen {
	const serving = "\napiVersion: serving.knative.dev/v1\n"
	return []specimen{
		{"ksvc", "hello", serving + `
kind: Service
metadata: {name: hello, labels: {app: shop}}
spec: {template: {spec: {containers: [{name: user-container, image: example.com/hello, env: [{name: A, value: b}]}]}}}
`, `{"spec":{"template":{"spec":{"timeoutSeconds":7}}}}`, "{.spec.template.spec.timeoutSeconds}", "7"},
		{"configurations", "hello", serving + `
kind: Configuration
metadata: {name: hello, labels: {app: shop}}
spec: {template: {spec: {containers: [{image: example.com/hello}]}}}
`, `{"spec":{"template":{"spec":{"containerConcurrency":5}}}}`, "{.spec.template.spec.containerConcurrency}", "5"},
		{"routes.serving.knative.dev", "hello", serving + `
kind: Route
metadata: {name: hello, labels: {app: shop}}
spec: {traffic: [{configurationName: hello, percent: 100}]}
`, `{"spec":{"traffic":[{"revisionName":"hello-1","percent":100}]}}`, "{.spec.traffic[0].revisionName}", "hello-1"},
		{"revisions.serving.knative.dev", "hello-1", serving + `
kind: Revision
metadata: {name: hello-1, labels: {app: shop}}
spec: {containers: [{image: example.com/hello}]}
`, `{"metadata":{"labels":{"note":"kept"}}}`, "{.metadata.labels.note}", "kept"},
		{"domainmappings", "shop.example.com", `
apiVersion: serving.knative.dev/v1beta1
kind: DomainMapping
metadata: {name: shop.example.com, labels: {app: shop}}
spec: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}}
`, `{"spec":{"ref":{"name":"other"}}}`, "{.spec.ref.name}", "other"},
		{"cdc", "shop.example.com", `
apiVersion: networking.internal.knative.dev/v1alpha1
kind: ClusterDomainClaim
metadata: {name: shop.example.com, labels: {app: shop}}
spec: {namespace: default}
`, `{"spec":{"namespace":"other"}}`, "{.spec.namespace}", "other"},
		{"svc", "hello", `
apiVersion: v1
kind: Service
metadata: {name: hello, labels: {app: shop}}
spec: {type: ExternalName, externalName: gateway.localhost, ports: [{port: 80, name: http}]}
`, `{"spec":{"externalName":"b.localhost"}}`, "{.spec.externalName}", "b.localhost"},
		{"sa", "builder", `
apiVersion: v1
kind: ServiceAccount
metadata: {name: builder, labels: {app: shop}}
imagePullSecrets: [{name: registry}]
`, `{"imagePullSecrets":[{"name":"other"}]}`, "{.imagePullSecrets[0].name}", "other"},
	}
}

// TestKubectlKnative takes every kind of Knative through the life of an object
// with the unmodified program.
func TestKubectlKnative(t *testing.T) {
	w := newKnative(t)
	w.ok(nil, "version")
	for _, k := range foreign() {
		t.Run(k.kind, func(t *testing.T) {
			w.life(t, k, false)
			w := *w
			w.t = t
			w.okIn(k.manifest, []string{"serverside-applied"}, "apply", "--server-side", "-f", "-")
			w.okIn(k.manifest, []string{"serverside-applied"}, "apply", "--server-side", "-f", "-")
			if !strings.HasPrefix(k.kind, "revisions") { // whose spec does not change
				w.okIn(k.manifest, []string{"replaced"}, "replace", "-f", "-")
			}
			w.ok([]string{"deleted"}, "delete", k.kind+"/"+k.name)
		})
	}
}

// TestKnativeGenerations: the generation counts changes of the spec, defaults
// included; status is written apart from the rest.
func TestKnativeGenerations(t *testing.T) {
	w := newKnative(t)
	manifest := func() m {
		return m{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": m{"name": "hello"},
			"spec": m{"template": m{"spec": m{"containers": l{m{"image": "example.com/hello"}}}}}}
	}
	generation := func(o m, want float64) {
		t.Helper()
		if got := at(o, "metadata", "generation"); got != want {
			t.Fatalf("generation %v, want %v", got, want)
		}
	}
	o := w.want(201, "POST", ksvcPath, "", manifest())
	generation(o, 1)
	if got := at(o, "metadata", "annotations", "serving.knative.dev/creator"); got != "test-admin" {
		t.Errorf("creator %v", got)
	}
	path := ksvcPath + "/hello"
	merge := "application/merge-patch+json"
	generation(w.want(200, "PATCH", path, merge, m{"metadata": m{"labels": m{"a": "b"}}}), 1)
	again := manifest()
	again["metadata"].(m)["resourceVersion"] = at(w.want(200, "GET", path, "", nil), "metadata", "resourceVersion")
	generation(w.want(200, "PUT", path, "", again), 1)
	o = w.want(200, "PATCH", path+"/status", merge, m{"spec": m{"template": nil}, "status": m{"url": "http://hello", "observedGeneration": 1}})
	generation(o, 1)
	if at(o, "spec", "template", "spec", "timeoutSeconds") != 300.0 || at(o, "status", "url") != "http://hello" {
		t.Errorf("after a write of the status: %v", o)
	}
	o = w.want(200, "PATCH", path, merge, m{"spec": m{"template": m{"spec": m{"timeoutSeconds": 10}}}, "status": nil})
	generation(o, 2)
	if at(o, "status", "url") != "http://hello" {
		t.Errorf("a write of the spec changed the status: %v", o["status"])
	}
	shop := w.as(t, "editor")
	o = shop.want(200, "PATCH", path, merge, m{"spec": m{"template": m{"spec": m{"timeoutSeconds": 11}}}})
	if at(o, "metadata", "annotations", "serving.knative.dev/lastModifier") != "test-editor" || at(o, "metadata", "annotations", "serving.knative.dev/creator") != "test-admin" {
		t.Errorf("annotations %v", at(o, "metadata", "annotations"))
	}
	w.want(400, "PATCH", path, merge, m{"metadata": m{"annotations": m{"serving.knative.dev/creator": "eve"}}})
	w.want(415, "PATCH", path, "application/strategic-merge-patch+json", m{"metadata": m{"labels": m{"a": "c"}}})
	dry := manifest()
	dry["metadata"].(m)["name"] = "dry"
	w.want(201, "POST", ksvcPath+"?dryRun=All", "", dry)
	w.want(404, "GET", ksvcPath+"/dry", "", nil)
}

// TestKnativeRefusals: a refusal is a 400 whose message begins with Knative's
// words and whose details name each field; fieldValidation is obeyed.
func TestKnativeRefusals(t *testing.T) {
	w := newKnative(t)
	send := func(query, spec string) (int, m) {
		return w.do("POST", ksvcPath+query, "application/yaml", "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: hello}\nspec: "+spec)
	}
	for _, c := range []struct{ spec, message, field string }{
		{`{template: {spec: {containers: [{image: a}]}}, traffic: [{percent: 1}]}`, "validation failed: Traffic targets sum to 1, want 100: spec.traffic\nhint: such as [", "spec.traffic"},
		{`{template: {spec: {containers: [{image: a, tty: true}]}}}`, "validation failed: must not set the field(s): spec.template.spec.containers[0].tty", "spec.template.spec.containers[0].tty"},
		{`{template: {spec: {containers: [{image: a, imgae: b}]}}}`, `Service in version "v1" cannot be handled as a Service: strict decoding error: unknown field "spec.template.spec.containers[0].imgae"`, "spec.template.spec.containers[0].imgae"},
		{`{template: {spec: {containers: [{image: a, image: b}]}}}`, ``, ""},
	} {
		code, o := send("", c.spec)
		message, _ := o["message"].(string)
		if code != 400 || o["reason"] != "BadRequest" || !strings.HasPrefix(message, c.message) {
			t.Errorf("%s: %d %v", c.spec, code, o)
		}
		b, err := json.Marshal(o["details"])
		if err != nil || !strings.Contains(string(b), `"field":"`+c.field) || !strings.Contains(string(b), `"reason":"Hint"`) {
			t.Errorf("%s: details %s", c.spec, b)
		}
	}
	if code, o := send("?fieldValidation=Ignore", `{template: {spec: {containers: [{image: a, tty: true}]}}}`); code != 201 {
		t.Errorf("ignored: %d %v", code, o)
	}
	_, _, h := w.raw("POST", ksvcPath+"?fieldValidation=Warn", map[string]string{"Content-Type": "application/json"},
		`{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"warned"},"spec":{"template":{"spec":{"containers":[{"image":"a","imgae":"b"}]}}}}`)
	if got := strings.Join(h["Warning"], "\n"); !strings.Contains(got, "imgae") {
		t.Errorf("warnings %q", got)
	}
	_, _, h = w.raw("POST", ksvcPath, map[string]string{"Content-Type": "application/json"},
		`{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"doubtful"},"spec":{"template":{"spec":{"containers":[{"image":"a","securityContext":{"capabilities":{"drop":["all"]}}}]}}}}`)
	if got := strings.Join(h["Warning"], "\n"); !strings.Contains(got, "capabilities.drop") {
		t.Errorf("warnings %q", got)
	}
}

// TestDefinitions: clients find out which kinds there are.
func TestDefinitions(t *testing.T) {
	w := newKnative(t)
	const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	o := w.want(200, "GET", path+"?labelSelector=duck.knative.dev/source%3Dtrue", "", nil)
	if items, ok := o["items"].([]any); !ok || len(items) != 0 {
		t.Errorf("sources: %v", o)
	}
	o = w.want(200, "GET", path+"/services.serving.knative.dev", "", nil)
	if at(o, "spec", "names", "kind") != "Service" || at(o, "spec", "scope") != "Namespaced" {
		t.Errorf("definition %v", o)
	}
	w.want(404, "GET", path+"/services", "", nil)
	w.want(405, "POST", path, "", m{})
	w.ok([]string{"domainmappings.serving.knative.dev", "functions.hearth.run"}, "get", "crds")
	w.ok([]string{"dm ", "serving.knative.dev/v1beta1", "cdc ", "networking.internal.knative.dev/v1alpha1"}, "api-resources")
	g := w.want(200, "GET", "/apis/serving.knative.dev", "", nil)
	if at(g, "preferredVersion", "version") != "v1" || len(g["versions"].([]any)) != 2 {
		t.Errorf("group %v", g)
	}
	w.want(404, "GET", "/apis/serving.knative.dev/v2", "", nil)
	w.want(404, "GET", "/apis/serving.knative.dev/v1/domainmappings", "", nil)
	// The kinds answer to their names as they do in a cluster; where a native
	// kind has the name, it wins.
	w.ok([]string{"No resources"}, "get", "kservice,configurations,domainmapping")
	w.okIn(foreign()[0].manifest, nil, "apply", "-f", "-")
	w.ok([]string{"service.serving.knative.dev/hello", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON"}, "get", "knative", "--show-kind")
	w.fails("", []string{"resource type"}, "get", "services.hearth.run")
}

// TestKubectlList: what kubectl printed as a list can be applied again.
func TestKubectlList(t *testing.T) {
	w := newKnative(t)
	for _, k := range foreign()[:2] {
		w.okIn(k.manifest, []string{"created"}, "apply", "-f", "-")
	}
	list := w.ok([]string{"kind: List"}, "get", "ksvc,configurations", "-o", "yaml")
	w.okIn(list, []string{"service.serving.knative.dev/hello", "configuration.serving.knative.dev/hello"}, "apply", "-f", "-")
	w.fails(strings.Replace(list, "containers:", "contaners:", 1), []string{"contaners"}, "apply", "-f", "-")
}

// TestKnativeGoesWithItsNamespace: foreign kinds are collected like native ones,
// by namespace and by owner.
func TestKnativeGoesWithItsNamespace(t *testing.T) {
	w := newKnative(t)
	w.want(201, "POST", nsPath, "", m{"apiVersion": "v1", "kind": "Namespace", "metadata": m{"name": "shop"}})
	service := m{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": m{"name": "hello"},
		"spec": m{"template": m{"spec": m{"containers": l{m{"image": "example.com/hello"}}}}}}
	o := w.want(201, "POST", "/apis/serving.knative.dev/v1/namespaces/shop/services", "", service)
	owned := m{"apiVersion": "serving.knative.dev/v1", "kind": "Configuration", "spec": service["spec"], "metadata": m{
		"name": "hello", "ownerReferences": l{m{"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello", "uid": at(o, "metadata", "uid"), "controller": true, "blockOwnerDeletion": true}}}}
	w.want(201, "POST", "/apis/serving.knative.dev/v1/namespaces/shop/configurations", "", owned)
	w.ok([]string{"deleted"}, "delete", "ksvc", "hello", "-n", "shop", "--cascade=foreground", "--timeout=20s")
	w.want(404, "GET", "/apis/serving.knative.dev/v1/namespaces/shop/configurations/hello", "", nil)
	w.want(201, "POST", "/apis/serving.knative.dev/v1/namespaces/shop/services", "", service)
	w.ok([]string{"deleted"}, "delete", "namespace", "shop", "--timeout=20s")
	w.want(404, "GET", "/apis/serving.knative.dev/v1/namespaces/shop/services/hello", "", nil)
}
