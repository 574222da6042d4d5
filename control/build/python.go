package build

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// pythonCheck compiles every file below its folder and prints, as JSON, what does
// not compile.
//
//go:embed check.py
var pythonCheck string

// makePython checks syntax with the interpreter that will run the code, then
// installs requirements.txt, unless the source brings .hearth/python along.
func (j *job) makePython(ctx context.Context) error {
	python, err := j.tool(ctx, "python")
	if err != nil {
		return err
	}
	if err := j.checkPython(ctx, python); err != nil {
		return err
	}
	return j.installPython(ctx, python)
}

// installPython installs requirements.txt into the artifact's own folder.
func (j *job) installPython(ctx context.Context, python Tool) error {
	text, ok := j.readAny("requirements.txt")
	if !ok || !hasRequirements(string(text)) {
		return nil
	}
	if hasPython(filepath.Join(j.src(), api.PythonPackages)) {
		j.log.say("%s came with the source; nothing is installed", api.PythonPackages)
		return nil
	}
	id := []any{"pip", rules, string(text), python.Version, runtime.GOOS, runtime.GOARCH, j.spec.Env}
	if localRequirement.Match(text) {
		id = append(id, j.key)
	}
	return j.withDeps(ctx, id, api.PythonPackages, func() error {
		env := map[string]string{"PIP_CACHE_DIR": j.cacheDir("pip"), "PYTHONDONTWRITEBYTECODE": "1"}
		exit, err := j.exec(ctx, "host", env, python.Path, "-m", "pip", "install", "--target", api.PythonPackages, "--no-input", "--no-compile",
			"--disable-pip-version-check", "--no-warn-script-location", "--progress-bar=off", "--quiet", "-r", "requirements.txt")
		if err != nil {
			return err
		}
		if exit != 0 {
			return j.toolFailed("pip install", exit, func(l string) bool {
				return strings.HasPrefix(l, "ERROR: ") || strings.Contains(l, "No module named pip")
			})
		}
		return nil
	})
}

// localRequirement finds lines that read other files of the source.
var localRequirement = regexp.MustCompile(`(?m)^\s*(-r|-c|-e|--requirement|--constraint|--editable|--find-links|-f|\.|/|file:)|@\s*file:|^[^#\n]*/`)

func hasRequirements(text string) bool {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return true
		}
	}
	return false
}

func hasPython(dir string) bool {
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	return len(files) > 0
}

// checkPython compiles the files without running them. The compiler of the very
// interpreter is the only one that knows its grammar.
func (j *job) checkPython(ctx context.Context, python Tool) error {
	found := false
	err := filepath.WalkDir(j.src(), func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".py") && !strings.Contains(p, api.PythonPackages) {
			found = true
			return filepath.SkipAll
		}
		return err
	})
	if err != nil || !found {
		return err
	}
	// Its words are for us, not for the log.
	var out bytes.Buffer
	exit, err := j.b.cfg.Runner.Run(ctx, Task{
		Namespace: j.r.Namespace, Dir: j.dir, Cwd: j.src(), Network: "none", Env: hostEnv(), CacheDir: j.cacheDir(""),
		Command: []string{python.Path, "-I", "-S", "-c", pythonCheck},
	}, &bounded{w: &out, left: 1 << 20})
	if err != nil {
		return err
	}
	if exit != 0 {
		j.log.say("%s", strings.TrimSpace(out.String()))
		return j.toolFailed("the syntax check", exit, nil)
	}
	var bad []place
	for line := range strings.Lines(out.String()) {
		var e struct {
			File, Message, Text string
			Line, Col           int
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.File != "" {
			bad = append(bad, place{file: e.File, line: e.Line, col: e.Col, text: e.Text, message: e.Message})
		}
	}
	if len(bad) > 0 {
		return failed(bad, j.log)
	}
	return nil
}

// bounded passes so many bytes on and drops the rest.
type bounded struct {
	w    io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	if _, err := b.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}
