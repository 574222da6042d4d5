package build

import (
	"context"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// packageFile is what the build reads of package.json.
type packageFile struct {
	Type         string            `json:"type"`
	Main         string            `json:"main"`
	Dependencies map[string]string `json:"dependencies"`
	Development  map[string]string `json:"devDependencies"`
	Optional     map[string]string `json:"optionalDependencies"`
	Scripts      map[string]string `json:"scripts"`
	Workspaces   json.RawMessage   `json:"workspaces"`
}

// readPackage is lenient: npm itself says what is wrong with the file.
func readPackage(b []byte) (p packageFile) {
	if json.Unmarshal(b, &p) != nil {
		return packageFile{}
	}
	if len(p.Optional) > 0 && p.Dependencies == nil {
		p.Dependencies = p.Optional
	}
	return p
}

// makeNode checks and transpiles scripts, then installs dependencies, unless
// the source brings its node_modules along.
func (j *job) makeNode(ctx context.Context) error {
	src := j.src()
	text, err := os.ReadFile(filepath.Join(src, "package.json"))
	if err != nil && !os.IsNotExist(err) {
		return api.Errorf(api.CodeBuildFailed, "package.json cannot be read").WithCause(err)
	}
	if len(text) > 0 && !json.Valid(text) {
		return failed([]place{jsonPlace("package.json", text)}, j.log)
	}
	pkg := readPackage(text)
	s := scripts{dir: src, module: pkg.Type == "module"}
	bad, err := s.run()
	if err != nil {
		return api.Errorf(api.CodeDisk, "transpile: %w", err)
	}
	if len(bad) > 0 {
		return failed(bad, j.log)
	}
	j.nameScript(pkg)
	if len(pkg.Dependencies) == 0 {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(src, "node_modules")); err == nil {
		j.log.say("node_modules came with the source; nothing is installed")
		return nil
	}
	return j.installNode(ctx, text, pkg, false)
}

// nameScript makes a handler that names a TypeScript file, itself or through
// main of package.json, name what the file became.
func (j *job) nameScript(pkg packageFile) {
	name := j.handler
	if name == "" && isTyped(pkg.Main) {
		name = path.Clean(pkg.Main)
	}
	if isTyped(name) {
		j.handler = strings.TrimSuffix(name, path.Ext(name))
	}
}

// npmEnv lets npm and the scripts it runs find the node of the runtime.
func (j *job) npmEnv(ctx context.Context) (map[string]string, error) {
	node, err := j.tool(ctx, "node")
	if err != nil {
		return nil, err
	}
	return map[string]string{"npm_config_cache": j.cacheDir("npm"), "npm_config_update_notifier": "false",
		"PATH": filepath.Dir(node.Path) + string(os.PathListSeparator) + os.Getenv("PATH")}, nil
}

// installNode installs what package.json asks for, with what only development
// and builds need if development says so.
func (j *job) installNode(ctx context.Context, text []byte, pkg packageFile, development bool) error {
	node, err := j.tool(ctx, "node")
	if err != nil {
		return err
	}
	lock, locked := j.readAny("package-lock.json", "npm-shrinkwrap.json")
	rc, _ := j.readAny(".npmrc")
	local := len(pkg.Workspaces) > 0
	for _, v := range pkg.Dependencies {
		local = local || strings.HasPrefix(v, "file:") || strings.HasPrefix(v, ".") || strings.HasPrefix(v, "/")
	}
	id := []any{"npm", rules, string(text), string(lock), string(rc), node.Version, runtime.GOOS, runtime.GOARCH, j.spec.Env, development}
	if local {
		id = append(id, j.key) // a package of the source itself: any change may matter
	}
	return j.withDeps(ctx, id, "node_modules", func() error {
		npm, err := j.tool(ctx, "npm")
		if err != nil {
			return err
		}
		verb := "install"
		if locked {
			verb = "ci"
		}
		env, err := j.npmEnv(ctx)
		if err != nil {
			return err
		}
		args := []string{npm.Path, verb, "--no-audit", "--no-fund", "--no-progress", "--loglevel=warn"}
		if development {
			args = append(args, "--include=dev")
		} else {
			args = append(args, "--omit=dev")
		}
		exit, err := j.exec(ctx, "host", env, args...)
		if err != nil {
			return err
		}
		if exit != 0 {
			return j.toolFailed("npm "+verb, exit, npmWords)
		}
		return nil
	})
}

// npmWords likes the line in which npm says what happened, not its code.
func npmWords(line string) bool {
	rest, ok := strings.CutPrefix(line, "npm error ")
	if !ok {
		return false
	}
	for _, p := range []string{"code ", "errno ", "syscall ", "path ", "command ", "A complete log", "type "} {
		if strings.HasPrefix(rest, p) {
			return false
		}
	}
	return true
}

func (j *job) readAny(names ...string) ([]byte, bool) {
	for _, n := range names {
		if b, err := os.ReadFile(filepath.Join(j.src(), n)); err == nil {
			return b, true
		}
	}
	return nil, false
}

// jsonPlace finds where text stops being JSON.
func jsonPlace(file string, text []byte) place {
	var v any
	err := json.Unmarshal(text, &v)
	p := place{file: file, message: "is not JSON"}
	syntax, ok := err.(*json.SyntaxError)
	if !ok {
		return p
	}
	at := min(max(int(syntax.Offset)-1, 0), len(text))
	start := strings.LastIndexByte(string(text[:at]), '\n') + 1
	line, _, _ := strings.Cut(string(text[start:]), "\n")
	p.line, p.text = strings.Count(string(text[:start]), "\n")+1, strings.TrimRight(line, "\r")
	p.col, p.message = column(p.text, at-start), syntax.Error()
	return p
}
