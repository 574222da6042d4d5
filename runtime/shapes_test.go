package runtime_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// jsonBody is a request with {"name":"Ada"}.
func jsonBody() request {
	return request{method: "POST", target: "/a/b?x=1&y=2&y=3", id: "req-7", ms: 60_000, body: `{"name":"Ada"}`,
		headers: []header{{"content-type", "application/json"}, {"user-agent", "test/1"}, {"x-hearth-params", "id=a%20b"}}}
}

func TestShapes(t *testing.T) {
	const text, octets, jsonType = "text/plain; charset=utf-8", "application/octet-stream", "application/json"
	bad := jsonBody()
	bad.body = "{"
	curl := jsonBody()
	curl.headers[0][1] = "application/x-www-form-urlencoded"
	tests := []struct {
		handler     string
		runtimes    string
		req         request
		status      int
		contentType string
		body        string
		header      header
	}{
		{"context", "np", jsonBody(), 200, jsonType, `{"id":"req-7","fn":"fn","left":true}`, header{}},
		{"fission", "np", jsonBody(), 201, text, "made Ada", header{"x-made", "a"}},
		{"fission", "np", curl, 201, text, "made Ada", header{}},
		{"callback", "n", jsonBody(), 202, jsonType, `{"ok":true}`, header{"x-way", "callback"}},
		{"nodeback", "n", jsonBody(), 200, text, "fine", header{}},
		{"node", "n", jsonBody(), 203, "", `POST /a/b?x=1&y=2&y=3 {"name":"Ada"}`, header{"x-req", "example.test"}},
		{"fetching", "n", jsonBody(), 418, "text/plain;charset=UTF-8", "POST /a/b Ada", header{"x-a", "b"}},
		{"named", "n", jsonBody(), 200, "text/plain;charset=UTF-8", "object with fetch", header{}},
		{"pair", "p", jsonBody(), 418, text, "teapot", header{}},
		{"triple", "p", jsonBody(), 202, jsonType, `{"a":1}`, header{"x-a", "b"}},
		{"text", "np", jsonBody(), 200, text, "just text", header{}},
		{"bytes", "n", jsonBody(), 200, octets, "\x00\x01\xff", header{}},
		{"bytes_", "p", jsonBody(), 200, octets, "\x00\x01\xff", header{}},
		{"nothing", "np", jsonBody(), 204, "", "", header{}},
		{"number", "np", jsonBody(), 200, jsonType, "42", header{}},
		{"array", "np", jsonBody(), 200, jsonType, "[1,2]", header{}},
		{"lookalike", "np", jsonBody(), 200, jsonType, `{"status":200,"name":"not an answer"}`, header{}},
		{"readable", "n", jsonBody(), 200, text, "abc", header{}},
		{"generator", "np", jsonBody(), 200, text, "xy", header{}},
		{"agenerator", "p", jsonBody(), 200, text, "xy", header{}},
		{"objects", "np", jsonBody(), 200, "application/x-ndjson", "{\"n\":1}\n{\"n\":2}\n", header{}},
		{"web", "n", jsonBody(), 200, octets, "web", header{}},
		{"later", "p", jsonBody(), 200, jsonType, `{"greeting":"Hello, Ada"}`, header{}},
		{"wsgi", "p", jsonBody(), 203, "text/plain", `POST /a/b {"name":"Ada"}`, header{"x-req", "example.test"}},
		{"application", "p", jsonBody(), 200, "", "wsgi", header{"content-length", "4"}},
		{"asgi", "p", jsonBody(), 203, "", `POST /a/b {"name":"Ada"}`, header{"x-req", "example.test"}},
		{"early", "n", jsonBody(), 200, "", "done", header{}},
	}
	for _, tt := range tests {
		for _, name := range []string{"node", "python"} {
			if !strings.Contains(tt.runtimes, name[:1]) {
				continue
			}
			t.Run(name+"/"+tt.handler, func(t *testing.T) {
				t.Parallel()
				_, k := loaded(t, name, "shapes."+tt.handler, 1)
				c, body := k.do(t, tt.req)
				if c.status != tt.status || c.header("content-type") != tt.contentType || body != tt.body {
					t.Errorf("%d %q %q, want %d %q %q", c.status, c.header("content-type"), body, tt.status, tt.contentType, tt.body)
				}
				if tt.header[0] != "" && c.header(tt.header[0]) != tt.header[1] {
					t.Errorf("headers %v, want %v among them", c.headers, tt.header)
				}
			})
		}
	}
	for _, name := range []string{"node", "python"} {
		t.Run(name+"/event", func(t *testing.T) {
			t.Parallel()
			_, k := loaded(t, name, "shapes.event", 1)
			_, body := k.do(t, jsonBody())
			var got map[string]any
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			want := map[string]any{
				"method": "POST", "path": "/a/b", "query": map[string]any{"x": "1", "y": []any{"2", "3"}}, "body": map[string]any{"name": "Ada"},
				"agent": "test/1", "same": "test/1", "id": "req-7", "params": map[string]any{"id": "a b"},
				"url": "http://example.test/a/b?x=1&y=2&y=3", "env": "moin",
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
		t.Run(name+"/errors", func(t *testing.T) {
			t.Parallel()
			for handler, want := range map[string]struct {
				status  int
				logged  string
				request request
			}{
				"throws":    {500, "by the handler", jsonBody()},
				"rejects":   {500, "later", jsonBody()},
				"badHeader": {500, "header", jsonBody()},
				"badJSON":   {400, "", bad},
			} {
				i, k := loaded(t, name, "shapes."+handler, 1)
				c, body := k.do(t, want.request)
				if c.status != want.status {
					t.Errorf("%s: status %d %s, want %d", handler, c.status, body, want.status)
				}
				if want.logged == "" {
					continue
				}
				if strings.Contains(body, want.logged) {
					t.Errorf("%s: the caller was told %q", handler, body)
				}
				l := i.control.log(t)
				if l.stream != 2 || l.id != "req-7" || !strings.Contains(l.text, want.logged) || strings.Contains(l.text, "loader") || !strings.Contains(l.text, "shapes.") && handler != "badHeader" {
					t.Errorf("%s: logged %+v", handler, l)
				}
				// The instance goes on.
				if c, _ := k.do(t, want.request); c.status != want.status {
					t.Errorf("%s: second call %d", handler, c.status)
				}
			}
		})
	}
}

func TestHello(t *testing.T) {
	for _, name := range []string{"node", "python"} {
		t.Run(name, func(t *testing.T) {
			i, k := loaded(t, name, "hello", 1)
			var hello struct {
				Version                         int
				Runtime, RuntimeVersion, Loader string
			}
			if err := json.Unmarshal(i.hello, &hello); err != nil || hello.Runtime != name || hello.Version != 1 || hello.Loader != "1" ||
				hello.RuntimeVersion != interpreter(t, name).Version {
				t.Errorf("hello %s, %v", i.hello, err)
			}
			c, body := k.do(t, jsonBody())
			if c.status != 200 || body != `{"greeting":"Hello, Ada"}` || c.header("content-type") != "application/json" {
				t.Errorf("%d %v %s", c.status, c.headers, body)
			}
		})
	}
}

func TestLoadFailures(t *testing.T) {
	tests := []struct {
		name, handler, stage string
		message, traceback   []string
	}{
		{"node", "broken", "import", []string{"RangeError: while importing"}, []string{"RangeError: while importing", "at deep", "broken.mjs:1"}},
		{"node", "syntax", "import", []string{"SyntaxError"}, []string{"syntax.cjs:2", "const b = = 2"}},
		{"node", "nohandler", "handler", []string{"nohandler.mjs", "a, b"}, nil},
		{"node", "shapes.gone", "handler", []string{`no export "gone"`, "fission", "event"}, nil},
		{"node", "shapes.notAFunction", "handler", []string{"notAFunction", "number", "not a function"}, nil},
		{"node", "absent", "handler", []string{"absent"}, nil},
		{"node", "../python/x", "handler", []string{"outside"}, nil},
		{"python", "broken", "import", []string{"KeyError: 'while importing'"}, []string{"Traceback (most recent call last)", "broken.py\", line 5", "in deep", "KeyError"}},
		{"python", "syntax", "import", []string{"SyntaxError"}, []string{"syntax.py\", line 1", "def f(:"}},
		{"python", "missing.main", "import", []string{"ModuleNotFoundError", "a_module_that_is_not_there"}, []string{"missing.py\", line 1"}},
		{"python", "nohandler", "handler", []string{"nohandler.py"}, nil},
		{"python", "shapes.gone", "handler", []string{`no "gone"`, "fission", "event"}, nil},
		{"python", "shapes.notAFunction", "handler", []string{"notAFunction", "int", "not callable"}, nil},
		{"python", "absent", "import", []string{"ModuleNotFoundError", "absent"}, nil},
		{"python", "stream:failing", "import", []string{"no database"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name+"/"+strings.ReplaceAll(tt.handler, "/", "_"), func(t *testing.T) {
			t.Parallel()
			i := start(t, tt.name)
			f := i.control.load(t, spec(t, tt.name, tt.handler, 1))
			if f == nil {
				t.Fatal("it was loaded")
			}
			if f.Stage != tt.stage {
				t.Errorf("stage %q, want %q (%s)", f.Stage, tt.stage, f.Message)
			}
			if strings.Contains(f.Message, "\n") {
				t.Errorf("message of several lines %q", f.Message)
			}
			for _, w := range tt.message {
				if !strings.Contains(f.Message, w) {
					t.Errorf("message %q lacks %q", f.Message, w)
				}
			}
			for _, w := range tt.traceback {
				if !strings.Contains(f.Traceback, w) {
					t.Errorf("traceback lacks %q:\n%s", w, f.Traceback)
				}
			}
			for _, w := range []string{"loader.", "load.cjs", "load.py", "importlib._bootstrap"} {
				if strings.Contains(f.Traceback, w) {
					t.Errorf("traceback shows the loader (%s):\n%s", w, f.Traceback)
				}
			}
			// It cannot be loaded again, and says so.
			if f := i.control.load(t, spec(t, tt.name, "hello", 1)); f == nil {
				t.Error("a second LOAD was taken")
			}
		})
	}
}
