//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Host starts boxes. Outside Linux a box is a process group and nothing more:
// it sees the host's files and network and has no limits.
type Host struct {
	log    *slog.Logger
	mu     sync.Mutex
	boxes  map[string]*Box
	count  int
	closed bool
}

// Main returns false: there is no sandbox-init on this system.
func Main([]string) (handled bool) { return false }

// Open prepares the state folder. Close the Host.
func Open(_ context.Context, o Options) (*Host, error) {
	if o.State == "" {
		return nil, api.Errorf(api.CodeInvalid, "the sandbox needs a state folder")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Host{log: o.Log, boxes: map[string]*Box{}}, os.MkdirAll(o.State, 0o755)
}

// Findings says that nothing is isolated here.
func (h *Host) Findings() []engine.Finding {
	var out []engine.Finding
	for _, c := range []string{"namespaces", "own users", "seccomp", "landlock", "cgroup memory", "cgroup cpu", "cgroup pids",
		"private network", "tmpfs quota", "new mount calls", "pidfd", "kill on parent death"} {
		out = append(out, engine.Finding{Check: c, Detail: "not on " + runtime.GOOS + ": functions run as plain process groups of your user",
			Fix: "run hearth on Linux for isolation"})
	}
	return out
}

// Box is one process group.
type Box struct {
	h        *Host
	id       string
	held     *Config
	cmd      *exec.Cmd
	mu       sync.Mutex
	exit     engine.Exit
	killed   bool
	done     chan struct{}
	writeDir string
}

// Start runs a process group.
func (h *Host) Start(ctx context.Context, c Config) (*Box, error) {
	if len(c.Args) == 0 && !c.Hold {
		return nil, api.Errorf(api.CodeInvalid, "a box needs a program")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	if c.ID == "" {
		c.ID = fmt.Sprintf("box-%d", h.count)
	}
	if h.closed || h.boxes[c.ID] != nil {
		return nil, api.Errorf(api.CodeStartFailed, "the sandbox is closed, or a box %s is running already", c.ID)
	}
	b := &Box{h: h, id: c.ID, done: make(chan struct{}), writeDir: c.WriteDir}
	h.boxes[c.ID] = b
	if c.Hold {
		b.held = &c
		return b, nil
	}
	if err := b.run(c); err != nil {
		delete(h.boxes, c.ID)
		return nil, err
	}
	return b, nil
}

func (b *Box) run(c Config) error {
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = c.Env, c.Dir, c.Stdout, c.Stderr, c.Files
	if c.WriteDir != "" && (c.Dir == "" || c.Dir == "/code") {
		cmd.Dir = c.WriteDir // there is no /code of its own
	}
	if c.Stdout == nil {
		cmd.Stdout = nil
	}
	if c.Stderr == nil {
		cmd.Stderr = nil
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return api.Errorf(api.CodeStartFailed, "the box did not start: %v", err).WithCause(err)
	}
	b.cmd = cmd
	go b.watch()
	return nil
}

func (b *Box) watch() {
	err := b.cmd.Wait()
	syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	e := engine.Exit{Code: -1, At: time.Now(), Reason: "exited"}
	var x *exec.ExitError
	if err == nil || errors.As(err, &x) {
		ws, _ := b.cmd.ProcessState.Sys().(syscall.WaitStatus)
		e.Code = ws.ExitStatus()
		if ws.Signaled() {
			e.Code, e.Signal = -1, ws.Signal().String()
			e.Reason = "ended by " + e.Signal
		} else if e.Code != 0 {
			e.Reason = fmt.Sprintf("exited with status %d", e.Code)
		}
	}
	b.finish(e)
}

func (b *Box) finish(e engine.Exit) {
	b.h.mu.Lock()
	delete(b.h.boxes, b.id)
	b.h.mu.Unlock()
	b.mu.Lock()
	if b.killed {
		e.Reason = "killed"
	}
	b.exit = e
	b.mu.Unlock()
	close(b.done)
}

// Exec starts the program of a held box.
func (b *Box) Exec(args, env []string, dir string) error {
	b.mu.Lock()
	c := b.held
	b.held = nil
	b.mu.Unlock()
	if c == nil {
		return api.Errorf(api.CodeInvalid, "box %s does not wait for a program", b.id)
	}
	c.Args, c.Env, c.Dir = args, env, dir
	return b.run(*c)
}

// Attach cannot show folders inside a box here; use the host's paths.
func (b *Box) Attach(string, string, bool) error { return unsupported("attaching folders") }

// AttachFiles cannot show files inside a box here.
func (b *Box) AttachFiles([]engine.File) error { return unsupported("attaching files") }

// Limit does nothing: there are no limits here.
func (b *Box) Limit(engine.Limits) error { return nil }

// Dial connects from the host: the network is the same.
func (b *Box) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// Listen listens on the host: the network is the same.
func (b *Box) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

// ID is the box's name.
func (b *Box) ID() string { return b.id }

// Pid is the first process; 0 while the box is held.
func (b *Box) Pid() int {
	if b.cmd == nil {
		return 0
	}
	return b.cmd.Process.Pid
}

// UID is this process' own user.
func (b *Box) UID() int { return os.Getuid() }

// Usage is not known here.
func (b *Box) Usage() (engine.Usage, error) {
	return engine.Usage{}, unsupported("measuring a process")
}

// StartTime is not measured here.
func (b *Box) StartTime() time.Duration { return 0 }

// Done is closed when the first process has ended.
func (b *Box) Done() <-chan struct{} { return b.done }

// Exit says how it ended; valid once Done is closed.
func (b *Box) Exit() engine.Exit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.exit
}

// Signal signals the process group.
func (b *Box) Signal(sig syscall.Signal) error {
	if p := b.Pid(); p > 0 {
		return syscall.Kill(-p, sig)
	}
	return nil
}

// Catches is true here: nobody is process 1.
func (b *Box) Catches(syscall.Signal) bool { return true }

// Kill ends the process group.
func (b *Box) Kill() {
	b.mu.Lock()
	b.killed = true
	held := b.held
	b.held = nil
	b.mu.Unlock()
	if held != nil {
		b.finish(engine.Exit{Code: -1, At: time.Now()})
		return
	}
	b.Signal(syscall.SIGKILL)
}

// ForkPlan is not to be had: zygotes need namespaces.
func (h *Host) ForkPlan(Config) (Plan, *Adoption, error) { return nil, nil, unsupported("zygotes") }

// Adopt is not to be had: zygotes need namespaces.
func (h *Host) Adopt(context.Context, *Adoption) (*Box, error) { return nil, unsupported("zygotes") }

// Adoption is what a forked process needs; never made here.
type Adoption struct{}

// Files is empty here.
func (a *Adoption) Files() (names []string, files []*os.File) { return nil, nil }

// Sent does nothing here.
func (a *Adoption) Sent() {}

// Close does nothing here.
func (a *Adoption) Close() {}

func (h *Host) takeBack([]string) {}

// Shared is what boxes have in common; never made here.
type Shared struct{}

// Volume is a folder boxes have in common; never made here.
type Volume struct{}

// Containers says that boxes have no root of their own here.
func (h *Host) Containers() error { return unsupported("running containers") }

// Overlay is false here.
func (h *Host) Overlay() bool { return false }

// Share is not to be had here.
func (h *Host) Share(string, string) (*Shared, error) { return nil, unsupported("running containers") }

// Dial fails here.
func (s *Shared) Dial(context.Context, string, string) (net.Conn, error) {
	return nil, unsupported("a network of one's own")
}

// Listening lists nothing here.
func (s *Shared) Listening() ([]int, error) { return nil, nil }

// Addresses are not to be had here.
func (s *Shared) Addresses() (box, host netip.Addr) { return box, host }

// Volume is not to be had here.
func (s *Shared) Volume(VolumeConfig) (*Volume, error) { return nil, unsupported("a volume") }

// Close does nothing here.
func (s *Shared) Close() {}

// Replace is not to be had here.
func (v *Volume) Replace([]engine.VolumeFile) error { return unsupported("a volume") }

// Used is 0 here.
func (v *Volume) Used() int64 { return 0 }

// Disk is 0 here.
func (b *Box) Disk() int64 { return 0 }

// Enter is not to be had here.
func (b *Box) Enter(context.Context, Config) error { return unsupported("running containers") }

// Do is not to be had here.
func (b *Box) Do(context.Context, []string) (engine.Exit, string, error) {
	return engine.Exit{}, "", unsupported("running something beside a program")
}

func unsupported(what string) error {
	return api.Errorf(api.CodeUnsupported, "%s needs Linux", what)
}

// Close kills all boxes and waits for them, or for the end of ctx.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	var all []*Box
	for _, b := range h.boxes {
		all = append(all, b)
	}
	h.mu.Unlock()
	for _, b := range all {
		b.Kill()
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
