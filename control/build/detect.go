package build

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// detect finds the runtime and the handler from a tree.
func (j *job) detect(tree string) (name, handler string, err error) {
	if j.b.cfg.Detect == nil || len(j.r.Function.Spec.Command) > 0 {
		name, err = detect(tree, j.r.Function.Spec)
		return name, "", err
	}
	return j.b.cfg.Detect(os.DirFS(tree))
}

// detect finds the runtime from the files at the top of dir.
func detect(dir string, spec api.FunctionSpec) (string, error) {
	if len(spec.Command) > 0 {
		return api.RuntimeCommand, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", api.Errorf(api.CodeDisk, "read the source: %w", err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	has := func(match ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool {
			return slices.Contains(match, n) || slices.Contains(match, "*"+filepath.Ext(n))
		})
	}
	switch {
	case has("package.json"):
		return api.RuntimeNode, nil
	case has("go.mod"):
		return api.RuntimeGo, nil
	case has("requirements.txt", "pyproject.toml"):
		return api.RuntimePython, nil
	case has("*.js", "*.mjs", "*.cjs", "*.ts", "*.mts", "*.cts", "*.tsx"):
		return api.RuntimeNode, nil
	case has("*.py"):
		return api.RuntimePython, nil
	case has("*.go"):
		return api.RuntimeGo, nil
	case has("run"):
		return api.RuntimeCommand, nil
	}
	return "", api.Errorf(api.CodeBuildFailed, "no runtime fits the source: it has no .js, .ts, .py or .go file at its top").
		WithHint("set spec.runtime to node, python, go or command")
}

// guessInline finds the runtime of one file of text by how it starts.
func guessInline(text string, command bool) string {
	if command || strings.HasPrefix(text, "#!") {
		return api.RuntimeCommand
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "package ") && !strings.HasSuffix(line, ";"):
			return api.RuntimeGo
		case strings.HasPrefix(line, "def "), strings.HasPrefix(line, "async def "), strings.HasPrefix(line, "class ") && strings.HasSuffix(line, ":"),
			strings.HasPrefix(line, "from ") && strings.Contains(line, " import "):
			return api.RuntimePython
		case strings.HasPrefix(line, "import ") && !strings.ContainsAny(line, `"';{`):
			return api.RuntimePython
		}
	}
	return api.RuntimeNode
}

// inlineName is the file that inline text becomes. A handler that names its
// file (hello.main) gives the file that name.
func inlineName(base, text, handler string) (string, os.FileMode) {
	stem := func(def string) string {
		s, _, ok := strings.Cut(handler, ".")
		if base == api.RuntimePython {
			if m, _, colon := strings.Cut(handler, ":"); colon {
				s, ok = m, true
			}
		}
		if !ok || s == "" || strings.ContainsAny(s, `/\:`) {
			return def
		}
		return s
	}
	switch base {
	case api.RuntimeNode:
		return stem("index") + inlineScript(text), 0o644
	case api.RuntimePython:
		return stem("main") + ".py", 0o644
	case api.RuntimeGo:
		return "main.go", 0o644
	default:
		return "run", 0o755
	}
}
