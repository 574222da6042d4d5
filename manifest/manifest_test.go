package manifest_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/manifest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden reads testdata/*.txt: a manifest, a line of dashes, and what
// becomes of it: the documents or the error as users see it.
func TestGolden(t *testing.T) {
	cases, _ := filepath.Glob("testdata/*.txt")
	if len(cases) < 10 {
		t.Fatalf("only %d cases found", len(cases))
	}
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(text), "\n----------\n")
			if !ok && !*update {
				t.Fatal("no line of ten dashes")
			}
			got := render(manifest.Read("in.yaml", []byte(input)))
			if *update {
				if err := os.WriteFile(file, []byte(input+"\n----------\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func render(docs []manifest.Document, err error) string {
	var b strings.Builder
	for _, d := range docs {
		b.WriteString(d.String())
		b.WriteString(" line " + json.Number(itoa(d.Line)).String() + "\n")
		var pretty bytes.Buffer
		if json.Indent(&pretty, d.JSON, "", "  ") != nil {
			return "not JSON: " + string(d.JSON)
		}
		b.WriteString(pretty.String() + "\n")
	}
	if err != nil {
		e := api.AsError(err)
		b.WriteString("error: " + e.Message + "\n")
		if e.Detail != "" {
			b.WriteString(e.Detail + "\n")
		}
		b.WriteString("  hint: " + e.Help() + "\n")
	}
	return b.String()
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestPosition(t *testing.T) {
	docs, err := manifest.Read("f.yaml", []byte(`apiVersion: hearth.run/v1
kind: Function
metadata: {name: hello}
spec:
  runtime: node
  env:
    - name: A
      value: b
    - name: C
  source:
    files:
      index.js: x
`))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"": 1, "kind": 2, "metadata.name": 3, "spec": 4, "spec.env[0].value": 8, "spec.env[1].name": 9,
		"spec.env[1].value": 9, "spec.source.files.index.js": 12, "spec.timeout": 4, "nowhere": 1,
	} {
		if got := docs[0].Position(path).Line; got != want {
			t.Errorf("%q on line %d, want %d", path, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	secret := func(name string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + "}\n"
	}
	write("b.yaml", secret("b"))
	write("a/z.yml", secret("z")+"---\n"+secret("y"))
	write("a/c.json", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"c"}}`)
	write("a/package.json", `{"name":"c"}`)
	write("a/readme.md", "not a manifest")
	write(".hidden/x.yaml", secret("x"))
	write("a/node_modules/m.yaml", secret("m"))

	docs, err := manifest.Load([]string{dir, "-"}, strings.NewReader(secret("in")))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range docs {
		names = append(names, d.Name)
	}
	if d := cmp.Diff([]string{"c", "z", "y", "b", "in"}, names); d != "" {
		t.Error(d)
	}

	_, err = manifest.Load([]string{filepath.Join(dir, "b.yaml"), "-"}, strings.NewReader("\n"+secret("b")))
	if err == nil || !strings.Contains(err.Error(), "stdin:4:12: secret/b is given twice; first in "+filepath.Join(dir, "b.yaml")+":3") {
		t.Errorf("the same object twice: %v", err)
	}
	_, err = manifest.Load([]string{filepath.Join(dir, "none.yaml")}, nil)
	if !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = manifest.Load([]string{filepath.Join(dir, "empty")}, nil)
	if !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("empty folder: %v", err)
	}
}

// TestAliasBomb holds that a text of a kilobyte cannot become gigabytes.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\na0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 10; i++ {
		p, n := string(rune('0'+i-1)), string(rune('0'+i))
		b.WriteString("a" + n + ": &a" + n + " [" + strings.TrimSuffix(strings.Repeat("*a"+p+",", 9), ",") + "]\n")
	}
	_, err := manifest.Read("bomb.yaml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "values once its aliases are put in place") {
		t.Errorf("got %v", err)
	}
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	_, err = manifest.Read("deep.yaml", []byte("a: "+deep))
	if err == nil {
		t.Error("a list 5000 levels deep was taken")
	}
	_, err = manifest.Read("big.yaml", bytes.Repeat([]byte("#"), 17<<20))
	if err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("17 MiB: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	cases, _ := filepath.Glob("testdata/*.txt")
	for _, file := range cases {
		text, _ := os.ReadFile(file)
		input, _, _ := strings.Cut(string(text), "\n----------\n")
		f.Add([]byte(input))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, err := manifest.Read("in", text)
		for _, d := range docs {
			if !json.Valid(d.JSON) || d.Kind.Kind == "" {
				t.Fatalf("document %+v", d)
			}
			// What was read can be read again and is the same.
			again, err := manifest.Read("in", d.JSON)
			if err != nil || len(again) != 1 {
				t.Fatalf("%s: %d documents, %v", d.JSON, len(again), err)
			}
			var x, y any
			if json.Unmarshal(d.JSON, &x) != nil || json.Unmarshal(again[0].JSON, &y) != nil || !cmp.Equal(x, y) {
				t.Fatalf("%s became %s", d.JSON, again[0].JSON)
			}
		}
		if err != nil && api.AsError(err).Code == api.CodeInternal {
			t.Fatal(err)
		}
	})
}
