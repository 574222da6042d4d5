package runtime_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime"
)

func TestDetect(t *testing.T) {
	tests := []struct {
		files   string // names, with content after =
		name    string
		handler string
	}{
		{"hello.js", "node", "hello"},
		{"hello.mjs", "node", "hello"},
		{"hello.cjs", "node", "hello"},
		{"hello.ts", "node", "hello"},
		{"hello.mts", "node", "hello"},
		{"util.js index.js", "node", "index"},
		{"a.js b.js", "node", ""},
		{"a.ts a.test.ts vite.config.ts types.d.ts", "node", "a"},
		{"package.json src/x.js", "node", ""},
		{"hello.py", "python", "hello"},
		{"requirements.txt app.py util.py", "python", "app"},
		{"pyproject.toml", "python", ""},
		{"manage.py shop/wsgi.py shop/asgi.py shop/settings.py", "python", "shop.wsgi:application"},
		{"Procfile=web:_gunicorn_--workers_2_shop.web:app requirements.txt x.py y.py", "python", "shop.web:app"},
		{"Procfile=web:_gunicorn_shop.wsgi manage.py shop/wsgi.py", "command", "gunicorn shop.wsgi"},
		{"Procfile=web:_node_server.js server.js", "command", "node server.js"},
		{"hello.go", "go", ""},
		{"go.mod cmd/x.go", "go", ""},
		{"Procfile=release:_x\nweb:_bundle_exec_puma Gemfile", "command", "bundle exec puma"},
		{"Procfile=web:_./serve app.py package.json", "command", "./serve"},
		{"server=\x7fELF", "command", "./server"},
		{"run=#!/bin/sh README", "command", "./run"},
		{".git/x .env hello.py", "python", "hello"},
		{`package.json={"scripts":{"start":"node_server.js"}} server.js`, "command", "node server.js"},
		{`package.json={"scripts":{"test":"x"}} server.js`, "node", ""},
		{`package.json={"scripts":{"start":"node_a.js"}} Procfile=web:_node_b.js`, "command", "node b.js"},
		{"config.ru", "command", "rackup --host 0.0.0.0 --port $PORT --env production"},
		{"config.ru Gemfile=gem_'rack'", "command", "bundle exec rackup --host 0.0.0.0 --port $PORT --env production"},
		{"config.ru Gemfile=gem_\"puma\" package.json=", "command", "bundle exec puma --bind tcp://0.0.0.0:$PORT --environment production"},
		{"config.ru Procfile=web:_./x", "command", "./x"},
		{"index.html app.css", "static", ""},
		{"index.html app.js", "static", ""},
		{"index.html app.js main.py", "python", "main"},
		{"README.md public/index.html", "static", "public"},
	}
	for _, tt := range tests {
		t.Run(tt.files, func(t *testing.T) {
			name, handler, err := runtime.Detect(files(tt.files))
			if err != nil || name != tt.name || handler != tt.handler {
				t.Errorf("%q %q %v, want %q %q", name, handler, err, tt.name, tt.handler)
			}
		})
	}
}

func TestDetectErrors(t *testing.T) {
	for source, want := range map[string]string{
		"":                     "nothing in the source",
		".hidden":              "nothing in the source",
		"README.md data.csv":   "README.md",
		"app.py package.json":  "node or python",
		"one=#!/bin/sh two=#!": "no known language",
	} {
		_, _, err := runtime.Detect(files(source))
		if !api.IsCode(err, api.CodeInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", source, err, want)
		}
		if err != nil && !strings.Contains(api.AsError(err).Help(), "runtime") && !strings.Contains(api.AsError(err).Help(), "looked for") {
			t.Errorf("%q: hint %q", source, api.AsError(err).Help())
		}
	}
}

func files(list string) fs.FS {
	m := fstest.MapFS{}
	for _, f := range strings.Split(list, " ") {
		name, text, _ := strings.Cut(f, "=")
		if name != "" {
			m[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(text, "_", " ")), Mode: 0o644}
		}
	}
	return m
}
