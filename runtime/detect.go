package runtime

import (
	"bytes"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

var (
	procfileWeb  = regexp.MustCompile(`(?m)^web:\s*(\S.*)$`)
	pythonServer = regexp.MustCompile(`^(?:gunicorn|uvicorn|hypercorn|waitress-serve)\b.*?\s([A-Za-z_][\w.]*:[A-Za-z_]\w*)(?:\s|$)`)
)

const lookedFor = ".js .mjs .cjs .ts .mts files or package.json (node), .py files, requirements.txt or pyproject.toml (python), .go files or go.mod (go), Procfile or an executable (command)"

// Detect says which built-in runtime the source tree fsys is for, and the
// handler where its files tell (empty: the loader finds the usual names). For
// the command runtime the handler is the command line. A tree of one file is
// that file. The error is api.CodeInvalid and says what was looked for.
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
	if len(found) > 1 && procfile {
		// The Procfile knows better than two sets of files.
		clear(found)
	}
	switch {
	case len(found) == 1:
		for name, handler = range found {
		}
		if m := pythonServer.FindStringSubmatch(web); m != nil && name == api.RuntimePython {
			handler = m[1]
		} else if procfile && handler == "" {
			return api.RuntimeCommand, web, nil
		}
		return name, handler, nil
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
