package build

import (
	"archive/tar"
	"context"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"go.uber.org/goleak"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/runtime/golang"
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

var update = flag.Bool("update", false, "write what the golden files should hold")

// counting counts the commands that run.
type counting struct {
	Direct
	mu  sync.Mutex
	ran []string
}

func (c *counting) Run(ctx context.Context, t Task, out io.Writer) (int, error) {
	c.mu.Lock()
	c.ran = append(c.ran, filepath.Base(t.Command[0])+" "+strings.Join(t.Command[1:min(3, len(t.Command))], " "))
	c.mu.Unlock()
	return c.Direct.Run(ctx, t, out)
}

func (c *counting) count(prefix string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.ran {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func newBuilder(t *testing.T, change func(*Config)) (*Builder, blob.Store) {
	t.Helper()
	cfg := Config{Blobs: memory.NewBlobs(), Cache: t.TempDir(), Folders: true}
	if change != nil {
		change(&cfg)
	}
	b, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	// The module cache is read-only on purpose; let the folder be removed.
	t.Cleanup(func() { removeAll(filepath.Join(cfg.Cache, "tenant")) })
	return b, cfg.Blobs
}

func function(runtime string, s api.Source) Request {
	return Request{Namespace: "default", Runtime: runtime, Function: api.Function{
		Metadata: api.Meta{Name: "f", Namespace: "default"}, Spec: api.FunctionSpec{Runtime: runtime, Source: s},
	}}
}

func files(runtime string, nameText ...string) Request {
	m := map[string]string{}
	for i := 0; i < len(nameText); i += 2 {
		m[nameText[i]] = nameText[i+1]
	}
	return function(runtime, api.Source{Files: m})
}

func mustBuild(t *testing.T, b *Builder, r Request) Result {
	t.Helper()
	res, err := b.Build(t.Context(), r)
	if err != nil {
		t.Fatalf("build: %v\n%s", err, api.AsError(err).Detail)
	}
	return res
}

// entries lists an artifact: names with a mode letter, and contents.
func entries(t *testing.T, blobs blob.Store, digest string) map[string]string {
	t.Helper()
	r, _, err := blobs.Open(t.Context(), blob.Digest(digest))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := map[string]string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s has an owner or a time", h.Name)
		}
		name := h.Name
		if h.Typeflag == tar.TypeReg && h.Mode&0o111 != 0 {
			name += "*"
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(b)
		if h.Typeflag == tar.TypeSymlink {
			out[name] = "-> " + h.Linkname
		}
	}
}

// extract unpacks an artifact into a folder.
func extract(t *testing.T, blobs blob.Store, digest string) string {
	t.Helper()
	dir := t.TempDir()
	tr, err := newTree(dir, Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	defer tr.root.Close()
	tr.mixed = true
	r, _, err := blobs.Open(t.Context(), blob.Digest(digest))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := untar(t.Context(), r, tr); err != nil {
		t.Fatal(err)
	}
	return dir
}

func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), program, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestErrors(t *testing.T) {
	cases, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil || len(cases) < 8 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	cache := t.TempDir()
	for _, file := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			req := function("", api.Source{Files: map[string]string{}})
			want := -1
			for i, f := range ar.Files {
				switch name, ok := strings.CutPrefix(f.Name, "source/"); {
				case ok:
					req.Function.Spec.Source.Files[name] = strings.TrimSuffix(string(f.Data), "\n")
				case f.Name == "build":
					req.Function.Spec.Build = &api.BuildSpec{Command: []string{"sh", "-c", strings.TrimSpace(string(f.Data))}}
				default:
					want = i
				}
			}
			if _, ok := req.Function.Spec.Source.Files["main.go"]; ok {
				req.Function.Spec.Build = hostGoCache(t)
			}
			b, _ := newBuilder(t, func(c *Config) { c.Cache = cache })
			_, err = b.Build(t.Context(), req)
			if err == nil {
				t.Fatal("built")
			}
			e := api.AsError(err)
			got := string(e.Code) + ": " + e.Message + "\n"
			if e.Detail != "" {
				got += e.Detail + "\n"
			}
			if e.Hint != "" {
				got += "hint: " + e.Hint + "\n"
			}
			if *update {
				ar.Files[want].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(string(ar.Files[want].Data), got); d != "" {
				t.Errorf("-want +got\n%s", d)
			}
		})
	}
}

