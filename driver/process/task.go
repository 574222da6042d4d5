package process

import (
	"context"
	"io"
	"sync"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/sandbox"
)

// Task is a command to run in a box of its own until it ends, such as a step of a
// build.
type Task struct {
	Dir     string // writable, visible under the same path; belongs to the task while it runs
	Cwd     string // folder to start in; Dir if empty
	Cache   string // like Dir, for one task after the other; may be empty
	Command []string
	Env     map[string]string
	Network string // host, private, none; host if empty
}

// taskLimits are those of a build: generous, but a runaway one harms nobody.
func taskLimits() engine.Limits {
	return engine.Limits{MemoryBytes: max(2<<30, machineMemory()/4), Processes: 2048, DiskBytes: 2 << 30}
}

// RunTask runs t and returns its exit status, 128 and the signal's number when
// one ended it. Nothing of it is left when it returns. When ctx ends everything
// is killed and ctx.Err() returned.
func (e *Engine) RunTask(ctx context.Context, t Task, out io.Writer) (int, error) {
	c := sandbox.Config{
		ID: e.newID("build"), Args: t.Command, Dir: t.Cwd, Network: t.Network, Limits: taskLimits(),
		Binds: []sandbox.Bind{{Source: t.Dir, Target: t.Dir, Write: true, Own: true}},
	}
	if c.Dir == "" {
		c.Dir = t.Dir
	}
	if t.Cache != "" {
		done, err := e.caches.take(ctx, t.Cache)
		if err != nil {
			return -1, err
		}
		defer done()
		c.Binds = append(c.Binds, sandbox.Bind{Source: t.Cache, Target: t.Cache, Write: true, Own: true})
	}
	for _, name := range []string{api.RuntimeNode, api.RuntimePython, api.RuntimeGo} {
		if i := e.find(name); i.Err == nil {
			c.Binds = append(c.Binds, prefixes(i)...)
		}
	}
	for k, v := range t.Env {
		c.Env = append(c.Env, k+"="+v)
	}
	exit, err := e.host.Run(ctx, c, out)
	if err != nil {
		return -1, err
	}
	if exit.Signal != "" {
		return 128 + 9, nil
	}
	return exit.Code, nil
}

// turns lets one task at a time have a folder: it belongs to the task's user
// while it runs, and users differ.
type turns struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the folder is free again
}

// take waits until nobody has the folder or ctx ends; done gives it back.
func (u *turns) take(ctx context.Context, folder string) (done func(), err error) {
	for {
		u.mu.Lock()
		free, held := u.held[folder]
		if !held {
			if u.held == nil {
				u.held = map[string]chan struct{}{}
			}
			free = make(chan struct{})
			u.held[folder] = free
			u.mu.Unlock()
			return func() {
				u.mu.Lock()
				delete(u.held, folder)
				u.mu.Unlock()
				close(free)
			}, nil
		}
		u.mu.Unlock()
		select {
		case <-free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
