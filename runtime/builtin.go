package runtime

import (
	"path/filepath"

	"github.com/hearth-run/hearth/api"
)

// Builtin is one of the runtimes every hearth has.
type Builtin struct {
	Name     string // api.RuntimeNode, …
	Protocol string // api.ProtocolHearth or api.ProtocolHTTP

	// Command is the program that starts an instance without user code; dir is
	// where Files was written to, as the instance sees it. nil: the artifact
	// itself is the program.
	Command func(i Interpreter, dir string) []string

	// Zygote is the program that starts a process which forks instances; nil:
	// the runtime has none.
	Zygote func(i Interpreter, dir string) []string
}

// Builtins returns the built-in runtimes. The slice is the caller's.
func Builtins() []Builtin {
	return []Builtin{
		{Name: api.RuntimeNode, Protocol: api.ProtocolHearth, Command: nodeCommand},
		{Name: api.RuntimePython, Protocol: api.ProtocolHearth, Command: pythonCommand, Zygote: pythonZygote},
		{Name: api.RuntimeGo, Protocol: api.ProtocolHTTP},
		{Name: api.RuntimeCommand, Protocol: api.ProtocolHTTP},
		{Name: api.RuntimeStatic, Protocol: api.ProtocolHTTP},
	}
}

// ByName returns the built-in called name.
func ByName(name string) (Builtin, bool) {
	for _, b := range Builtins() {
		if b.Name == name {
			return b, true
		}
	}
	return Builtin{}, false
}

func nodeCommand(i Interpreter, dir string) []string {
	return []string{i.Path, filepath.Join(dir, "node", "start.cjs")}
}

// pythonCommand starts Python isolated (-I: no PYTHON* variables, no user
// site, no script folder on sys.path) and without site (-S: no packages of the
// host; saves 2 ms); -B because /code is read-only.
func pythonCommand(i Interpreter, dir string) []string {
	return []string{i.Path, "-I", "-S", "-B", "-X", "utf8", filepath.Join(dir, "python", "loader.py")}
}

func pythonZygote(i Interpreter, dir string) []string {
	return append(pythonCommand(i, dir), "--zygote")
}