func TestInline(t *testing.T) {
	for _, c := range []struct{ runtime, handler, text, want, found string }{
		{"node", "", "exports.handler = () => 1", "index.js", "node"},
		{"node", "", "export const handler = () => 1", "index.mjs", "node"},
		{"node", "hello.main", "exports.main = () => 1", "hello.js", "node"},
		{"node", "", "export const handler = (n: number): number => n", "index.js index.ts", "node"},
		{"python", "", "def handler(e, c): return 1", "main.py", "python"},
		{"python", "app:app", "def app(e, s): return []", "app.py", "python"},
		{"command", "", "#!/bin/sh\necho hi", "run*", "command"},
		{"", "", "#!/bin/sh\necho hi", "run*", "command"},
		{"", "", "import json\ndef handler(e, c):\n  return 1", "main.py", "python"},
		{"", "", "import fs from 'fs'\nexport default () => fs", "index.mjs", "node"},
		{"", "", "module.exports = async () => 1", "index.js", "node"},
	} {
		b, blobs := newBuilder(t, nil)
		r := function(c.runtime, api.Source{Inline: c.text})
		r.Function.Spec.Handler = c.handler
		res := mustBuild(t, b, r)
		var names []string
		for n := range entries(t, blobs, res.Artifact) {
			names = append(names, n)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != c.want || res.Runtime != c.found || res.Handler != c.handler {
			t.Errorf("%q for %q: files %s of %s, want %s of %s", c.text, c.runtime, got, res.Runtime, c.want, c.found)
		}
	}
}

func TestSameSourceSameArtifact(t *testing.T) {
	r := files("node", "index.ts", "export const a: number = 1\n", "lib/b.js", "exports.b = 1\n", "bin/run.sh", "#!/bin/sh\n", "data.json", "{}")
	one, blobs := newBuilder(t, nil)
	two, _ := newBuilder(t, nil)
	first, second := mustBuild(t, one, r), mustBuild(t, two, r)
	if first.Artifact != second.Artifact || first.SourceDigest != second.SourceDigest {
		t.Errorf("two builders made %s and %s of one source", first.Artifact, second.Artifact)
	}
	got := entries(t, blobs, first.Artifact)
	for _, name := range []string{"index.ts", "index.js", "lib/", "lib/b.js", "bin/run.sh*", "data.json"} {
		if _, ok := got[name]; !ok {
			t.Errorf("the artifact lacks %s: %v", name, got)
		}
	}
}

func TestSecondBuildIsCached(t *testing.T) {
	ran := &counting{}
	b, blobs := newBuilder(t, func(c *Config) { c.Runner = ran })
	r := files("", "main.py", "def handler(e, c): return 1\n")
	first := mustBuild(t, b, r)
	second := mustBuild(t, b, r)
	if first.Cached || !second.Cached || first.Artifact != second.Artifact || second.Runtime != "python" || ran.count("") != 1 {
		t.Errorf("first %+v, second %+v, commands %v", first, second, ran.ran)
	}
	r.Function.Metadata.Annotations = map[string]string{api.AnnotationRebuild: "now"}
	if third := mustBuild(t, b, r); third.Cached || third.Artifact != first.Artifact {
		t.Errorf("a forced build: %+v", third)
	}
	if err := blobs.Delete(t.Context(), blob.Digest(first.Artifact)); err != nil {
		t.Fatal(err)
	}
	if fourth := mustBuild(t, b, r); fourth.Cached || fourth.Artifact != first.Artifact {
		t.Errorf("after the artifact was lost: %+v", fourth)
	}
}

func TestTypeScriptRuns(t *testing.T) {
	b, blobs := newBuilder(t, nil)
	for _, c := range []struct {
		name string
		r    Request
		main string
	}{
		{"commonjs, every way to name a file", files("node",
			"index.ts", `import { a } from "./lib/a"; import { b } from "./lib/b.js"; import c from "./lib/c.ts"; import { d } from "@lib/d"; import path from "node:path";
enum E { X = "x" }
export const handler = async (): Promise<string> => [a, b, c, d, E.X, path.basename("/p/q")].join(",")`,
			"lib/a/index.ts", `export const a: string = "a"`, "lib/b.ts", `export const b = "b"`, "lib/c.ts", `export default "c"`, "lib/d.ts", `export const d = "d"`,
			"tsconfig.json", `{ /* as tsc writes it */ "compilerOptions": { "paths": {"@lib/*": ["./lib/*"],}, }, // "x"
}`), `require("./index.js")`},
		{"module", files("node", "package.json", `{"type":"module"}`, "index.ts",
			`import { a } from "./a.js"; export const handler = () => a + ",b,c,d,x,q"`, "a.ts", `export const a: string = "a"`), `await import("./index.js")`},
		{"await at the top", files("node", "index.ts",
			`import { a } from "./a"; const b: string = await Promise.resolve("b"); export const handler = () => [a, b, "c,d,x,q"].join(",")`,
			"a.ts", `export const a: string = "a"`), `await import("./index.mjs")`},
		{"import.meta", files("node", "index.ts", `import { basename } from "node:path"; export const handler = (): string => basename(import.meta.url) === "index.mjs" ? "a,b,c,d,x,q" : import.meta.url`),
			`await import("./index.mjs")`},
		{"tsx", files("node", "index.tsx", `const h = (t: string, p: any, c: string) => c
/** @jsx h */
export const handler = () => <b>a,b,c,d,x,q</b>`), `require("./index.js")`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := extract(t, blobs, mustBuild(t, b, c.r).Artifact)
			script := `(async () => { const m = ` + c.main + `; console.log(await m.handler()) })()`
			if got := run(t, dir, "node", "-e", script); got != "a,b,c,d,x,q" {
				t.Errorf("answered %q", got)
			}
		})
	}
}

