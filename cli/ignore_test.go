package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/api"
)

func TestIgnore(t *testing.T) {
	var ig ignore
	for _, l := range []string{"# no", "", "*.log", "!keep.log", "build/", "/top.txt", "docs/*.md", "a/**/z", "data[0-9]"} {
		ig.add(l)
	}
	for _, c := range []struct {
		path string
		dir  bool
		want bool
	}{
		{"x.log", false, true}, {"deep/x.log", false, true}, {"keep.log", false, false}, {"deep/keep.log", false, false},
		{"build", true, true}, {"build", false, false}, {"src/build", true, true}, {"top.txt", false, true}, {"sub/top.txt", false, false},
		{"docs/a.md", false, true}, {"docs/sub/a.md", false, false}, {"other/docs/a.md", false, false},
		{"a/z", false, true}, {"a/b/c/z", false, true}, {"a/b/c/y", false, false}, {"data7", false, true}, {"datax", false, false}, {"# no", false, false},
	} {
		if got := ig.ignores(c.path, c.dir); got != c.want {
			t.Errorf("%s (folder: %v) ignored: %v, want %v", c.path, c.dir, got, c.want)
		}
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func packed(t *testing.T, dir string) (data []byte, names []string) {
	t.Helper()
	var b bytes.Buffer
	if err := pack(&b, dir); err != nil {
		t.Fatal(err)
	}
	data = bytes.Clone(b.Bytes())
	z, err := gzip.NewReader(&b)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return data, names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// TestPack holds that a packed folder depends on names, contents and execute
// bits only, and what is left out.
func TestPack(t *testing.T) {
	files := map[string]string{
		"index.js": "1", "package.json": "{}", "lib/a.js": "2", "node_modules/x/index.js": "no", ".git/HEAD": "no", ".hearth/db": "no",
		"__pycache__/a.pyc": "no", "secret.env": "no", ".hearthignore": "*.env\n", ".npmrc": "yes",
	}
	one, two := t.TempDir(), t.TempDir()
	write(t, one, files)
	write(t, two, files)
	old := time.Unix(1e9, 0)
	if err := os.Chtimes(filepath.Join(two, "index.js"), old, old); err != nil {
		t.Fatal(err)
	}
	a, names := packed(t, one)
	b, _ := packed(t, two)
	if !bytes.Equal(a, b) {
		t.Error("the same folder made two archives")
	}
	if d := cmp.Diff([]string{".npmrc", "index.js", "lib/", "lib/a.js", "package.json"}, names); d != "" {
		t.Error(d)
	}
	if err := os.Chmod(filepath.Join(two, "index.js"), 0o755); err != nil {
		t.Fatal(err)
	}
	if c, _ := packed(t, two); bytes.Equal(a, c) {
		t.Error("an execute bit made no difference")
	}
	if err := os.Symlink("../../etc/passwd", filepath.Join(two, "link")); err != nil {
		t.Fatal(err)
	}
	if err := pack(io.Discard, two); !api.IsCode(err, api.CodeUnsafeArchive) {
		t.Errorf("a link that leaves the folder: %v", err)
	}
	if err := pack(io.Discard, t.TempDir()); !api.IsCode(err, api.CodeInvalid) {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestOneFile(t *testing.T) {
	if err := fstest.TestFS(oneFile{name: "a.js", data: []byte("x"), mode: 0o644}, "a.js"); err != nil {
		t.Error(err)
	}
}

// TestHolds holds which changes of files are a reason to deploy.
func TestHolds(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"hello.js": "1", "fn/index.js": "2", "fn/.hearthignore": "*.md\n", "fn/package.json": "{}"})
	file := &deployment{path: filepath.Join(dir, "hello.js")}
	folder := &deployment{path: filepath.Join(dir, "fn")}
	for _, c := range []struct {
		d     *deployment
		file  string
		holds bool
	}{
		{file, "hello.js", true}, {file, "other.js", false}, {file, "fn/index.js", false},
		{folder, "fn/index.js", true}, {folder, "fn/lib/new.js", true}, {folder, "hello.js", false}, {folder, "fnx/index.js", false},
		{folder, "fn/README.md", false}, {folder, "fn/index.js~", false}, {folder, "fn/.index.js.swp", false}, {folder, "fn/node_modules/x/y.js", false}, {folder, "fn/.git/HEAD", false},
	} {
		if _, got := c.d.holds(filepath.Join(dir, filepath.FromSlash(c.file))); got != c.holds {
			t.Errorf("%s holds %s: %v, want %v", filepath.Base(c.d.path), c.file, got, c.holds)
		}
	}
}

func TestSetEnv(t *testing.T) {
	spec := map[string]any{"env": []any{map[string]any{"name": "A", "value": "1"}, map[string]any{"name": "B", "valueFrom": "x"}}}
	if err := setEnv(spec, []string{"A=2", "C=3=4", "B=", "D="}); err != nil {
		t.Fatal(err)
	}
	want := []any{map[string]any{"name": "A", "value": "2"}, map[string]any{"name": "C", "value": "3=4"}}
	if d := cmp.Diff(want, spec["env"]); d != "" {
		t.Error(d)
	}
	if err := setEnv(spec, []string{"A=", "C="}); err != nil || spec["env"] != nil {
		t.Errorf("%v %v", spec, err)
	}
	for _, bad := range []string{"A", "=1", ""} {
		if err := setEnv(spec, []string{bad}); !api.IsCode(err, api.CodeUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestToName(t *testing.T) {
	for in, want := range map[string]string{"hello": "hello", "My_Func": "my-func", "a.b": "a-b", "_x_": "x", "é": ""} {
		if got := toName(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"hello-3": "hello@3", "a-b-12": "a-b@12", "hello": "hello", "-3": "-3", "a-": "a-", "a-b": "a-b", "": ""} {
		if got := revisionText(in); got != want {
			t.Errorf("%q is written %q, want %q", in, got, want)
		}
		if strings.Contains(want, "@") && objectName(want) != in {
			t.Errorf("%q is not the name of %q", objectName(want), want)
		}
	}
}
