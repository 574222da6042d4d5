package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// kn builds Knative's command line once, as the module in ./kn pins it, and
// returns its path. HEARTH_TEST_KN names one that is already there.
var kn = sync.OnceValues(func() (string, error) {
	if p := os.Getenv("HEARTH_TEST_KN"); p != "" {
		return p, nil
	}
	at := filepath.Join(filepath.Dir(binary), "kn")
	cmd := exec.Command("go", "build", "-trimpath", "-o", at, "knative.dev/client/cmd/kn")
	cmd.Dir = "kn"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", &exec.Error{Name: "go build knative.dev/client/cmd/kn: " + tail(string(out), 2000), Err: err}
	}
	return at, nil
})

// tool is a client of the cluster: kn or kubectl.
type tool struct {
	t    *testing.T
	path string
	s    *server
}

func (s *server) kn(t *testing.T) tool {
	path, err := kn()
	if err != nil {
		t.Fatal(err)
	}
	return tool{t, path, s}
}

func (s *server) kubectl(t *testing.T) tool {
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatal("kubectl is not in PATH: install v1.32")
	}
	return tool{t, path, s}
}

func (k tool) run(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, k.path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(k.s.state, "kubeconfig"), "HOME="+filepath.Join(k.s.state, "home"))
	if stdin != "" { // kn reads a pipe where there is one
		cmd.Stdin = strings.NewReader(stdin)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// ok runs a command that must succeed and print something like every pattern.
func (k tool) ok(patterns []string, args ...string) string {
	k.t.Helper()
	return k.okIn("", patterns, args...)
}

func (k tool) okIn(stdin string, patterns []string, args ...string) string {
	k.t.Helper()
	out, err := k.run(stdin, args...)
	if err != nil {
		k.t.Fatalf("%s %s: %v\n%s", filepath.Base(k.path), strings.Join(args, " "), err, out)
	}
	k.like(out, patterns, args)
	return out
}

func (k tool) like(out string, patterns, args []string) {
	k.t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(out) {
			k.t.Fatalf("%s %s printed nothing like %q:\n%s", filepath.Base(k.path), strings.Join(args, " "), p, out)
		}
	}
}

// fails runs a command that must fail and say something like every pattern.
func (k tool) fails(patterns []string, args ...string) {
	k.t.Helper()
	out, err := k.run("", args...)
	if err == nil {
		k.t.Fatalf("%s %s did not fail:\n%s", filepath.Base(k.path), strings.Join(args, " "), out)
	}
	k.like(out, patterns, args)
}

// soon runs a command until it prints something like every pattern.
func (k tool) soon(patterns []string, args ...string) {
	k.t.Helper()
	var last string
	eventually(k.t, patience, strings.Join(args, " "), func() bool {
		last, _ = k.run("", args...)
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(last) {
				return false
			}
		}
		return true
	})
	if k.t.Failed() {
		k.t.Fatalf("last: %s", last)
	}
}

