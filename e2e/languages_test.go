package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
)

func TestLanguages(t *testing.T) {
	s := up(t)
	folder := filepath.Join(t.TempDir(), "pip")
	os.MkdirAll(filepath.Join(folder, "greeting", "greeting"), 0o755)
	write(t, filepath.Join(folder, "greeting", "greeting", "__init__.py"), "def word():\n    return 'from a package'\n")
	write(t, filepath.Join(folder, "greeting", "pyproject.toml"), "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n[project]\nname = 'greeting'\nversion = '1.0'\n")
	write(t, filepath.Join(folder, "greeting", "backend.py"), `import os, zipfile
def build_wheel(where, config_settings=None, metadata_directory=None):
    name = 'greeting-1.0-py3-none-any.whl'
    with zipfile.ZipFile(os.path.join(where, name), 'w') as z:
        z.write('greeting/__init__.py')
        z.writestr('greeting-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n')
        z.writestr('greeting-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        z.writestr('greeting-1.0.dist-info/RECORD', '')
    return name
`)
	write(t, filepath.Join(folder, "requirements.txt"), "./greeting\n")
	write(t, filepath.Join(folder, "main.py"), "import greeting\ndef main():\n    return greeting.word()\n")

	type language struct {
		name, spec, path, want string
		slow                   bool // fetches or compiles
	}
	var cases []language
	for _, c := range []language{
		{name: "commonjs", spec: "runtime: node\n" + files(map[string]string{"index.js": "const {x} = require('./lib/x'); module.exports = () => x", "lib/x.js": "exports.x = 'common'"}), want: "common"},
		{name: "module", spec: "runtime: node\n" + files(map[string]string{"index.mjs": "import {x} from './x.mjs'\nconst y = await Promise.resolve(x)\nexport default () => y", "x.mjs": "export const x = 'module'"}), want: "module"},
		{name: "typescript", spec: "runtime: node\n" + files(map[string]string{"index.ts": "import {greet} from './greet'\ninterface Q { query: Record<string, string> }\nexport default async (event: Q): Promise<string> => greet(event.query.name as string)", "greet.ts": "export enum Tone { Warm = 'Hello' }\nexport const greet = (n: string): string => `${Tone.Warm}, ${n}`"}), path: "/?name=Ada", want: "Hello, Ada"},
		{name: "callback", spec: "runtime: node\n" + inline("module.exports = (event, callback) => setTimeout(() => callback(201, 'called back', {'x-a': 'b'}), 1)"), want: "called back"},
		{name: "response", spec: "runtime: node\n" + inline("export default async (req) => new Response(new URL(req.url).pathname + ' ' + req.method)"), path: "/a/b", want: "/a/b GET"},
		{name: "httpstyle", spec: "runtime: node\n" + inline("module.exports = (req, res) => { res.setHeader('x', 'y'); res.end('res ' + req.url) }"), path: "/q?z=1", want: "res /q?z=1"},
		{name: "npm", spec: "runtime: node\n" + files(map[string]string{
			"package.json": `{"name":"x","version":"1.0.0","dependencies":{"is-number":"7.0.0"}}`,
			"index.js":     "const n = require('is-number'); module.exports = () => [n(7), n('x')].join()",
		}), want: "true,false", slow: true},
		{name: "npmlock", spec: "runtime: node\n" + files(map[string]string{
			"package.json":      `{"name":"x","version":"1.0.0","dependencies":{"is-number":"^7.0.0"}}`,
			"package-lock.json": `{"name":"x","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{"":{"name":"x","version":"1.0.0","dependencies":{"is-number":"^7.0.0"}},"node_modules/is-number":{"version":"7.0.0","integrity":"sha512-41Cifkg6e8TylSpdtTpeLVMqvSBEVzTttHvERD741+pnZ8ANv0004MRL43QKPDlK9cGvNp6NZWZUBlbGXYxxng==","engines":{"node":">=0.12.0"}}}}`,
			"index.js":          "const n = require('is-number'); module.exports = () => String(n(7))",
		}), want: "true", slow: true},
		{name: "pyfunc", spec: "runtime: python\nhandler: main.hello\n" + files(map[string]string{"main.py": "from lib import x\ndef hello(event, context):\n    return {'x': x, 'q': event.query.get('q')}\n", "lib.py": "x = 1\n"}), path: "/?q=2", want: `{"x":1,"q":"2"}`},
		{name: "wsgi", spec: "runtime: python\nhandler: main:app\n" + inline("def app(environ, start_response):\n    start_response('200 OK', [('Content-Type', 'text/plain')])\n    yield ('wsgi ' + environ['PATH_INFO'] + ' ' + environ['QUERY_STRING']).encode()\n"), path: "/a%20b?c=d", want: "wsgi /a b c=d"},
		{name: "asgi", spec: "runtime: python\nhandler: main:app\nconcurrency: 8\n" + inline("import asyncio\nasync def app(scope, receive, send):\n    if scope['type'] != 'http':\n        raise NotImplementedError\n    await asyncio.sleep(0)\n    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-type', b'text/plain')]})\n    await send({'type': 'http.response.body', 'body': b'asgi ', 'more_body': True})\n    await send({'type': 'http.response.body', 'body': scope['path'].encode()})\n"), path: "/p", want: "asgi /p"},
		{name: "pip", spec: "runtime: python\nsource: {folder: " + folder + "}\n", want: "from a package", slow: true},
		{name: "gohandler", spec: "runtime: go\n" + files(map[string]string{"hello.go": "package hello\nimport (\"fmt\"; \"net/http\")\nfunc Handler(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, \"go \", r.URL.Path) }\n"}), path: "/x", want: "go /x", slow: true},
		{name: "gomain", spec: "runtime: go\n" + files(map[string]string{"go.mod": "module example.com/m\ngo 1.22\n", "main.go": "package main\nimport (\"fmt\"; \"net/http\"; \"os\")\nfunc main() { http.HandleFunc(\"/\", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, \"main\") }); if err := http.ListenAndServe(\":\"+os.Getenv(\"PORT\"), nil); err != nil { panic(err) } }\n"}), want: "main", slow: true},
		{name: "detected", spec: files(map[string]string{"app.py": "def main():\n    return 'found'\n"}), want: "found"},
		{name: "shell", spec: "runtime: command\ncommand: [sh, -c, 'exec python3 -m http.server $PORT']\n" + files(map[string]string{"index.html": "static"}), want: "static"},
	} {
		cases = append(cases, c)
		if strings.HasPrefix(c.spec, "runtime: go") && !testing.Short() { // takes a while: the others go on meanwhile
			if err := s.apply("Function", c.name, spec(c.spec)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.slow && testing.Short() {
				t.Skip("fetches or compiles")
			}
			s := s.in(t)
			path := c.path
			if path == "" {
				path = "/"
			}
			s.deploy(c.name, c.spec)
			a := s.get(c.name, path)
			if a.status != 200 && a.status != 201 || strings.ReplaceAll(strings.TrimSpace(a.body), " ", "") != strings.ReplaceAll(c.want, " ", "") {
				t.Errorf("%s, want %q", a, c.want)
			}
		})
	}
}

