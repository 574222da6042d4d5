package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// compile builds a static program of one file.
func compile(t *testing.T, code string) (app string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	app = filepath.Join(dir, "app")
	cmd := exec.Command("go", "build", "-o", app, "main.go")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GO111MODULE=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return app
}

// image builds a static program of one file and makes it an image of s.
func (s *server) image(t *testing.T, name, code string) string {
	t.Helper()
	if out, why, code := s.run("image", "build", compile(t, code), "-t", name); code != 0 {
		t.Fatalf("image build: %s%s", out, why)
	}
	return "hearth.local/default/" + name
}

// at calls a host at the gateway.
func (s *server) at(t *testing.T, host string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", "http://"+s.gateway+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, strings.TrimSpace(string(b))
}

const echoProgram = `package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	fmt.Println("starting", os.Getenv("WHO"))
	if m := os.Getenv("BREAK"); m != "" {
		fmt.Fprintln(os.Stderr, "cannot start:", m)
		os.Exit(3)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get("Show"); name != "" {
			r.Header.Set("Host", r.Host)
			fmt.Fprintln(w, r.Header.Get(name))
			return
		}
		fmt.Fprintln(w, os.Getenv("K_REVISION"), os.Getenv("K_SERVICE"), os.Getenv("K_CONFIGURATION"), os.Getenv("PORT"), os.Getenv("WHO"))
	})
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
`

// TestKnativeService is the life of a Service, with Knative's own command line
// and a real image: from nothing to an answer, a second revision, a split with a
// tag, one that does not start, a restart of the machine, the end.
func TestKnativeService(t *testing.T) {
	state := t.TempDir()
	s := launch(t, state, "--gateway-port", "0")
	kn := s.kn(t)
	l := func(p ...string) []string { return p }
	image := s.image(t, "echo:1", echoProgram)
	_, port, _ := strings.Cut(s.gateway, ":")
	url := `http://hello\.default\.localhost:` + port

	kn.ok(l(`Service 'hello' created to latest revision 'hello-00001'`, url), "service", "create", "hello", "--image", image, "--env", "WHO=one", "--annotation-revision", "a=b")
	for _, host := range []string{"hello.default.localhost", "hello.localhost"} {
		if code, got := s.at(t, host); code != 200 || got != "hello-00001 hello hello 8080 one" {
			t.Errorf("%s answers %d %q", host, code, got)
		}
	}

	kn.ok(l(`Service 'hello' updated to latest revision 'hello-00002'`), "service", "update", "hello", "--env", "WHO=two")
	if code, got := s.at(t, "hello.default.localhost"); code != 200 || got != "hello-00002 hello hello 8080 two" {
		t.Errorf("after an update %d %q", code, got)
	}

	kn.ok(l(`Ready to serve`), "service", "update", "hello", "--tag", "hello-00001=old", "--traffic", "old=10", "--traffic", "@latest=90")
	count := map[string]int{}
	for range 100 {
		code, got := s.at(t, "hello.default.localhost")
		if code != 200 {
			t.Fatalf("%d %s", code, got)
		}
		count[strings.Fields(got)[0]]++
	}
	if fmt.Sprint(count) != "map[hello-00001:10 hello-00002:90]" {
		t.Errorf("of 100 calls %v", count)
	}
	for name, ask := range map[string]func() (int, string){
		"its host":   func() (int, string) { return s.at(t, "old-hello.default.localhost") },
		"the header": func() (int, string) { return s.at(t, "hello.default.localhost", "Knative-Serving-Tag", "old") },
	} {
		if code, got := ask(); code != 200 || !strings.HasPrefix(got, "hello-00001 ") {
			t.Errorf("by %s the tag answers %d %q", name, code, got)
		}
	}
	for asked, sees := range map[string]string{"": "true", "old": "false", "none": "true"} {
		if code, got := s.at(t, "hello.default.localhost", "Show", "Knative-Serving-Default-Route", "Knative-Serving-Tag", asked); code != 200 || got != sees {
			t.Errorf("asked for the tag %q, the program is told %d %q, want %q", asked, code, got, sees)
		}
	}
	kn.ok(l(`hello-00002\s+hello\s+90%`, `hello-00001\s+hello\s+10%\s+old`), "revision", "list", "-s", "hello")

	kn.fails(l(`RevisionFailed`, `hello-00003`, `exited with status 3`, `cannot start: no database`), "service", "update", "hello", "--env", "BREAK=no database", "--wait-timeout", "60")
	kn.ok(l(`ContainerHealthy\s+.*ExitCode3`), "revision", "describe", "hello-00003")
	if code, got := s.at(t, "hello.default.localhost"); code != 200 {
		t.Errorf("while the newest revision fails, %d %q", code, got)
	}
	kn.fails(l(`Unable to fetch image`, `hearth\.local/default/none:9`), "service", "create", "none", "--image", "hearth.local/default/none:9", "--wait-timeout", "60")
	kn.ok(l(`latest revision 'hello-00004'`), "service", "update", "hello", "--env", "BREAK-", "--env", "WHO=four")

	s.kill()
	s = upIn(t, state, "--gateway-port", "0")
	kn = s.kn(t)
	if code, got := s.at(t, "old-hello.default.localhost"); code != 200 || got != "hello-00001 hello hello 8080 one" {
		t.Errorf("after a restart, from zero, %d %q", code, got)
	}
	kn.ok(l(`http://hello\.default\.localhost`, `hello-00004`, `True`), "service", "list")

	kubectl := s.kubectl(t)
	kubectl.okIn(`{"apiVersion":"networking.internal.knative.dev/v1alpha1","kind":"ClusterDomainClaim","metadata":{"name":"www.shop.test"},"spec":{"namespace":"default"}}`, nil, "apply", "-f", "-")
	kn.ok(l("created"), "domain", "create", "www.shop.test", "--ref", "hello")
	kn.soon(l(`www\.shop\.test\s+http://www\.shop\.test\S*\s+True`), "domain", "list")
	if code, got := s.at(t, "www.shop.test"); code != 200 {
		t.Errorf("the mapped domain answers %d %q", code, got)
	}
	for host, sees := range map[string]string{"www.shop.test": "hello.default.svc.cluster.local", "hello.default.localhost": "hello.default.localhost"} {
		if code, got := s.at(t, host, "Show", "Host"); code != 200 || got != sees {
			t.Errorf("called at %s, the program sees the host %d %q, want %q", host, code, got, sees)
		}
	}

	kn.ok(l(`Service 'hello' successfully deleted`), "service", "delete", "hello", "--wait")
	eventually(t, patience, "the host answers no more", func() bool {
		code, _ := s.at(t, "hello.default.localhost")
		return code == 404
	})
	out := kubectl.ok(nil, "get", "revisions.hearth.run,routes.hearth.run,services,configurations,revisions.serving.knative.dev,routes.serving.knative.dev", "-o", "name")
	if left := regexp.MustCompile(`(?m)^\S*/(old-)?hello\S*$`).FindAllString(out, -1); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
