package process

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// environmentSpec runs testdata/environment.py, which serves the fixed port 8888
// and expects code below /userfunc like Fission's own servers.
func environmentSpec(t *testing.T, protocol, artifact, handler string) engine.Spec {
	folder, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	s := spec("python", artifact)
	s.Handler = handler
	s.Runtime = engine.Runtime{
		Name: "fission-python", Protocol: protocol, Folder: folder, PoolSize: 1,
		Command: []string{"python3", "environment.py"},
	}
	return s
}

func TestFissionContract(t *testing.T) {
	e, artifact, _ := open(t, nil)
	single := artifact(map[string]string{"hello.py": "def main():\n    return 'single'\n"})
	tree := artifact(map[string]string{"main.py": "from lib.words import word\ndef other():\n    return word\n", "lib/words.py": "word = 'tree'\n"})
	for _, c := range []struct{ protocol, artifact, handler, want string }{
		{api.ProtocolFissionV1, single, "", "single"},
		{api.ProtocolFissionV2, single, "main", "single"},
		{api.ProtocolFissionV2, tree, "main.other", "tree"},
		{api.ProtocolFissionV3, tree, "main.other", "tree"},
	} {
		in, err := e.Start(t.Context(), environmentSpec(t, c.protocol, c.artifact, c.handler))
		if err != nil {
			t.Fatalf("%s: %v\n%s", c.protocol, err, api.AsError(err).Detail)
		}
		answer(t, in, c.want)
		second, err := e.Start(t.Context(), environmentSpec(t, c.protocol, c.artifact, c.handler))
		if err != nil {
			t.Fatalf("%s: a second instance on the same port: %v", c.protocol, err)
		}
		answer(t, second, c.want)
	}
}

func TestFissionHelper(t *testing.T) {
	e, artifact, _ := open(t, nil)
	in, err := e.Start(t.Context(), environmentSpec(t, api.ProtocolFissionV2, artifact(map[string]string{"hello.py": "def main():\n    return 'x'\n"}), "main"))
	if err != nil {
		t.Fatal(err)
	}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://f/wsevent", nil)
	a, err := call(t.Context(), in, r)
	if err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("the environment's sidecar does not answer: %v %v", a, err)
	}
	a.Body.Close()
}

func TestFissionRefusal(t *testing.T) {
	e, artifact, _ := open(t, nil)
	for _, c := range []struct{ protocol, code, handler, want string }{
		{api.ProtocolFissionV2, "import nothing_like_this\n", "main", "nothing_like_this"},
		{api.ProtocolFissionV3, "def main():\n    return ''\n", "absent", "absent"},
	} {
		_, err := e.Start(t.Context(), environmentSpec(t, c.protocol, artifact(map[string]string{"a.py": c.code, "b.py": ""}), "a."+c.handler))
		if !api.IsCode(err, api.CodeLoadFailed) {
			t.Fatalf("%s: %v, want load_failed", c.protocol, err)
		}
		if x := api.AsError(err); !strings.Contains(x.Message, c.want) || !strings.Contains(x.Detail, "Traceback") {
			t.Errorf("%s: message %q, detail %q; want the server's own words", c.protocol, x.Message, x.Detail)
		}
	}
	_, err := e.Start(t.Context(), environmentSpec(t, api.ProtocolFissionV1, artifact(map[string]string{"a.py": "", "b.py": ""}), ""))
	if !api.IsCode(err, api.CodeLoadFailed) || api.AsError(err).Hint == "" {
		t.Errorf("contract v1 with a tree: %v, want load_failed with a hint", err)
	}
}
