package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKnativeManifests: a service, its host and the claim of the host from
// manifests, by kubectl and by hearth, with a running program.
func TestKnativeManifests(t *testing.T) {
	s := up(t)
	kubectl, kn := s.kubectl(t), s.kn(t)
	image := s.image(t, "echo:1", echoProgram)
	l := func(p ...string) []string { return p }
	manifest := func(who string) string {
		return `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {WHO: ` + who + `}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec:
  template:
    metadata: {labels: {who: ` + who + `}, annotations: {autoscaling.knative.dev/max-scale: "2"}}
    spec:
      timeoutSeconds: 30
      containers:
      - image: ` + image + `
        envFrom: [{configMapRef: {name: settings}}]
        readinessProbe: {httpGet: {path: /}}
---
apiVersion: networking.internal.knative.dev/v1alpha1
kind: ClusterDomainClaim
metadata: {name: shop.example.com}
spec: {namespace: default}
---
apiVersion: serving.knative.dev/v1beta1
kind: DomainMapping
metadata: {name: shop.example.com}
spec: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: web}}
`
	}
	kubectl.okIn(manifest("one"), l("service.serving.knative.dev/web created", "domainmapping.serving.knative.dev/shop.example.com created"), "apply", "-f", "-")
	kubectl.ok(l("condition met"), "wait", "ksvc/web", "dm/shop.example.com", "--for=condition=Ready", "--timeout=120s")
	kubectl.ok(l(`web +http://web\.default\.localhost:\d+ +web-00001 +web-00001 +True`), "get", "ksvc")
	kubectl.ok(l(`shop.example.com +http://shop.example.com:\d+ +True`), "get", "dm")
	for _, host := range []string{"web.default.localhost", "shop.example.com"} {
		if code, got := s.at(t, host); code != 200 || got != "web-00001 web web 8080 one" {
			t.Errorf("%s answers %d %q", host, code, got)
		}
	}
	kubectl.okIn(manifest("one"), nil, "apply", "-f", "-")
	kubectl.ok(l("^1 1$"), "get", "ksvc", "web", "-o", "jsonpath={.metadata.generation} {.status.observedGeneration}")

	exported := kn.ok(l("kind: Export"), "service", "export", "web", "--with-revisions", "--mode", "export", "-o", "yaml")

	// Another template is another revision; what only waits for it sees it.
	kubectl.okIn(manifest("two"), l("service.serving.knative.dev/web configured"), "apply", "-f", "-")
	kubectl.ok(l("condition met"), "wait", "ksvc/web", "--for=jsonpath={.status.latestReadyRevisionName}=web-00002", "--timeout=120s")
	kubectl.ok(l("condition met"), "wait", "ksvc/web", "--for=condition=Ready", "--timeout=120s")
	if code, got := s.at(t, "shop.example.com"); code != 200 || got != "web-00002 web web 8080 two" {
		t.Errorf("after a change %d %q", code, got)
	}
	kubectl.ok(l(`web-00001 +web +1 +True`, `web-00002 +web +2 +True`), "get", "revisions.serving.knative.dev", "-l", "serving.knative.dev/service=web")
	kubectl.ok(l("web-00001"), "get", "revisions.serving.knative.dev", "-l", "who=one", "-o", "name")
	kubectl.ok(l("patched"), "patch", "ksvc", "web", "--type", "merge", "-p", `{"spec":{"traffic":[{"revisionName":"web-00001","percent":100,"tag":"back"}]}}`)
	kubectl.ok(l("condition met"), "wait", "ksvc/web", "--for=jsonpath={.status.traffic[0].revisionName}=web-00001", "--timeout=120s")
	kubectl.ok(l("condition met"), "wait", "ksvc/web", "--for=condition=Ready", "--timeout=120s")
	for _, host := range []string{"web.default.localhost", "back-web.default.localhost", "shop.example.com"} {
		if code, got := s.at(t, host); code != 200 || !strings.HasPrefix(got, "web-00001 ") {
			t.Errorf("%s answers %d %q", host, code, got)
		}
	}

	// The same objects as hearth shows them.
	out, _, code := s.run("get")
	kn.like(out, l(`web +http://web\.default\.localhost:\d+ +web-00002 +web-00002 +True`), l("hearth get"))
	if code != 0 || strings.Contains(out, "shop.example.com") {
		t.Errorf("hearth get: %d\n%s", code, out)
	}
	out, _, _ = s.run("describe", "web")
	kn.like(out, l(`^service/web   ready   http://web\.default\.localhost:\d+   web-00001 serves`, `user-container +`+image), l("hearth describe"))

	// What kn exported it imports again.
	kubectl.okIn(manifest("two"), l(`"web" deleted`, `"shop.example.com" deleted`), "delete", "--wait", "--timeout=120s", "-f", "-")
	kn.soon(l("No revisions found"), "revision", "list")
	kubectl.okIn("{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"settings\"},\"data\":{\"WHO\":\"three\"}}", nil, "apply", "-f", "-")
	file := filepath.Join(s.state, "web.yaml")
	if err := os.WriteFile(file, []byte(exported), 0o644); err != nil {
		t.Fatal(err)
	}
	kn.ok(l("Service 'web' imported"), "service", "import", file)
	if code, got := s.at(t, "web.default.localhost"); code != 200 || !strings.HasSuffix(got, "8080 three") {
		t.Errorf("imported, it answers %d %q", code, got)
	}
}

