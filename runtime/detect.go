package runtime

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

var (
	procfileWeb  = regexp.MustCompile(`(?m)^web:\s*(\S.*)$`)
	gemPuma      = regexp.MustCompile(`(?m)^\s*gem\s+["']puma["']`)
	pythonServer = regexp.MustCompile(`^(?:gunicorn|uvicorn|hypercorn|waitress-serve)\b.*?\s([A-Za-z_][\w.]*:[A-Za-z_]\w*)(?:\s|$)`)
)

const lookedFor = ".js .mjs .cjs .ts .mts files or package.json (node), .py files, requirements.txt or pyproject.toml (python), .go files or go.mod (go), Procfile, config.ru or an executable (command), index.html (static)"

// Detect says which built-in runtime the source tree fsys is for, and the
// handler where its files tell (empty: the loader finds the usual names). For
// the command runtime the handler is the command line, for static it is the
// folder of the files. Programs that serve by themselves are for the command
// runtime: a Procfile, a start script in package.json, a config.ru. A tree of
// one file is that file. The error is api.CodeInvalid and says what was looked for.
func Detect(fsys fs.FS) (name, handler string, err error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return "", "", api.Errorf(api.CodeInvalid, "the source cannot be read: %w", err)
	}
	t := tree{fsys: fsys, byExt: map[string][]string{}}
	for _, e := range entries {
		n := e.Name()
		if strings.HasPrefix(n, ".") {
			continue
		}
		t.names = append(t.names, n)
		if !e.IsDir() {
			t.byExt[path.Ext(n)] = append(t.byExt[path.Ext(n)], n)
		}
	}
	if len(t.names) == 0 {
		return "", "", api.Errorf(api.CodeInvalid, "there is nothing in the source").WithHint("looked for %s", lookedFor)
	}
	found := map[string]string{}
	if h, ok := t.golang(); ok {
		found[api.RuntimeGo] = h
	}
	if h, ok := t.python(); ok {
		found[api.RuntimePython] = h
	}
	if h, ok := t.node(); ok {
		found[api.RuntimeNode] = h
	}
	web, procfile := t.procfile()
	start, starts := t.startScript()
	if rack, ok := t.rack(); ok && !procfile {
		// Rails has a package.json beside Ruby's own files.
		return api.RuntimeCommand, rack, nil
	}
	if _, scripts := found[api.RuntimeNode]; scripts && t.has("index.html") && !t.has("package.json") {
		delete(found, api.RuntimeNode) // they are the page's
	}
	if len(found) > 1 && (procfile || starts) {
		// They know better than two sets of files.
		clear(found)
	}
	switch {
	case len(found) == 1:
		for name, handler = range found {
		}
		if m := pythonServer.FindStringSubmatch(web); m != nil && name == api.RuntimePython {
			handler = m[1]
		} else if procfile {
			return api.RuntimeCommand, web, nil
		}
		if starts && !procfile && name == api.RuntimeNode {
			return api.RuntimeCommand, start, nil
		}
		return name, handler, nil
	case len(found) == 0 && starts && !procfile:
		return api.RuntimeCommand, start, nil
	case len(found) > 1:
		var names []string
		for n := range found {
			names = append(names, n)
		}
		slices.Sort(names)
		return "", "", api.Errorf(api.CodeInvalid, "the source could be for %s", strings.Join(names, " or ")).
			WithHint("say which with --runtime %s", strings.Join(names, "|"))
	case procfile:
		return api.RuntimeCommand, web, nil
	}
	if folder, ok := t.site(); ok {
		return api.RuntimeStatic, folder, nil
	}
	if prog, ok := t.executable(); ok {
		return api.RuntimeCommand, "./" + prog, nil
	}
	return "", "", api.Errorf(api.CodeInvalid, "no known language in %s", strings.Join(t.names[:min(len(t.names), 8)], ", ")).
		WithHint("looked for %s; --runtime says it instead", lookedFor)
}

// tree is the top folder of a source tree.
type tree struct {
	fsys  fs.FS
	names []string
	byExt map[string][]string
}

func (t tree) has(name string) bool { return slices.Contains(t.names, name) }

func (t tree) hasAny(names ...string) bool { return slices.ContainsFunc(names, t.has) }

