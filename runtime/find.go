package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Interpreter is what was found on the host for a built-in runtime.
type Interpreter struct {
	Name    string // node, python, go
	Path    string // the real executable: no shim, no symbolic link
	Version string // 20.20.2

	// Prefixes are the host's folders an instance must see (read-only) for it
	// to work; empty when all of it is below /usr.
	Prefixes []string

	// Err says why there is none: api.CodeNoRuntime with the command that
	// installs it.
	Err error
}

// language is what Find must know about one interpreter.
type language struct {
	name     string
	programs []string // looked for in PATH, in this order
	override string   // environment variable that names the executable
	least    [2]int   // minimum version
	ask      []string // arguments that print an answer as JSON
	install  map[string]string
}

// answer is what an interpreter says about itself.
type answer struct {
	Executable string   `json:"executable"`
	Version    string   `json:"version"`
	Prefixes   []string `json:"prefixes"`
}

func languages() []language {
	return []language{
		{
			name: api.RuntimeNode, programs: []string{"node", "nodejs"}, override: "HEARTH_NODE", least: [2]int{18, 0},
			ask: []string{"-e", `const p=require("path");console.log(JSON.stringify({executable:process.execPath,version:process.versions.node,prefixes:[p.dirname(p.dirname(process.execPath))]}))`},
			install: map[string]string{
				"apt-get": "apt-get install -y nodejs npm", "dnf": "dnf install -y nodejs npm", "apk": "apk add nodejs npm",
				"pacman": "pacman -S nodejs npm", "zypper": "zypper install nodejs npm", "brew": "brew install node",
			},
		},
		{
			name: api.RuntimePython, programs: []string{"python3", "python"}, override: "HEARTH_PYTHON", least: [2]int{3, 9},
			// A virtual environment is a link to its base: packages come with the
			// function, so the base is what is started.
			ask: []string{"-I", "-c", `import sys, json; print(json.dumps({"executable": getattr(sys, "_base_executable", None) or sys.executable, "version": "%d.%d.%d" % sys.version_info[:3], "prefixes": [sys.base_prefix, sys.base_exec_prefix]}))`},
			install: map[string]string{
				"apt-get": "apt-get install -y python3 python3-pip python3-venv", "dnf": "dnf install -y python3 python3-pip", "apk": "apk add python3 py3-pip",
				"pacman": "pacman -S python python-pip", "zypper": "zypper install python3 python3-pip", "brew": "brew install python",
			},
		},
		{
			name: api.RuntimeGo, programs: []string{"go"}, override: "HEARTH_GO", least: [2]int{1, 22},
			ask: []string{"env", "-json", "GOROOT", "GOVERSION"},
			install: map[string]string{
				"apt-get": "apt-get install -y golang-go", "dnf": "dnf install -y golang", "apk": "apk add go",
				"pacman": "pacman -S go", "zypper": "zypper install go", "brew": "brew install go",
			},
		},
	}
}

// Find looks for the interpreter of a built-in runtime: in HEARTH_NODE,
// HEARTH_PYTHON or HEARTH_GO, then through PATH, asking each candidate who it
// really is. Of several that are new enough the first wins, except that a Node
// of 22 or later is preferred (it starts in half the time), and of two Pythons
// of the same minor version the one below /usr (built for speed by the
// distribution, and nothing to bind). It takes tens of milliseconds; Once keeps
// the answer.
func Find(name string) Interpreter {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, l := range languages() {
		if l.name == name {
			return l.find(ctx, os.Getenv, packageTool())
		}
	}
	return Interpreter{Name: name, Err: api.Errorf(api.CodeNoRuntime, "there is no interpreter for runtime %q to look for", name).
		WithHint("the built-in ones are node, python and go")}
}

// Once returns find with its answers kept; it is safe for concurrent use. A
// missing interpreter is looked for again, so that installing it is enough.
func Once(find func(string) Interpreter) func(string) Interpreter {
	type slot struct {
		mu    sync.Mutex
		found Interpreter
		done  bool
	}
	var mu sync.Mutex
	slots := map[string]*slot{}
	return func(name string) Interpreter {
		mu.Lock()
		s := slots[name]
		if s == nil {
			s = &slot{}
			slots[name] = s
		}
		mu.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.done {
			s.found = find(name)
			s.done = s.found.Err == nil
		}
		return s.found
	}
}