// TestKnativeContainers: two containers in one revision by kn, with the address
// of a tag and a revision that is asked for and deleted.
func TestKnativeContainers(t *testing.T) {
	s := up(t)
	kn := s.kn(t)
	image := s.image(t, "echo:1", echoProgram)
	l := func(p ...string) []string { return p }
	side := kn.ok(l("containers:"), "container", "add", "side", "--image", image, "--env", "WHO=side", "--env", "PORT=9999")
	kn.okIn(side, l("Service 'multi' created to latest revision"), "service", "create", "multi", "--image", image, "--port", "8081", "--env", "WHO=front", "--containers", "-")
	if code, got := s.at(t, "multi.default.localhost"); code != 200 || got != "multi-00001 multi multi 8081 front" {
		t.Errorf("two containers: %d %q", code, got)
	}
	kn.ok(l("Service 'multi' updated"), "service", "update", "multi", "--revision-name", "multi-green", "--tag", "@latest=green", "--annotation-revision", "x=y")
	if code, got := s.at(t, "green-multi.default.localhost"); code != 200 || !strings.HasPrefix(got, "multi-green ") {
		t.Errorf("the tag: %d %q", code, got)
	}
	kn.fails(l("RevisionNameTaken|already|without a name change|taken"), "service", "update", "multi", "--revision-name", "multi-green", "--env", "A=b", "--wait-timeout", "20")
	kn.ok(l("multi-green", "multi-00001"), "revision", "list", "-s", "multi")
	kn.ok(l("Revision 'multi-00001' deleted"), "revision", "delete", "multi-00001")
	kn.ok(l("Service 'multi' successfully deleted"), "service", "delete", "multi", "--wait")
}

const showProgram = `package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		conf, _ := os.ReadFile("/conf/COLOR")
		pw, _ := os.ReadFile("/pw/PW")
		write := func(p string) bool { return os.WriteFile(p, []byte("x"), 0o600) == nil }
		fmt.Fprintln(w, os.Getenv("COLOR"), os.Getenv("SECRET"), strings.Join(os.Args[1:], ","), os.Getuid(), string(conf), string(pw),
			write("/scratch/x"), write("/conf/x"), r.Proto, os.Getenv("PORT"), r.Header.Get("X-Forwarded-Proto"))
	})
	srv := &http.Server{Addr: ":" + os.Getenv("PORT"), Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	panic(srv.ListenAndServe())
}
`

// TestKnFlags: what kn's flags say arrives in the container.
func TestKnFlags(t *testing.T) {
	s := up(t)
	kn, kubectl := s.kn(t), s.kubectl(t)
	image := s.image(t, "show:1", showProgram)
	l := func(p ...string) []string { return p }
	kubectl.ok(l("created"), "create", "configmap", "settings", "--from-literal=COLOR=red")
	kubectl.ok(l("created"), "create", "secret", "generic", "db", "--from-literal=PW=secret")
	kn.ok(l("Service 'full' created to latest revision 'full-00001'"), "service", "create", "full", "--image", image,
		"--env", "A=b", "--env-from", "cm:settings", "--env-value-from", "SECRET=secret:db:PW", "--arg", "x", "--arg", "$(A)y", "--port", "h2c:9000",
		"--concurrency-limit", "10", "--scale", "1..3", "--timeout", "20", "--request", "cpu=100m", "--limit", "memory=64Mi",
		"--probe-liveness", "http::9000:/", "--probe-readiness", "http:::/", "--user", "1000",
		"--mount", "/conf=cm:settings", "--volume", "pw=secret:db", "--mount", "/pw=pw", "--mount", "/scratch=emptyDir:scratch")
	if code, got := s.at(t, "full.default.localhost"); code != 200 || got != "red secret x,by 1000 red secret true false HTTP/2.0 9000 http" {
		t.Errorf("%d %q", code, got)
	}
	kn.ok(l(`Replicas:\s+1/1`), "revision", "describe", "full-00001")
	kn.ok(l(`Service 'inner' created`, `http://inner\.default\.svc\.cluster\.local`), "service", "create", "inner", "--image", image, "--cluster-local")
	if code, got := s.at(t, "inner.default.localhost"); code != 404 {
		t.Errorf("a service for the cluster answers outside: %d %q", code, got)
	}
	kn.fails(l("RevisionFailed", "hearth.local/default/none:1"), "service", "create", "none", "--image", "hearth.local/default/none:1", "--wait-timeout", "30")
}
