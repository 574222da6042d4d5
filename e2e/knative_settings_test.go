package e2e

import (
	"strings"
	"testing"
)

// TestKnativeSettings: an administrator's ConfigMaps hold as in a cluster, and bad
// ones are refused; a rollback is seen by kn; a failing revision is taken back.
func TestKnativeSettings(t *testing.T) {
	s := up(t)
	kubectl, kn := s.kubectl(t), s.kn(t)
	image := s.image(t, "echo:1", echoProgram)
	l := func(p ...string) []string { return p }
	set := func(config, data string) {
		t.Helper()
		kubectl.ok(l("patched"), "patch", "cm", config, "-n", "knative-serving", "--type", "merge", "-p", `{"data":`+data+`}`)
	}
	kubectl.soon(l("config-defaults", "config-observability"), "get", "cm", "-n", "knative-serving")
	kubectl.ok(l("max-revision-timeout-seconds: a whole number"), "get", "cm", "config-defaults", "-n", "knative-serving", "-o", "yaml")
	kubectl.fails(l(`invalid value: "soon": data.revision-timeout-seconds`, "hint: a whole number from 1"),
		"patch", "cm", "config-defaults", "-n", "knative-serving", "--type", "merge", "-p", `{"data":{"revision-timeout-seconds":"soon"}}`)
	set("config-defaults", `{"revision-timeout-seconds":"77","container-concurrency":"9","container-name-template":"{{.Name}}-main"}`)
	set("config-network", `{"tag-template":"{{.Name}}-{{.Tag}}","autocreate-cluster-domain-claims":"true"}`)

	kn.ok(l("Service 'web' created"), "service", "create", "web", "--image", image, "--env", "WHO=one")
	kubectl.ok(l("^77 9 web-main$"), "get", "ksvc", "web", "-o", "jsonpath={.spec.template.spec.timeoutSeconds} {.spec.template.spec.containerConcurrency} {.spec.template.spec.containers[0].name}")
	kn.fails(l("expected 0 <= 700 <= 600: spec.template.spec.timeoutSeconds"), "service", "update", "web", "--timeout", "700", "--no-wait")
	set("config-defaults", `{"max-revision-timeout-seconds":"900"}`)
	kn.ok(l("Service 'web' updated"), "service", "update", "web", "--timeout", "700", "--env", "WHO=two", "--tag", "web-00001=old")
	if code, got := s.at(t, "web-old.default.localhost"); code != 200 || !strings.HasPrefix(got, "web-00001 ") {
		t.Errorf("the tag's address answers %d %q", code, got)
	}

	// Back, as kn sees it, and on again.
	if _, out, code := s.run("rollback", "web"); code != 0 || !strings.Contains(out, "all requests go to web-00001") {
		t.Fatalf("rollback: %d %s", code, out)
	}
	kn.ok(l(`100%\s+web-00001`), "service", "describe", "web")
	if code, got := s.at(t, "web.default.localhost"); code != 200 || !strings.HasPrefix(got, "web-00001 ") {
		t.Errorf("rolled back, %d %q answers", code, got)
	}
	if _, out, code := s.run("rollback", "web", "--to", "latest"); code != 0 || !strings.Contains(out, "web-00002 serves") {
		t.Fatalf("released: %d %s", code, out)
	}
	kn.ok(l(`100%\s+@latest \(web-00002\)`), "service", "describe", "web")

	// A claim comes and goes with the mapping it was made for.
	kn.ok(l("created"), "domain", "create", "shop.example.com", "--ref", "web")
	kubectl.soon(l("shop.example.com"), "get", "cdc")
	kn.ok(l("deleted"), "domain", "delete", "shop.example.com")
	kubectl.soon(l("No resources found"), "get", "cdc")
}
