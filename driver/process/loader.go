package process

import (
	"context"
	"os"
	"slices"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/runtime"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/sandbox"
)

// Where things are inside a box.
const (
	codeDir    = "/code"
	loaderDir  = "/hearth"
	runtimeDir = "/runtime"
)

// backgroundNice is the priority of starts nobody waits for: refilling a pool
// must not slow the call that emptied it.
const backgroundNice = 19

// loader is the loading of runtimes that speak Hearth's own protocol.
type loader struct {
	kind
	command []string
	mother  []string // starts a zygote; empty: there is none
	binds   []sandbox.Bind
	env     []string
}

func newLoader(k kind) (*loader, error) {
	l := &loader{kind: k, command: k.runtime.Command}
	if k.runtime.Base != "" {
		interp, err := k.interpreter()
		if err != nil {
			return nil, err
		}
		l.binds = prefixes(interp)
		if len(l.command) == 0 {
			b, _ := runtime.ByName(k.runtime.Base)
			if b.Command == nil {
				return nil, api.Errorf(api.CodeInvalid, "runtime %s does not speak the protocol %s", k.runtime.Base, k.runtime.Protocol)
			}
			if l.command = b.Command(interp, loaderDir); k.runtime.Base == api.RuntimeNode {
				k.engine.compile(interp)
			}
			if b.Zygote != nil {
				l.mother = b.Zygote(interp, loaderDir)
			}
		}
		l.binds = append(l.binds, sandbox.Bind{Source: k.engine.loaders, Target: loaderDir})
	}
	if len(l.command) == 0 {
		return nil, api.Errorf(api.CodeInvalid, "runtime %s has no command", k.runtime.Name)
	}
	if k.runtime.Folder != "" {
		l.binds = append(l.binds, sandbox.Bind{Source: k.runtime.Folder, Target: runtimeDir})
	}
	l.env = baseEnv(k.runtime.Env, "HEARTH_LISTEN_FD=3")
	return l, nil
}

func prefixes(i runtime.Interpreter) (binds []sandbox.Bind) {
	for _, p := range i.Prefixes {
		binds = append(binds, sandbox.Bind{Source: p, Target: p})
	}
	return binds
}

// defaultPath is where instances look for programs.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// baseEnv is the environment every box starts with; nothing of Hearth's own
// environment gets in.
func baseEnv(extra map[string]string, more ...string) []string {
	env := append([]string{
		"PATH=" + defaultPath,
		"HOME=/tmp", "TMPDIR=/tmp", "LANG=C.UTF-8",
	}, more...)
	for k, v := range extra {
		env = append(env, k+"="+v)
	}
	return env
}

// defaults are the limits of a box before its revision's are known.
func (k kind) defaults() engine.Limits {
	return engine.Limits{MemoryBytes: api.DefaultMemory, Processes: api.DefaultProcesses, DiskBytes: k.disk}
}

func withDefaults(l engine.Limits) engine.Limits {
	if l.MemoryBytes == 0 {
		l.MemoryBytes = api.DefaultMemory
	}
	if l.Processes == 0 {
		l.Processes = api.DefaultProcesses
	}
	return l
}

// start implements loading.
func (l *loader) start(ctx context.Context, urgent bool) (*warm, error) {
	env := l.env
	if urgent {
		env = append(slices.Clone(env), "HEARTH_URGENT=1")
	}
	return l.boot(ctx, l.engine.newID(l.runtime.Name), urgent, func(c sandbox.Config, _ []*os.File) (*sandbox.Box, error) {
		c.Args, c.Env, c.Binds = l.command, env, l.binds
		return l.startBox(ctx, c, urgent)
	})
}

// startBox starts a box, in the background unless a call waits for it.
func (k kind) startBox(ctx context.Context, c sandbox.Config, urgent bool) (*sandbox.Box, error) {
	if !urgent {
		c.Nice = backgroundNice
	}
	return k.engine.host.Start(ctx, c)
}

// runner brings a loader to life on its descriptors: listen, stdout, stderr.
type runner func(c sandbox.Config, files []*os.File) (*sandbox.Box, error)

