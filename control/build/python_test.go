package build

import (
	"archive/zip"
	"bytes"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
)

// wheel makes a Python package that needs no index to be installed.
func wheel(t *testing.T, name, code string) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	info := name + "-1.0.dist-info/"
	for _, f := range []struct{ name, text string }{
		{name + ".py", code},
		{info + "METADATA", "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", name + ".py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := z.Create(f.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPip(t *testing.T) {
	ran := &counting{}
	b, blobs := newBuilder(t, func(c *Config) { c.Runner = ran })
	req := func(answer string) Request {
		return files("python", "main.py", "import mine\ndef handler(e, c):\n    return mine.answer\n",
			"requirements.txt", "# ours\n./mine-1.0-py3-none-any.whl\n", "mine-1.0-py3-none-any.whl", wheel(t, "mine", "answer = '"+answer+"'\n"))
	}
	for _, answer := range []string{"one", "two"} {
		dir := extract(t, blobs, mustBuild(t, b, req(answer)).Artifact)
		script := "import sys; sys.path.insert(0, '" + api.PythonPackages + "'); import main; print(main.handler(0, 0))"
		if got := run(t, dir, "python3", "-B", "-c", script); got != answer {
			t.Errorf("answered %q, want %q", got, answer)
		}
	}
	if n := ran.count("python3 -m pip"); n != 2 {
		t.Errorf("pip ran %d times for two local packages: %v", n, ran.ran)
	}
}

// ownBackend builds a wheel with nothing but the standard library, so that a
// folder can be installed without an index.
const ownBackend = `
import zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "mine-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder + "/" + name, "w") as z:
        z.write("mine.py")
        z.writestr("mine-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        z.writestr("mine-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("mine-1.0.dist-info/RECORD", "")
    return name
`

func TestPipFromFolder(t *testing.T) {
	b, blobs := newBuilder(t, nil)
	r := files("python", "main.py", "import mine\n", "requirements.txt", "./mine\n", "mine/mine.py", "answer = 1\n", "mine/backend.py", ownBackend,
		"mine/pyproject.toml", "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n[project]\nname = \"mine\"\nversion = \"1.0\"\n")
	if got := entries(t, blobs, mustBuild(t, b, r).Artifact); got[api.PythonPackages+"/mine.py"] != "answer = 1\n" {
		t.Errorf("not installed: %d entries", len(got))
	}
}

func TestPipFails(t *testing.T) {
	b, _ := newBuilder(t, nil)
	r := files("python", "main.py", "x = 1\n", "requirements.txt", "./absent\n")
	_, err := b.Build(t.Context(), r)
	e := api.AsError(err)
	if e.Code != api.CodeBuildFailed || !strings.Contains(e.Message, "pip install ended with status 1: ERROR:") || !strings.Contains(e.Message, "absent") {
		t.Errorf("error %v\n%s", err, e.Detail)
	}
}

func TestLocalRequirements(t *testing.T) {
	for line, local := range map[string]bool{
		"flask==3.0": false, "requests >= 2 ; python_version > '3.8'": false, "-r other.txt": true, "-c limits.txt": true, "./mine": true,
		"mine @ file:///x": true, "wheels/mine.whl": true, "-e .": true, "# see a/b": false,
	} {
		if got := localRequirement.MatchString(line); got != local {
			t.Errorf("%q: local %v", line, got)
		}
	}
}