func TestHandlerNamesWhatTypeScriptBecame(t *testing.T) {
	b, _ := newBuilder(t, nil)
	for _, c := range []struct{ handler, main, want string }{
		{"src/app.ts", "", "src/app"}, {"", "./src/app.ts", "src/app"}, {"src/app.run", "src/app.ts", "src/app.run"}, {"", "src/app.js", ""}, {"", "", ""},
	} {
		r := files("node", "src/app.ts", "export const run = (): number => 1", "package.json", `{"main":"`+c.main+`"}`)
		r.Function.Spec.Handler = c.handler
		if res := mustBuild(t, b, r); res.Handler != c.want {
			t.Errorf("handler %q and main %q became %q, want %q", c.handler, c.main, res.Handler, c.want)
		}
	}
}

func TestGoFunctionIsWrapped(t *testing.T) {
	b, blobs := newBuilder(t, func(c *Config) { c.WrapGo = golang.Wrap })
	r := files("go", "hello.go", "package hello\n\nimport \"net/http\"\n\nfunc Handler(w http.ResponseWriter, r *http.Request) {}\n")
	r.Function.Spec.Build = hostGoCache(t)
	if got := entries(t, blobs, mustBuild(t, b, r).Artifact); len(got) != 1 || got["handler*"] == "" {
		t.Errorf("%d entries", len(got))
	}
	_, err := b.Build(t.Context(), files("go", "hello.go", "package hello\n\nfunc Handler( {}\n"))
	if e := api.AsError(err); !api.IsCode(err, api.CodeBuildFailed) || !strings.HasPrefix(e.Message, "hello.go:3:") || !strings.HasPrefix(e.Detail, "3 │ func Handler( {}\n") {
		t.Errorf("error %v\n%s", err, e.Detail)
	}
}