func (l language) find(ctx context.Context, getenv func(string) string, tool string) Interpreter {
	candidates := l.candidates(getenv)
	found := make([]Interpreter, len(candidates))
	var wg sync.WaitGroup
	for i, c := range candidates {
		wg.Go(func() { found[i] = l.inspect(ctx, c) })
	}
	wg.Wait()
	var good []Interpreter
	var old []string
	for _, f := range found {
		switch {
		case f.Err != nil:
		case !atLeast(f.Version, l.least):
			old = append(old, fmt.Sprintf("%s is version %s", f.Path, f.Version))
		default:
			good = append(good, f)
		}
	}
	if len(good) > 0 {
		return l.prefer(good)
	}
	least := fmt.Sprintf("%d.%d", l.least[0], l.least[1])
	if l.least[1] == 0 {
		least = strconv.Itoa(l.least[0])
	}
	msg := fmt.Sprintf("no %s %s or newer was found", l.name, least)
	switch {
	case len(old) > 0:
		msg += ": " + strings.Join(old, ", ")
	case len(candidates) > 0:
		msg += fmt.Sprintf(": %s does not work: %v", candidates[0], found[0].Err)
	default:
		msg += " in PATH (looked for " + strings.Join(l.programs, ", ") + ")"
	}
	hint := l.install[tool]
	if hint == "" {
		hint = fmt.Sprintf("install %s and put it into PATH, or name its executable in %s", l.name, l.override)
	}
	return Interpreter{Name: l.name, Err: (&api.Error{Code: api.CodeNoRuntime, Message: msg}).WithHint("%s", hint)}
}

// candidates are executables by the names of l, without those that are plainly
// the same file.
func (l language) candidates(getenv func(string) string) []string {
	if p := getenv(l.override); p != "" {
		return []string{p}
	}
	var all, real []string
	for _, program := range l.programs {
		for _, dir := range filepath.SplitList(getenv("PATH")) {
			if !filepath.IsAbs(dir) {
				continue // what is found must not depend on where we stand
			}
			p := filepath.Join(dir, program)
			if s, err := os.Stat(p); err != nil || s.IsDir() || s.Mode()&0o111 == 0 {
				continue
			}
			r, err := filepath.EvalSymlinks(p)
			if err != nil || slices.Contains(real, r) {
				continue
			}
			all, real = append(all, p), append(real, r)
		}
	}
	return all
}

func (l language) inspect(ctx context.Context, path string) Interpreter {
	i := Interpreter{Name: l.name}
	cmd := exec.CommandContext(ctx, path, l.ask...)
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "NODE_OPTIONS=", "GOTOOLCHAIN=local", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		i.Err = err
		return i
	}
	a, err := l.read(out)
	if err != nil {
		i.Err = fmt.Errorf("it answered %q", strings.TrimSpace(string(out)))
		return i
	}
	i.Version = a.Version
	i.Path, err = filepath.EvalSymlinks(a.Executable)
	if err != nil {
		i.Err = err
		return i
	}
	for _, p := range append(a.Prefixes, filepath.Dir(filepath.Dir(i.Path))) {
		if p, err = filepath.EvalSymlinks(p); err == nil && !covered(p, i.Prefixes) {
			i.Prefixes = append(i.Prefixes, p)
		}
	}
	return i
}

func (l language) read(out []byte) (answer, error) {
	if l.name != api.RuntimeGo {
		var a answer
		err := json.Unmarshal(out, &a)
		if err == nil && (a.Executable == "" || a.Version == "") {
			err = fmt.Errorf("incomplete")
		}
		return a, err
	}
	var g struct{ GOROOT, GOVERSION string }
	if err := json.Unmarshal(out, &g); err != nil {
		return answer{}, err
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(g.GOVERSION, "go"), " ")
	return answer{Executable: filepath.Join(g.GOROOT, "bin", "go"), Version: version, Prefixes: []string{g.GOROOT}}, nil
}

// covered says that p is visible in every sandbox or below one of the others.
func covered(p string, others []string) bool {
	for _, o := range append([]string{"/usr", "/bin", "/lib", "/lib64"}, others...) {
		if p == o || strings.HasPrefix(p, o+"/") {
			return true
		}
	}
	return p == "/"
}

func (l language) prefer(good []Interpreter) Interpreter {
	best := good[0]
	for _, g := range good[1:] {
		switch l.name {
		case api.RuntimeNode:
			if !atLeast(best.Version, [2]int{22, 0}) && atLeast(g.Version, [2]int{22, 0}) {
				best = g
			}
		case api.RuntimePython:
			if len(best.Prefixes) > 0 && len(g.Prefixes) == 0 && minor(best.Version) == minor(g.Version) {
				best = g
			}
		}
	}
	return best
}

func minor(version string) [2]int {
	var v [2]int
	for i, p := range strings.SplitN(version, ".", 3) {
		if i < 2 {
			digits := strings.IndexFunc(p, func(r rune) bool { return r < '0' || r > '9' })
			if digits >= 0 {
				p = p[:digits]
			}
			v[i], _ = strconv.Atoi(p)
		}
	}
	return v
}

func atLeast(version string, least [2]int) bool {
	v := minor(version)
	return v[0] > least[0] || v[0] == least[0] && v[1] >= least[1]
}

// packageTool is the host's own installer; empty when none is known.
func packageTool() string {
	tools := []string{"apt-get", "dnf", "apk", "pacman", "zypper", "brew"}
	if goruntime.GOOS == "darwin" {
		tools = []string{"brew"}
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t); err == nil {
			return t
		}
	}
	return ""
}