func TestConfiguration(t *testing.T) {
	s := up(t)
	if err := s.apply("Secret", "key", "stringData: {word: hidden, other: also}\n"); err != nil {
		t.Fatal(err)
	}
	if err := s.apply("ConfigMap", "settings", "data: {COLOR: blue, size: big}\n"); err != nil {
		t.Fatal(err)
	}
	text := `env:
- {name: PLAIN, value: text}
- {name: WORD, valueFrom: {secretKeyRef: {name: key, key: word}}}
- {name: ABSENT, valueFrom: {secretKeyRef: {name: nothing, key: word, optional: true}}}
envFrom:
- {configMapRef: {name: settings}}
- {prefix: K_, secretRef: {name: key}}
secrets: [key]
config: [settings]
`
	js := "const fs = require('fs'); const {PLAIN, WORD, ABSENT, COLOR, K_word, K_other} = process.env; module.exports = () => JSON.stringify([PLAIN, WORD, ABSENT ?? null, COLOR, K_word, K_other, fs.readFileSync('/secrets/default/key/other', 'utf8'), fs.readFileSync('/configs/default/settings/size', 'utf8')])"
	py := "import os, json\ndef main():\n    e = os.environ\n    return json.dumps([e.get(n) for n in ('PLAIN', 'WORD', 'ABSENT', 'COLOR', 'K_word', 'K_other')] + [open('/secrets/default/key/other').read(), open('/configs/default/settings/size').read()])\n"
	program := "const f = (() => { " + strings.Replace(js, "module.exports =", "return", 1) + " })(); require('http').createServer((q, r) => r.end(f())).listen(process.env.PORT)"
	want := []any{"text", "hidden", nil, "blue", "hidden", "also", "also", "big"}
	for name, sp := range map[string]string{
		"js":  "runtime: node\n" + text + inline(js),
		"py":  "runtime: python\n" + text + inline(py),
		"cmd": "runtime: command\ncommand: [node, s.js]\n" + text + files(map[string]string{"s.js": program}),
	} {
		s.deploy(name, sp)
		var got []any
		body := s.must(name, "/")
		if err := json.Unmarshal([]byte(body), &got); err != nil || len(got) != len(want) {
			t.Errorf("%s: %s", name, body)
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s: %d is %v, want %v", name, i, got[i], want[i])
			}
		}
	}
	out, _, _ := s.run("describe", "js")
	log, _, _ := s.run("get", "function/js", "-o", "yaml")
	if strings.Contains(out+log, "hidden") {
		t.Error("a secret's value is shown")
	}
	for _, f := range []string{"hearth.db", "hearth.db-wal", "records.db", "records.db-wal"} {
		b, err := os.ReadFile(filepath.Join(s.state, f))
		if err == nil && strings.Contains(string(b), "hidden") {
			t.Errorf("the secret is in %s as it is", f)
		}
	}
}

