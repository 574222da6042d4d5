package manifest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/dialect/knative"
	"github.com/hearth-run/hearth/manifest"
)

// TestSet: documents of foreign kinds are read with their positions, and what
// their API refuses is said where it stands.
func TestSet(t *testing.T) {
	set := manifest.Set(append(api.Kinds(), knative.Kinds()...))
	load := func(text string) ([]manifest.Document, error) {
		file := filepath.Join(t.TempDir(), "in.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return set.Load([]string{file}, nil)
	}
	const service = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: hello}\nspec:\n  template:\n    spec:\n      containers:\n      - image: hello\n"
	const route = "apiVersion: hearth.run/v1\nkind: Route\nmetadata: {name: hello}\nspec: {path: /, targets: [{function: hello}]}\n"
	docs, err := load(service + "---\n" + route)
	if err != nil || len(docs) != 2 || docs[0].Kind.Resource() != knative.Services || docs[1].Kind.Resource() != api.Routes {
		t.Fatalf("%v, %v", docs, err)
	}
	if strings.Contains(string(docs[0].JSON), "timeoutSeconds") {
		t.Errorf("defaults are the server's to set: %s", docs[0].JSON)
	}
	for text, want := range map[string]string{
		service + "        tty: true\n":             "in.yaml:9:9: spec.template.spec.containers[0].tty: must not set the field(s)",
		service + "  traffic: [{percent: 7}]\n":     "in.yaml:9:3: spec.traffic: Traffic targets sum to 7, want 100",
		strings.Replace(service, "v1\n", "v2\n", 1): `in.yaml:1:1: apiVersion: "serving.knative.dev/v2" has no kind Service`,
		strings.Replace(service, "Serv", "Sev", 1):  `in.yaml:2:1: kind: "Sevice" is not a kind Hearth knows`,
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error()+detail(err), strings.TrimPrefix(want, "in.yaml")) {
			t.Errorf("%q:\n%v%s\nwant %s", text, err, detail(err), want)
		}
	}
	if _, err := manifest.Read("in.yaml", []byte(service)); err == nil {
		t.Error("a native reader knows kinds of Knative")
	}
}

func detail(err error) string { return "\n" + api.AsError(err).Detail + api.AsError(err).Hint }