// TestKnServiceCommands: every command of kn about services against hearth up,
// as far as it needs no running container.
func TestKnServiceCommands(t *testing.T) {
	s := up(t)
	kn := s.kn(t)
	const image = "registry.invalid/hello"
	l := func(p ...string) []string { return p }

	kn.ok(l("No services found"), "service", "list")
	kn.fails(l("services.serving.knative.dev .nope. not found"), "service", "describe", "nope")
	kn.ok(l("Service 'hello' created"), "service", "create", "hello", "--image", image, "--no-wait",
		"--env", "A=b", "--env-from", "config-map:settings", "--arg", "x", "--cmd", "/bin/hello", "--port", "h2c:9000", "--concurrency-limit", "10",
		"--scale", "1..5", "--scale-init", "2", "--scale-metric", "rps", "--scale-target", "50", "--scale-utilization", "60", "--scale-window", "30s", "--timeout", "20",
		"--request", "cpu=100m", "--limit", "memory=128Mi", "--probe-liveness", "http:0.0.0.0::/healthz", "--probe-readiness", "tcp:0.0.0.0:9000",
		"--mount", "/conf=cm:settings", "--volume", "pw=secret:db", "--mount", "/pw=pw", "--user", "1000", "--service-account", "builder", "--pull-secret", "registry",
		"--pull-policy", "IfNotPresent", "--label", "tier=web", "--label-revision", "tier=rev", "--annotation", "note=x", "--annotation-revision", "note=y")
	o := kn.ok(nil, "service", "describe", "hello", "-o", "json")
	var got struct {
		Metadata struct{ Annotations map[string]string }
		Spec     struct {
			Template struct {
				Metadata struct{ Labels, Annotations map[string]string }
				Spec     struct {
					ContainerConcurrency, TimeoutSeconds int
					Containers                           []struct {
						Image string
						Ports []struct {
							Name          string
							ContainerPort int
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(o), &got); err != nil {
		t.Fatal(err)
	}
	tm := got.Spec.Template
	if tm.Spec.ContainerConcurrency != 10 || tm.Spec.TimeoutSeconds != 20 || tm.Spec.Containers[0].Ports[0].Name != "h2c" || tm.Metadata.Labels["tier"] != "rev" ||
		tm.Metadata.Annotations["autoscaling.knative.dev/max-scale"] != "5" || got.Metadata.Annotations["serving.knative.dev/creator"] == "" {
		t.Errorf("stored: %s", o)
	}
	kn.fails(l("already exists"), "service", "create", "hello", "--image", image, "--no-wait")
	kn.ok(l("Service 'hello' replaced"), "service", "create", "hello", "--image", image, "--force", "--no-wait")
	kn.soon(l(`hello\s+http://hello`), "service", "list")
	kn.soon(l(`hello-00002`, `hello-00001`), "revision", "list", "-s", "hello")
	kn.ok(l("Service 'hello' updated"), "service", "update", "hello", "--env", "C=d", "--no-wait")
	kn.ok(nil, "service", "update", "hello", "--annotation-service", "note=z", "--no-wait")
	kn.soon(l(`hello-00003`), "revision", "list", "-s", "hello")
	kn.ok(l("Service 'hello' updated"), "service", "update", "hello", "--revision-name", "hello-blue", "--no-wait")
	kn.soon(l(`hello-blue`), "revision", "list")
	kn.ok(nil, "service", "update", "hello", "--tag", "hello-00001=old", "--tag", "@latest=new", "--traffic", "@latest=90", "--traffic", "old=10", "--no-wait")
	kn.ok(l(`tag: old`, `percent: 90`, `revisionName: hello-00001`), "service", "describe", "hello", "-o", "yaml")
	kn.ok(nil, "service", "update", "hello", "--untag", "new", "--traffic", "@latest=100", "--no-wait")
	kn.soon(l("Name:\\s+hello", "URL:", "Conditions:"), "service", "describe", "hello", "--verbose")
	kn.soon(l("http://hello"), "service", "describe", "hello", "-o", "url")
	kn.ok(l("kind: Service", "image: "+image), "service", "export", "hello", "-o", "yaml")
	replay := kn.ok(l("kind: List", "hello-00001"), "service", "export", "hello", "--with-revisions", "--mode", "replay", "-o", "yaml")
	kn.ok(l(`"kind": "Export"`, "hello-00001"), "service", "export", "hello", "--with-revisions", "--mode", "export", "-o", "json")

	kn.ok(l("Service 'other' created"), "service", "apply", "other", "--image", image, "--no-wait")
	kn.ok(l("No changes to apply to service 'other'"), "service", "apply", "other", "--image", image, "--no-wait")
	kn.ok(l("Service 'other' applied"), "service", "apply", "other", "--image", image, "--env", "X=1", "--no-wait")

	kn.ok(l("Name:\\s+hello-00001", "Service:\\s+hello", "Image:\\s+"+image), "revision", "describe", "hello-00001")
	kn.ok(l("Revision 'hello-00003' deleted"), "revision", "delete", "hello-00003", "--no-wait")
	kn.fails(l("hello-00003"), "revision", "describe", "hello-00003")
	kn.soon(l(`hello\s+http://hello`), "route", "list")
	kn.soon(l("Name:\\s+hello", "URL:\\s+http://hello"), "route", "describe", "hello")

	kn.ok(l("Domain mapping 'shop.example.com' created"), "domain", "create", "shop.example.com", "--ref", "hello")
	kn.soon(l(`shop.example.com\s+http://shop.example.com`), "domain", "list")
	kn.ok(l("Name:\\s+shop.example.com", "Kind:\\s+Service"), "domain", "describe", "shop.example.com")
	kn.ok(l("updated"), "domain", "update", "shop.example.com", "--ref", "ksvc:other")
	kn.ok(l("Name:\\s+other"), "domain", "describe", "shop.example.com")
	kn.ok(l("deleted"), "domain", "delete", "shop.example.com")
	kn.soon(l("No domain mapping"), "domain", "list")

	kn.fails(l("expected 0 <= 2000 <= 1000: spec.template.spec.containerConcurrency", "hint: "), "service", "create", "bad", "--image", image, "--concurrency-limit", "2000", "--no-wait")
	kn.fails(l("max-scale=2 is less than min-scale=5"), "service", "create", "bad", "--image", image, "--scale", "5..2", "--no-wait")
	kn.fails(l("Port name foo is not allowed"), "service", "create", "bad", "--image", image, "--port", "foo:80", "--no-wait")

	kn.ok(l("Service 'other' successfully deleted"), "service", "delete", "other", "--wait")
	kn.ok(l("Service 'hello' successfully deleted"), "service", "delete", "hello")
	kn.soon(l("No services found"), "service", "list")
	kn.soon(l("No revisions found"), "revision", "list")
	kn.soon(l("No routes found"), "route", "list")

	// What was exported makes the same service again.
	k := s.kubectl(t)
	_, docs, _ := strings.Cut(replay, "items:")
	if !strings.Contains(docs, "hello") {
		t.Fatalf("exported: %s", replay)
	}
	k.okIn(replay, l("service.serving.knative.dev/hello"), "apply", "-f", "-")
	k.ok(l("hello"), "get", "ksvc")
	k.soon(l("hello-00001"), "get", "revisions.serving.knative.dev")
	k.ok(l("deleted"), "delete", "ksvc", "--all", "--wait", "--timeout=120s")
}
