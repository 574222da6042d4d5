package process

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/runtime/static"
	"github.com/hearth-run/hearth/sandbox"
)

// program is the loading of any program that serves HTTP: a box that is ready
// but for exec waits in the pool; specialising it is the exec.
type program struct{ kind }

func newProgram(k kind) *program { return &program{k} }

// staticProgram is where instances of the static runtime find this binary.
const staticProgram = "/runtime/hearth"

// insidePort is $PORT where the instance has a network of its own.
const insidePort = 8080

// start implements loading.
func (p *program) start(ctx context.Context, urgent bool) (*warm, error) {
	e := p.engine
	id := e.newID(p.runtime.Name)
	listening, socket, err := e.listen(id)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	out := newOutput(e.o.Sink, id)
	stdout, stderr, err := out.read.Pipes()
	if err != nil {
		os.Remove(listening)
		return nil, api.Errorf(api.CodeStartFailed, "start %s: %w", id, err)
	}
	defer stdout.Close()
	defer stderr.Close()
	c := sandbox.Config{
		ID: id, Dir: codeDir, Network: p.network, Limits: p.defaults(), Init: p.runtime.Base != api.RuntimeGo, Hold: true,
		Files: []*os.File{socket}, Stdout: stdout, Stderr: stderr,
	}
	if p.runtime.Folder != "" {
		c.Binds = append(c.Binds, sandbox.Bind{Source: p.runtime.Folder, Target: runtimeDir})
	}
	if p.runtime.Base == api.RuntimeStatic {
		self, err := os.Executable()
		if err != nil {
			os.Remove(listening)
			return nil, api.Errorf(api.CodeStartFailed, "start %s: %w", id, err)
		}
		c.Binds = append(c.Binds, sandbox.Bind{Source: self, Target: staticProgram})
	}
	if p.runtime.Base == api.RuntimeCommand || p.runtime.Base == "" {
		// Any interpreter of the host may be what the program runs on.
		for _, name := range []string{api.RuntimeNode, api.RuntimePython} {
			if i := e.find(name); i.Err == nil {
				c.Binds = append(c.Binds, prefixes(i)...)
			}
		}
	}
	box, err := p.startBox(ctx, c, urgent)
	if err != nil {
		os.Remove(listening)
		return nil, err
	}
	w := &warm{id: id, box: box, out: out, socket: listening}
	w.ready()
	return w, nil
}

// specialise implements loading.
func (p *program) specialise(ctx context.Context, i *instance, dir string) error {
	w, s := i.warm, i.spec
	args, err := p.arguments(s, dir)
	if err != nil {
		return err
	}
	if err := w.furnish(dir, s); err != nil {
		return err
	}
	port := insidePort
	if wish := cmp.Or(s.Port, p.runtime.Port); wish != 0 {
		port = wish
	} else if p.network == "host" {
		if port, err = freePort(); err != nil {
			return api.Errorf(api.CodeStartFailed, "find a port for %s: %w", w.id, err)
		}
	}
	env := baseEnv(p.runtime.Env, append(installed(dir), "PORT="+strconv.Itoa(port), "HEARTH_LISTEN_FD=3",
		"HEARTH_FUNCTION="+s.Function, "HEARTH_REVISION="+s.Revision, "HEARTH_NAMESPACE="+s.Tenant)...)
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	if err := w.box.Exec(args, env, codeDir); err != nil {
		return err
	}
	i.protocol = api.ProtocolHTTP
	if s.H2C {
		i.protocol = api.ProtocolH2C
	}
	i.dial, err = w.reachable(ctx, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	return err
}

// installed shows a program what its build installed in the artifact: the
// programs of npm, Python's packages, Ruby's gems.
func installed(dir string) (env []string) {
	has := func(name string) bool {
		info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
		return err == nil && info.IsDir()
	}
	search := defaultPath
	for _, bin := range []string{"node_modules/.bin", api.PythonPackages + "/bin"} {
		if has(bin) {
			search = codeDir + "/" + bin + ":" + search
		}
	}
	if search != defaultPath {
		env = append(env, "PATH="+search)
	}
	if has(api.PythonPackages) {
		env = append(env, "PYTHONPATH="+codeDir+"/"+api.PythonPackages)
	}
	if has(api.RubyPackages) {
		env = append(env, "BUNDLE_PATH="+codeDir+"/"+api.RubyPackages)
	}
	if _, err := os.Stat(filepath.Join(dir, "Gemfile")); err == nil {
		env = append(env, "BUNDLE_WITHOUT=development:test", "BUNDLE_FROZEN=true")
	}
	return env
}

// arguments is the command line of s: the function's own, the runtime's, or the
// file every build leaves for a program.
func (p *program) arguments(s *engine.Spec, dir string) ([]string, error) {
	switch {
	case p.runtime.Base == api.RuntimeStatic:
		return []string{staticProgram, static.Argument, path.Join(codeDir, path.Clean("/"+s.Handler))}, nil
	case len(s.Command) > 0:
		return s.Command, nil
	case len(p.runtime.Command) > 0:
		return p.runtime.Command, nil
	}
	names := []string{"handler", "run", "main", "server", "start"}
	if s.Handler != "" {
		names = []string{s.Handler}
	}
	for _, name := range names {
		if f, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err == nil && f.Mode().IsRegular() && f.Mode()&0o111 != 0 {
			return []string{codeDir + "/" + name}, nil
		}
	}
	err := api.Errorf(api.CodeLoadFailed, "%s has no command, and no executable file named %s", s.Function, strings.Join(names, ", ")).
		WithHint("set spec.command, for example [node, server.js]; hearth deploy has --command")
	err.Detail = err.Message
	return nil, err
}

// reachable finds out how the program serves, whichever answers first: $PORT,
// or the socket it may have taken over as descriptor 3. The question on the
// socket is OPTIONS *, which asks about the server and not about a resource, so
// that user code does not see it.
func (w *warm) reachable(ctx context.Context, address string) (func(context.Context) (net.Conn, error), error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type way func(context.Context) (net.Conn, error)
	found := make(chan way, 2)
	tcp := func(ctx context.Context) (net.Conn, error) { return w.box.Dial(ctx, "tcp", address) }
	go func() {
		if c, err := w.dialSocket(ctx); err == nil && askServer(ctx, c) == nil {
			found <- w.dialSocket
		}
	}()
	go func() {
		for pause := time.Millisecond; ctx.Err() == nil; pause = min(pause*3/2, 20*time.Millisecond) {
			if c, err := tcp(ctx); err == nil {
				c.Close()
				found <- tcp
				return
			}
			wait(ctx, pause)
		}
	}()
	select {
	case dial := <-found:
		return dial, nil
	case <-w.box.Done():
		return nil, api.Errorf(api.CodeLoadFailed, "the program ended before it served: %s", w.box.Exit().Reason)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func askServer(ctx context.Context, c net.Conn) error {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if _, err := c.Write([]byte("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")); err != nil {
		return err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	return r.Body.Close()
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// freePort asks the kernel for a port of the loopback interface. Another program
// could take it before the instance does; the start then fails and is repeated.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("no TCP address")
	}
	return a.Port, nil
}

// close implements loading.
func (p *program) close() {}
