package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPrograms deploys folders of programs and sites that serve by themselves,
// each as its users have it, with one command.
func TestPrograms(t *testing.T) {
	s := up(t)
	express := map[string]string{
		"package.json": `{"name":"shop","version":"1.0.0","scripts":{"start":"node server.js"},"dependencies":{"express":"4.21.2"}}`,
		"server.js": `const app = require('express')()
app.get('/hello/:name', (req, res) => res.json({hello: req.params.name}))
app.listen(process.env.PORT)`,
	}
	django := map[string]string{
		"manage.py":        "import os, sys\nfrom django.core.management import execute_from_command_line\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\nexecute_from_command_line(sys.argv)\n",
		"shop/__init__.py": "",
		"shop/settings.py": "SECRET_KEY = 'test'\nALLOWED_HOSTS = ['*']\nROOT_URLCONF = 'shop.urls'\nUSE_TZ = True\n",
		"shop/urls.py":     "from django.http import JsonResponse\nfrom django.urls import path\nurlpatterns = [path('hello/<str:name>', lambda r, name: JsonResponse({'hello': name}))]\n",
		"shop/wsgi.py":     "import os\nfrom django.core.wsgi import get_wsgi_application\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\napplication = get_wsgi_application()\n",
	}
	rack := "run lambda { |env| [200, {'content-type' => 'text/plain'}, [\"rack \" + env['PATH_INFO']]] }\n"
	for _, c := range []struct {
		name, path, want string
		files            map[string]string
		slow             bool // fetches from the network
	}{
		{name: "site", path: "/docs/", want: "the docs", files: map[string]string{"index.html": "home", "docs/index.html": "the docs", "app.js": "1"}},
		{name: "express", path: "/hello/Ada", want: `{"hello":"Ada"}`, files: express, slow: true},
		{name: "nodebuild", path: "/", want: "built", files: map[string]string{
			"package.json": `{"name":"x","version":"1.0.0","scripts":{"build":"node build.js","start":"node out/server.js"}}`,
			"build.js":     `require('fs').mkdirSync('out'); require('fs').writeFileSync('out/server.js', "require('http').createServer((q, r) => r.end('built')).listen(process.env.PORT)")`,
		}},
		{name: "django", path: "/hello/Ada", want: `{"hello": "Ada"}`, files: django},
		{name: "gunicorn", path: "/hello/Ada", want: `{"hello": "Ada"}`, files: with(django, "Procfile", "web: gunicorn shop.wsgi --bind 0.0.0.0:$PORT --worker-tmp-dir /tmp\n")},
		{name: "rack", path: "/a", want: "rack /a", files: map[string]string{"config.ru": rack}},
		{name: "puma", path: "/b", want: "rack /b", files: map[string]string{"config.ru": rack, "Gemfile": "gem 'puma'\ngem 'rack'\n"}},
		{name: "procfile", path: "/note.txt", want: "a note", files: map[string]string{"Procfile": "web: python3 -m http.server $PORT\n", "note.txt": "a note"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.slow && testing.Short() {
				t.Skip("fetches packages")
			}
			dir := filepath.Join(t.TempDir(), c.name)
			for name, text := range c.files {
				os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
				write(t, filepath.Join(dir, name), text)
			}
			if _, words, code := s.run("deploy", dir); code != 0 {
				t.Fatalf("status %d\n%s", code, words)
			}
			if a := s.get(c.name, c.path); a.status != http.StatusOK || strings.TrimSpace(a.body) != c.want {
				t.Errorf("%d %q, want %q", a.status, a.body, c.want)
			}
		})
	}
}

func with(files map[string]string, more ...string) map[string]string {
	out := map[string]string{}
	for k, v := range files {
		out[k] = v
	}
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}