// TestNothingAboveTheSourceCounts builds below a project of someone's own.
func TestNothingAboveTheSourceCounts(t *testing.T) {
	plain, _ := newBuilder(t, nil)
	project := t.TempDir()
	for name, text := range map[string]string{
		"package.json": `{"type":"module"}`, "go.work": "nonsense", "tsconfig.json": `{"compilerOptions":{"paths":{"path":["./lib.ts"]},"jsxFactory":"h"}}`, "lib.ts": "export default 1",
		"secret": "hush", "tsconfig.base.json": "hush",
	} {
		if err := os.WriteFile(filepath.Join(project, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	inside, blobs := newBuilder(t, func(c *Config) { c.Cache = filepath.Join(project, ".hearth", "build") })
	r := files("node", "index.tsx", "import path from 'path'; import x from '../../../../../lib'; export const a: any = [path, x, <b/>]")
	one, two := mustBuild(t, plain, r), mustBuild(t, inside, r)
	if one.Artifact != two.Artifact {
		t.Errorf("the artifact depends on where hearth runs: %v", entries(t, blobs, two.Artifact))
	}
	evil := files("node", "index.ts", "export const a: number = 1", "tsconfig.json", `{"extends":"`+filepath.Join(project, "secret")+`"}`)
	for name, text := range entries(t, blobs, mustBuild(t, inside, evil).Artifact) {
		if strings.Contains(text, "hush") {
			t.Errorf("%s has what another file holds", name)
		}
	}
}

func TestTypeScriptTraceback(t *testing.T) {
	b, blobs := newBuilder(t, nil)
	r := files("node", "index.ts", "type A = {\n  b: string\n}\nexport const handler = (a: A) => {\n  throw new Error('on line five')\n}\n")
	dir := extract(t, blobs, mustBuild(t, b, r).Artifact)
	got := run(t, dir, "node", "--enable-source-maps", "-e", `try { require("./index.js").handler({}) } catch (e) { console.log(e.stack) }`)
	if !strings.Contains(got, "index.ts:5:9") {
		t.Errorf("the traceback names another place:\n%s", got)
	}
}

func TestNpm(t *testing.T) {
	ran := &counting{}
	b, blobs := newBuilder(t, func(c *Config) { c.Runner = ran })
	pkg := `{"dependencies":{"is-number":"7.0.0"}}`
	src := `exports.handler = () => require("is-number")(5)`
	first := mustBuild(t, b, files("node", "package.json", pkg, "index.js", src))
	dir := extract(t, blobs, first.Artifact)
	if got := run(t, dir, "node", "-p", `require("./index.js").handler()`); got != "true" {
		t.Errorf("answered %q", got)
	}
	if first.LogDigest == "" {
		t.Error("no build log")
	}
	second := mustBuild(t, b, files("node", "package.json", pkg, "index.js", src+"\n// changed"))
	if second.Cached || ran.count("npm install") != 1 {
		t.Errorf("the same dependencies were installed again: %v", ran.ran)
	}
	if got := run(t, extract(t, blobs, second.Artifact), "node", "-p", `require("./index.js").handler()`); got != "true" {
		t.Errorf("with restored dependencies it answered %q", got)
	}
	if kept, err := b.Kept(t.Context()); err != nil || len(kept) != 1 {
		t.Errorf("kept %v, %v; want the installed dependencies", kept, err)
	}
	other := files("node", "package.json", pkg, "index.js", src+"\n// of another tenant")
	other.Namespace = "other"
	mustBuild(t, b, other)
	if ran.count("npm install") != 2 {
		t.Errorf("two tenants shared what install scripts can write: %v", ran.ran)
	}
}

func TestNpmFromFolder(t *testing.T) {
	ran := &counting{}
	b, blobs := newBuilder(t, func(c *Config) { c.Runner = ran })
	req := func(answer string) Request {
		return files("node", "package.json", `{"dependencies":{"mine":"file:./mine"}}`, "index.js", `exports.handler = () => require("mine")`,
			"mine/package.json", `{"name":"mine","version":"1.0.0"}`, "mine/index.js", `module.exports = "`+answer+`"`)
	}
	for _, answer := range []string{"one", "two"} {
		dir := extract(t, blobs, mustBuild(t, b, req(answer)).Artifact)
		if got := run(t, dir, "node", "-p", `require("./index.js").handler()`); got != answer {
			t.Errorf("answered %q, want %q", got, answer)
		}
	}
}

func TestNpmFails(t *testing.T) {
	b, blobs := newBuilder(t, nil)
	res, err := b.Build(t.Context(), files("node", "package.json", `{"dependencies":{"mine":"file:./absent.tgz"}}`, "index.js", ""))
	e := api.AsError(err)
	if !api.IsCode(err, api.CodeBuildFailed) || !strings.HasPrefix(e.Message, "npm install ended with status ") || !strings.Contains(e.Message, "ENOENT") {
		t.Errorf("error %v\n%s", err, e.Detail)
	}
	if strings.Contains(e.Message, "\n") || e.Detail == "" {
		t.Errorf("message %q, detail %q", e.Message, e.Detail)
	}
	r, _, err := blobs.Open(t.Context(), blob.Digest(res.LogDigest))
	if err != nil {
		t.Fatalf("the log of a failed build: %v", err)
	}
	r.Close()
}

// hostGoCache spares the tests compiling the standard library each time.
func hostGoCache(t *testing.T) *api.BuildSpec {
	t.Helper()
	return &api.BuildSpec{Env: []api.EnvVar{{Name: "GOCACHE", Value: run(t, ".", "go", "env", "GOCACHE")}}}
}

func TestGo(t *testing.T) {
	b, blobs := newBuilder(t, nil)
	r := files("go", "hello.go", "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() { b, _ := os.ReadFile(\"data/x.txt\"); fmt.Print(string(b)) }\n",
		"data/x.txt", "read", "go.mod", "module x\n\ngo 1.21\n")
	r.Function.Spec.Build = hostGoCache(t)
	res := mustBuild(t, b, r)
	got := entries(t, blobs, res.Artifact)
	if len(got) != 3 || got["data/x.txt"] != "read" || got["handler*"] == "" {
		t.Errorf("%d entries", len(got))
	}
	if got := run(t, extract(t, blobs, res.Artifact), "./handler"); got != "read" {
		t.Errorf("answered %q", got)
	}
}

func TestBuildCommand(t *testing.T) {
	b, blobs := newBuilder(t, nil)
	var lines []string
	b.cfg.Progress = func(ns, f, line string) { lines = append(lines, ns+"/"+f+": "+line) }
	in := files("command", "a.txt", "a")
	in.Function.Spec.Build = &api.BuildSpec{Command: []string{"sh", "-c", "echo working; tr a b < a.txt > b.txt"}}
	if got := entries(t, blobs, mustBuild(t, b, in).Artifact); got["a.txt"] != "a" || got["b.txt"] != "b" {
		t.Errorf("what the command left: %v", got)
	}
	if !slices.Contains(lines, "default/f: working") {
		t.Errorf("progress %q", lines)
	}
	out := files("command", "a.txt", "a")
	out.Spec = &api.RuntimeSpec{Command: []string{"/server"}, Build: &api.BuildSpec{
		Command: []string{"sh", "-c", `mkdir "$DEPLOY_PKG" && cp "$SRC_PKG/a.txt" "$DEPLOY_PKG/c.txt" && printf %s "$WORD" > "$DEPLOY_PKG/word"`},
		Env:     []api.EnvVar{{Name: "WORD", Value: "runtime"}},
	}}
	out.Function.Spec.Build = &api.BuildSpec{Env: []api.EnvVar{{Name: "WORD", Value: "function"}}}
	if got := entries(t, blobs, mustBuild(t, b, out).Artifact); len(got) != 2 || got["c.txt"] != "a" || got["word"] != "function" {
		t.Errorf("$DEPLOY_PKG: %v", got)
	}
	evil := files("command", "a.txt", "a")
	evil.Function.Spec.Build = &api.BuildSpec{Command: []string{"ln", "-s", "/etc", "etc"}}
	if _, err := b.Build(t.Context(), evil); !api.IsCode(err, api.CodeUnsafeArchive) {
		t.Errorf("a link out of the built tree: %v", err)
	}
}

func TestBuildTimeout(t *testing.T) {
	b, _ := newBuilder(t, nil)
	r := files("command", "a", "a")
	r.Function.Spec.Build = &api.BuildSpec{Command: []string{"sh", "-c", "echo started; sleep 60 & sleep 60"}, Timeout: &api.Duration{Duration: 3 * time.Second}} // enough to say that it started
	start := time.Now()
	_, err := b.Build(t.Context(), r)
	if !api.IsCode(err, api.CodeBuildFailed) || !strings.Contains(err.Error(), "took longer than 3s") || !strings.Contains(api.AsError(err).Detail, "started") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	r.Function.Spec.Build.Timeout = nil
	if _, err := b.Build(ctx, r); err != context.Canceled {
		t.Errorf("a canceled build: %v", err)
	}
	if took := time.Since(start); took > 50*time.Second {
		t.Errorf("took %s", took)
	}
	if left, _ := os.ReadDir(filepath.Join(b.cfg.Cache, "work")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMissingTool(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	b, _ := newBuilder(t, nil)
	_, err := b.Build(t.Context(), files("python", "main.py", "x = 1"))
	if e := api.AsError(err); e.Code != api.CodeNoRuntime || !strings.Contains(e.Help(), "install") {
		t.Errorf("error %v, hint %q", err, e.Help())
	}
}

func TestLogKeepsHeadAndTail(t *testing.T) {
	l := newBuildLog(100, nil)
	for range 1000 {
		l.say("0123456789")
	}
	l.say("the end")
	got := string(l.bytes())
	if !strings.HasPrefix(got, "0123456789\n") || !strings.HasSuffix(got, "the end\n") || len(got) > 150 || !strings.Contains(got, "bytes left out") {
		t.Errorf("kept %d bytes: %q", len(got), got)
	}
	if l.tail(1) != "the end" {
		t.Errorf("tail %q", l.tail(1))
	}
}
