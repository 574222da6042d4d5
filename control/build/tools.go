package build

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// exec runs one command of the build in the source folder. env is added to what
// every build gets. Its output goes to the log.
func (j *job) exec(ctx context.Context, network string, env map[string]string, command ...string) (exit int, err error) {
	cache := filepath.Join(j.b.cfg.Cache, "tenant", j.tenant())
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return -1, api.Errorf(api.CodeDisk, "make the tenant's cache folder: %w", err)
	}
	all := hostEnv()
	home := filepath.Join(j.dir, "home")
	all["HOME"], all["TMPDIR"], all["CI"], all["NO_COLOR"] = home, home, "true", "1"
	maps.Copy(all, env)
	mine, err := j.env(ctx)
	if err != nil {
		return -1, err
	}
	maps.Copy(all, mine)
	select {
	case j.b.slots <- struct{}{}:
		defer func() { <-j.b.slots }()
	case <-ctx.Done():
		return -1, ctx.Err()
	}
	timeout := j.b.timeout(j.r)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	j.log.say("$ %s %s", filepath.Base(command[0]), strings.Join(command[1:], " "))
	exit, err = j.b.cfg.Runner.Run(limited, Task{
		Namespace: j.r.Namespace, Dir: j.dir, Cwd: j.src(), Command: command, Env: all, Network: network, Timeout: timeout, CacheDir: cache,
	}, j.log)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		return exit, (&api.Error{Code: api.CodeBuildFailed, Message: fmt.Sprintf("%s took longer than %s", filepath.Base(command[0]), api.Duration{Duration: timeout}.Text()),
			Detail: j.log.tail(40), Cause: err}).WithHint("raise spec.build.timeout of the function")
	}
	if err != nil && ctx.Err() == nil {
		return exit, api.Errorf(api.CodeBuildFailed, "%s could not be started: %w", command[0], err).WithHint("hearth doctor says what this host can run")
	}
	return exit, err
}

func (j *job) tenant() string {
	if api.CheckName(j.r.Namespace) != "" {
		return api.DefaultNamespace
	}
	return j.r.Namespace
}

func (j *job) cacheDir(name string) string {
	return filepath.Join(j.b.cfg.Cache, "tenant", j.tenant(), name)
}

// env is what spec.build.env says.
func (j *job) env(ctx context.Context) (map[string]string, error) {
	if len(j.spec.Env) == 0 {
		return nil, nil
	}
	if j.b.cfg.Resolve != nil {
		return j.b.cfg.Resolve(ctx, j.r.Namespace, j.spec.Env)
	}
	env := map[string]string{}
	for _, e := range j.spec.Env {
		if e.ValueFrom != nil {
			return nil, api.Errorf(api.CodeUnsupported, "spec.build.env: %s is read from another object, which this server does not do in builds", e.Name)
		}
		env[e.Name] = e.Value
	}
	return env, nil
}

func (j *job) tool(ctx context.Context, name string) (Tool, error) { return j.b.cfg.Find(ctx, name) }

// toolFailed is the error of a tool that ended with a status. The message is
// the line of its output that pick likes best, or the last one.
func (j *job) toolFailed(what string, exit int, pick func(line string) bool) error {
	// Whose machine it is, and where on it, is nobody's business.
	tail := strings.NewReplacer(j.src()+"/", "", j.src(), ".", j.b.cfg.Cache, "$CACHE").Replace(j.log.tail(60))
	last := ""
	for line := range strings.Lines(tail) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "$ ") {
			continue
		}
		if pick != nil && pick(line) {
			last = line
			break
		}
		last = line
	}
	how := fmt.Sprintf("%s ended with status %d", what, exit)
	switch {
	case exit == 137:
		how = what + " was killed, most likely for want of memory"
	case exit > 128 && exit < 160:
		how = fmt.Sprintf("%s was ended by signal %d", what, exit-128)
	}
	if last != "" {
		how += ": " + last
	}
	return &api.Error{Code: api.CodeBuildFailed, Message: how, Detail: tail}
}

// makeByCommand runs the build's own command. What it leaves in the source
// folder is the artifact, or, if it made one, the folder or file $DEPLOY_PKG.
func (j *job) makeByCommand(ctx context.Context) (string, error) {
	deploy := filepath.Join(j.dir, "deploy", "package")
	if err := os.Mkdir(filepath.Dir(deploy), 0o755); err != nil {
		return "", api.Errorf(api.CodeDisk, "make a build folder: %w", err)
	}
	command := append([]string(nil), j.spec.Command...)
	if !strings.Contains(command[0], "/") {
		command = append([]string{"/usr/bin/env"}, command...) // looked up in the build's own PATH
	} else if !filepath.IsAbs(command[0]) {
		command[0] = filepath.Join(j.src(), command[0])
	}
	exit, err := j.exec(ctx, "host", map[string]string{"SRC_PKG": j.src(), "DEPLOY_PKG": deploy}, command...)
	if err != nil {
		return "", err
	}
	if exit != 0 {
		return "", j.toolFailed(strings.Join(j.spec.Command, " "), exit, nil)
	}
	info, err := os.Lstat(deploy)
	switch {
	case err != nil:
		return j.src(), nil
	case info.IsDir():
		return deploy, nil
	case info.Mode().IsRegular():
		return filepath.Dir(deploy), nil
	}
	return "", api.Errorf(api.CodeBuildFailed, "the build made $DEPLOY_PKG neither a folder nor a file")
}