// boot starts a loader and warms it up, unless a call waits for it: that call
// would wait for twenty before it.
func (l *loader) boot(ctx context.Context, id string, urgent bool, run runner) (*warm, error) {
	w, err := l.greet(ctx, id, run)
	if err != nil {
		return nil, err
	}
	if !urgent {
		err = w.warmUp(ctx)
	}
	if err == nil {
		err = w.connect(ctx)
	}
	if err != nil {
		w.kill()
		return nil, w.explainStart(err, l.runtime.Name)
	}
	w.ready()
	return w, nil
}

// greet makes a loader's socket and pipes, has run bring it to life on them, and
// waits for its HELLO.
func (l *loader) greet(ctx context.Context, id string, run runner) (_ *warm, err error) {
	path, socket, err := l.engine.listen(id)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	out := newOutput(l.engine.o.Sink, id)
	stdout, stderr, err := out.read.Pipes()
	if err != nil {
		return nil, api.Errorf(api.CodeStartFailed, "start %s: %w", id, err)
	}
	defer stdout.Close()
	defer stderr.Close()
	box, err := run(sandbox.Config{
		ID: id, Dir: "/tmp", Network: l.network, Limits: l.defaults(),
		Files: []*os.File{socket}, Stdout: stdout, Stderr: stderr,
	}, []*os.File{socket, stdout, stderr})
	if err != nil {
		os.Remove(path)
		return nil, err
	}
	w := &warm{id: id, box: box, out: out, socket: path}
	defer func() {
		if err != nil {
			w.kill()
			err = w.explainStart(err, l.runtime.Name)
		}
	}()
	nc, err := w.dialSocket(ctx)
	if err != nil {
		return nil, err
	}
	w.control = frame.NewClient(nc, frame.Options{Role: frame.RoleControl, OnLog: func(stream int, request string, text []byte) {
		name := "stdout"
		if stream == 2 {
			name = "stderr"
		}
		out.text(name, request, text)
	}})
	if _, err := w.control.Hello(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

// warmUps is how many dummy calls an instance answers before it counts as
// warm: a JIT needs a few, and Node's first calls cost four times its later ones.
const warmUps = 20

func (w *warm) warmUp(ctx context.Context) error {
	for range warmUps {
		r, err := w.control.Do(ctx, &frame.Request{
			Method: "POST", Target: "/", Authority: "localhost", Scheme: "http", ID: "warm",
			Header: frame.Fields{{Name: "content-type", Value: "application/json"}}, First: []byte(`{"warm":true}`), Deadline: time.Minute,
		})
		if err != nil {
			return err
		}
		var b [512]byte
		for err == nil {
			_, err = r.Read(b[:])
		}
		r.Close()
	}
	return nil
}

// specialise implements loading.
func (l *loader) specialise(ctx context.Context, i *instance, dir string) error {
	w, s := i.warm, i.spec
	if err := w.furnish(dir, s); err != nil {
		return err
	}
	_, err := w.control.Load(ctx, frame.Load{
		Code: codeDir, Handler: s.Handler, Env: s.Env, Concurrency: max(s.Concurrency, 1), TimeoutMS: s.Timeout.Milliseconds(),
		Function: s.Function, Namespace: s.Tenant, Revision: s.Revision, Metadata: s.Metadata,
	})
	if err != nil {
		if e := api.AsError(err); e.Code == api.CodeLoadFailed && e.Detail == "" {
			e.Detail = e.Message
		}
		return err
	}
	i.protocol = api.ProtocolHearth
	i.dial = w.dial
	return nil
}

// furnish shows w the code, the files and the limits of its revision.
func (w *warm) furnish(dir string, s *engine.Spec) error {
	if err := w.box.Attach(dir, codeDir, false); err != nil {
		return err
	}
	if len(s.Files) > 0 {
		if err := w.box.AttachFiles(s.Files); err != nil {
			return err
		}
	}
	if l := withDefaults(s.Limits); l.MemoryBytes != api.DefaultMemory || l.Processes != api.DefaultProcesses || l.CPUMilli != 0 {
		return w.box.Limit(l)
	}
	return nil
}

// close implements loading.
func (l *loader) close() {}