// TestEnvironment runs the server of a Fission environment as a Runtime.
func TestEnvironment(t *testing.T) {
	s := up(t)
	folder, err := filepath.Abs("../driver/process/testdata")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.applyIn("default", "Namespace", "other", ""); err != nil {
		t.Fatal(err)
	}
	at := map[string]string{"default": "f", "other": "f.other"}
	for _, protocol := range []string{"fission/v1", "fission/v2", "fission/v3"} {
		name := "env" + protocol[len(protocol)-1:]
		handler := "handler: hello.main\n"
		if protocol == "fission/v1" {
			handler = ""
		}
		for ns := range at { // each on the port 8888 of its own
			if _, err := s.applyIn(ns, "Runtime", name, spec("command: [python3, environment.py]\nfolder: "+folder+"\nprotocol: "+protocol+"\npool: {size: 1}\n")); err != nil {
				t.Fatal(err)
			}
			f := s.settleIn(ns, "f", "runtime: "+name+"\n"+handler+files(map[string]string{"hello.py": "def main():\n    return '" + name + ns + "'\n"}))
			if c, _ := f.Status.Conditions.Get(api.ConditionUpdated); c.Status != api.True {
				t.Fatalf("%s in %s: %s", protocol, ns, c.Message)
			}
		}
		for range 2 {
			for ns, host := range at {
				if got := s.must(host, "/"); got != name+ns {
					t.Errorf("%s in %s answers %q", protocol, ns, got)
				}
			}
		}
	}
	f := s.settle("f", "runtime: env2\nhandler: hello.main\n"+files(map[string]string{"hello.py": "import nothing_like_this\n"}))
	c, _ := f.Status.Conditions.Get(api.ConditionUpdated)
	if c.Status != api.False || !strings.Contains(c.Message, "nothing_like_this") {
		t.Errorf("code that does not load: %+v", c)
	}
}