func (t tree) golang() (string, bool) { return "", t.has("go.mod") || len(t.byExt[".go"]) > 0 }

func (t tree) python() (string, bool) {
	files := t.byExt[".py"]
	if !t.hasAny("requirements.txt", "pyproject.toml", "setup.py", "Pipfile") && len(files) == 0 {
		return "", false
	}
	if t.has("manage.py") {
		for _, kind := range []string{"wsgi", "asgi"} {
			if m, _ := fs.Glob(t.fsys, "*/"+kind+".py"); len(m) > 0 {
				return path.Dir(m[0]) + "." + kind + ":application", true
			}
		}
	}
	for _, usual := range []string{"main", "app", "handler", "function", "wsgi", "asgi", "index"} {
		if t.has(usual + ".py") {
			return usual, true
		}
	}
	if len(files) == 1 {
		return strings.TrimSuffix(files[0], ".py"), true
	}
	return "", true
}

func (t tree) node() (string, bool) {
	var files []string
	for _, e := range []string{".js", ".mjs", ".cjs", ".ts", ".mts", ".cts"} {
		for _, f := range t.byExt[e] {
			stem := strings.TrimSuffix(f, e)
			switch path.Ext(stem) {
			case ".config", ".test", ".spec", ".d":
				continue
			}
			files = append(files, stem)
		}
	}
	if t.has("package.json") {
		return "", true
	}
	if len(files) == 0 {
		return "", false
	}
	for _, usual := range []string{"index", "main", "handler", "function", "app", "server"} {
		if slices.Contains(files, usual) {
			return usual, true
		}
	}
	if len(files) == 1 {
		return files[0], true
	}
	return "", true
}

func (t tree) procfile() (web string, ok bool) {
	if !t.has("Procfile") {
		return "", false
	}
	b, err := fs.ReadFile(t.fsys, "Procfile")
	if err != nil {
		return "", false
	}
	m := procfileWeb.FindSubmatch(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")))
	if m == nil {
		return "", false
	}
	return strings.TrimSpace(string(m[1])), true
}

// startScript is the start script of package.json.
func (t tree) startScript() (command string, ok bool) {
	b, err := fs.ReadFile(t.fsys, "package.json")
	if err != nil {
		return "", false
	}
	var p struct {
		Scripts struct {
			Start string `json:"start"`
		} `json:"scripts"`
	}
	if json.Unmarshal(b, &p) != nil || p.Scripts.Start == "" {
		return "", false
	}
	return p.Scripts.Start, true
}

// rack is the command that serves a config.ru: Puma where the Gemfile has it.
func (t tree) rack() (command string, ok bool) {
	if !t.has("config.ru") {
		return "", false
	}
	gems, err := fs.ReadFile(t.fsys, "Gemfile")
	switch {
	case err != nil:
		return "rackup --host 0.0.0.0 --port $PORT --env production", true
	case gemPuma.Match(gems):
		return "bundle exec puma --bind tcp://0.0.0.0:$PORT --environment production", true
	}
	return "bundle exec rackup --host 0.0.0.0 --port $PORT --env production", true
}

// site finds the folder of a site made of files.
func (t tree) site() (folder string, ok bool) {
	if t.has("index.html") {
		return "", true
	}
	for _, f := range []string{"public", "dist", "build", "_site", "out"} {
		if _, err := fs.Stat(t.fsys, f+"/index.html"); err == nil {
			return f, true
		}
	}
	return "", false
}

// executable finds the one program of the tree: a file with the execute bit, or
// one that starts like a program.
func (t tree) executable() (string, bool) {
	var programs []string
	for _, n := range t.names {
		info, err := fs.Stat(t.fsys, n)
		if err != nil || info.IsDir() {
			continue
		}
		if info.Mode()&0o111 != 0 || t.magic(n) {
			programs = append(programs, n)
		}
	}
	if len(programs) != 1 {
		return "", false
	}
	return programs[0], true
}

func (t tree) magic(name string) bool {
	f, err := t.fsys.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	var b [4]byte
	n, _ := f.Read(b[:])
	return bytes.HasPrefix(b[:n], []byte("\x7fELF")) || bytes.HasPrefix(b[:n], []byte("#!"))
}
