package runtime_test

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/runtime"
)

// instance is a loader that was started without a sandbox.
type instance struct {
	cmd     *exec.Cmd
	socket  string
	control *conn
	hello   []byte
	out     *output
	exited  chan struct{} // closed when the process is gone
}

// output is what a process wrote straight to its descriptors.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// wait waits until the output is s.
func (o *output) wait(s string) bool {
	late := time.After(patience)
	for o.String() != s {
		select {
		case <-o.more:
		case <-late:
			return false
		}
	}
	return true
}

// unpack writes the embedded loaders to a folder.
func unpack(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := runtime.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// findOnce asks the host's interpreters once for all tests.
var findOnce = runtime.Once(runtime.Find)

func interpreter(t testing.TB, name string) runtime.Interpreter {
	t.Helper()
	i := findOnce(name)
	if i.Err != nil {
		t.Skipf("no %s on this host: %v", name, i.Err)
	}
	return i
}

func command(t testing.TB, name string) []string {
	t.Helper()
	b, ok := runtime.ByName(name)
	if !ok {
		t.Fatalf("no built-in %s", name)
	}
	return b.Command(interpreter(t, name), unpack(t))
}

// listen makes a listening socket; its path is short, as the kernel wants it.
func listen(t testing.TB) (string, *os.File) {
	t.Helper()
	dir, err := os.MkdirTemp("", "hearth")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return path, f
}

func dial(t testing.TB, path, role string) *conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	k := newConn(c, role)
	t.Cleanup(func() {
		c.Close()
		<-k.done
	})
	return k
}

func startCommand(t testing.TB, argv []string) *instance {
	t.Helper()
	path, f := listen(t)
	defer f.Close()
	i := &instance{socket: path, out: newOutput(), exited: make(chan struct{})}
	i.cmd = exec.Command(argv[0], argv[1:]...)
	i.cmd.ExtraFiles = []*os.File{f}
	i.cmd.Env = append(os.Environ(), "HEARTH_LISTEN_FD=3")
	i.cmd.Stdout, i.cmd.Stderr = i.out, i.out
	i.cmd.WaitDelay = time.Second
	if err := i.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		i.cmd.Wait()
		close(i.exited)
	}()
	i.control = dial(t, path, "control")
	i.hello = i.control.expect(t, tHello).payload
	t.Cleanup(func() {
		i.cmd.Process.Kill()
		<-i.exited
		if t.Failed() && i.out.String() != "" {
			t.Logf("the loader wrote:\n%s", i.out)
		}
	})
	return i
}

func start(t testing.TB, name string) *instance { return startCommand(t, command(t, name)) }

// exit waits for the end of the process.
func (i *instance) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-i.exited:
		return i.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("the loader did not end")
		return -1
	}
}

// loaded starts a loader with code of the test data and gives a data connection.
func loaded(t testing.TB, name, handler string, concurrency int) (*instance, *conn) {
	t.Helper()
	i := start(t, name)
	if f := i.control.load(t, spec(t, name, handler, concurrency)); f != nil {
		t.Fatalf("load %s: %s: %s\n%s", handler, f.Stage, f.Message, f.Traceback)
	}
	return i, dial(t, i.socket, "data")
}

func spec(t testing.TB, name, handler string, concurrency int) loadSpec {
	t.Helper()
	code, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return loadSpec{Code: code, Handler: handler, Concurrency: concurrency, Function: "fn", Namespace: "default", Revision: "fn-1", Env: map[string]string{"GREETING": "moin"}}
}

var _ fs.FS = runtime.Files()
