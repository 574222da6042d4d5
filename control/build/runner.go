package build

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Task is one command of a build.
type Task struct {
	Namespace string // tenant: what a sandbox separates by
	// Dir is the build's folder on the host, writable, visible to the command
	// under the same path. Cwd, inside Dir, is where it starts.
	Dir, Cwd string
	Command  []string // absolute program and arguments
	Env      map[string]string
	Network  string        // host or none
	Timeout  time.Duration // 0: until ctx ends
	// CacheDir is a folder of the tenant's own that outlives builds, writable,
	// visible under the same path.
	CacheDir string
}

// Runner runs commands of builds, isolated as well as the host allows. It
// returns when nothing the command started is left. out gets stdout and stderr.
// A command that ran has an exit status (128+n for signal n) and no error; err
// is for commands that could not be run, or ctx.Err().
type Runner interface {
	Run(ctx context.Context, t Task, out io.Writer) (exit int, err error)
}

// Direct runs commands as this process's own user without isolation, for tests
// and hosts without a sandbox.
type Direct struct{}

// Run implements Runner.
func (Direct) Run(ctx context.Context, t Task, out io.Writer) (int, error) {
	if t.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.Timeout)
		defer cancel()
	}
	c := exec.CommandContext(ctx, t.Command[0], t.Command[1:]...)
	c.Dir, c.Stdout, c.Stderr = t.Cwd, out, out
	if c.Dir == "" {
		c.Dir = t.Dir
	}
	for k, v := range t.Env {
		c.Env = append(c.Env, k+"="+v)
	}
	// A grandchild that keeps the pipe open must not keep the build waiting.
	c.WaitDelay = 2 * time.Second
	ownGroup(c)
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return -1, ctx.Err()
	case errors.As(err, &exit):
		return exitStatus(exit.ProcessState), nil
	case errors.Is(err, exec.ErrWaitDelay):
		return 0, nil
	case err != nil:
		return -1, err
	}
	return 0, nil
}

// Tool is a program of the host.
type Tool struct {
	Path    string
	Version string
}

var versionWords = regexp.MustCompile(`\d+\.\d+(\.\d+)?`)

// FindTool looks for a tool in PATH and asks for its version. A missing one is
// api.CodeNoRuntime with the command that installs it.
func FindTool(ctx context.Context, name string) (Tool, error) {
	programs := map[string][]string{"python": {"python3", "python"}}[name]
	if programs == nil {
		programs = []string{name}
	}
	for _, p := range programs {
		path, err := exec.LookPath(p)
		if err != nil {
			continue
		}
		flag := "--version"
		if name == "go" {
			flag = "version"
		}
		out, err := exec.CommandContext(ctx, path, flag).Output()
		if err != nil {
			continue
		}
		return Tool{Path: path, Version: versionWords.FindString(string(out))}, nil
	}
	return Tool{}, api.Errorf(api.CodeNoRuntime, "%s is not installed on this machine", name).WithHint("%s", installHint(name))
}

func installHint(tool string) string {
	pkg := map[string]string{"node": "nodejs", "npm": "npm", "python": "python3 python3-pip", "go": "golang", "bundle": "ruby-bundler"}[tool]
	if runtime.GOOS == "darwin" {
		return "brew install " + map[string]string{"node": "node", "npm": "node", "python": "python3", "go": "go", "bundle": "ruby"}[tool]
	}
	return "apt-get install " + pkg + ", or put a newer " + tool + " into PATH"
}

// hostEnv is what of this process's environment a build may see: where the
// tools are and how to reach the outside, and nothing that could be a secret.
func hostEnv() map[string]string {
	env := map[string]string{}
	for _, k := range []string{
		"PATH", "LANG", "LC_ALL", "TZ",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "REQUESTS_CA_BUNDLE",
		"NPM_CONFIG_REGISTRY", "npm_config_registry", "PIP_INDEX_URL", "PIP_FIND_LINKS",
		"GOPROXY", "GOSUMDB", "GONOSUMDB", "GOROOT",
	} {
		if v, ok := os.LookupEnv(k); ok && !strings.Contains(v, "@") {
			env[k] = v // a proxy or registry with a password in it stays ours
		}
	}
	return env
}
