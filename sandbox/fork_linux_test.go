package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/core/engine"
)

// zygoteScript is a zygote without a loader: it runs a plan by the Python
// executor and then a shell.
const zygoteScript = `
import array, json, os, signal, socket, sys
sys.path.insert(0, "/runtime/python")
import plan
own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
s = socket.socket(fileno=3)
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
signal.signal(signal.SIGCHLD, reap)
while True:
    data, fds, _, _ = socket.recv_fds(s, 1 << 20, 16)
    if not data: sys.exit(0)
    q = json.loads(data)
    pid = plan.fork(own)
    if pid == 0:
        s.close()
        fds = dict(zip(q["fds"], fds))
        try: plan.execute(q["plan"][1:], fds, 1)
        except BaseException as e:
            os.write(fds["stdout"], str(e).encode()); os._exit(125)
        os.dup2(fds["stdout"], 1); os.dup2(fds["stdout"], 2)
        os.execv("/bin/sh", ["sh", "-c", q["script"]])
    for f in fds: os.close(f)
`

// zygote is a running one.
type zygote struct {
	h    *Host
	box  *Box
	sock int
}

func startZygote(t *testing.T, h *Host) *zygote {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 on this host")
	}
	out, err := exec.Command(python, "-c", "import sys; print(sys.executable); print(sys.prefix)").Output()
	if err != nil {
		t.Fatal(err)
	}
	where := strings.Fields(string(out))
	code, err := filepath.Abs("../runtime/python")
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "zygote")
	defer theirs.Close()
	b := start(t, h, Config{ID: "zygote", Zygote: true, Args: []string{where[0], "-c", zygoteScript}, Files: []*os.File{theirs},
		Binds: []Bind{{Source: where[1]}, {Source: code, Target: "/runtime/python"}}, Stderr: os.Stderr})
	t.Cleanup(func() { unix.Close(fds[0]) })
	return &zygote{h: h, box: b, sock: fds[0]}
}

// fork runs a script in a forked box and returns the box and where it prints.
func (z *zygote) fork(t *testing.T, c Config, script string) (*Box, *os.File) {
	t.Helper()
	plan, a, err := z.h.ForkPlan(c)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	names, files := a.Files()
	r, w, _ := os.Pipe()
	t.Cleanup(func() { r.Close() })
	msg, err := json.Marshal(map[string]any{"plan": plan, "fds": append([]string{"stdout"}, names...), "script": script})
	if err != nil {
		t.Fatal(err)
	}
	rights := []int{int(w.Fd())}
	for _, f := range files {
		rights = append(rights, int(f.Fd()))
	}
	if err := unix.Sendmsg(z.sock, msg, unix.UnixRights(rights...), nil, 0); err != nil {
		t.Fatal(err)
	}
	w.Close()
	a.Sent()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	b, err := z.h.Adopt(ctx, a)
	if err != nil {
		var out bytes.Buffer
		out.ReadFrom(r)
		t.Fatalf("%v; it said %q", err, out.String())
	}
	return b, r
}

func TestZygote(t *testing.T) {
	h := open(t)
	z := startZygote(t, h)
	b, r := z.fork(t, Config{ID: "child-1", Limits: engine.Limits{DiskBytes: 1 << 20, MemoryBytes: 64 << 20}},
		"id -un; id -u; hostname; echo $$; set -- /proc/[0-9]*; echo $#; head -c 2000000 /dev/zero >/tmp/x 2>/dev/null || echo full; grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp:)' /proc/self/status | cut -f2 | sort -u; touch /run/x /etc/x /x 2>&1 | grep -c 'Read-only'; unshare -U true 2>/dev/null || echo no; exit 3")
	var out bytes.Buffer
	out.ReadFrom(r)
	want := fmt.Sprintf("function %d child-1 1 1 full 0000000000000000 1 2 3 no", b.UID())
	if got := strings.Join(strings.Fields(out.String()), " "); got != want {
		t.Errorf("\n got  %q\n want %q", got, want)
	}
	<-b.Done()
	if e := b.Exit(); e.Code != 3 && e.Code != -1 { // -1: a kernel before 6.15 does not say
		t.Errorf("%+v", e)
	}

	// Two at a time do not see each other, and are attached to and killed alone.
	one, r1 := z.fork(t, Config{ID: "one", Network: NetworkNone}, "echo 1 >/tmp/one; echo ready; exec sleep 60")
	two, r2 := z.fork(t, Config{ID: "two"}, "echo ready; exec sleep 60")
	r1.Read(make([]byte, 6))
	r2.Read(make([]byte, 6))
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/tmp/one", two.Pid())); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("two sees the other's file: %v", err)
	}
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)
	if err := two.Attach(dir, "/code", false); err != nil {
		t.Error(err)
	}
	for _, k := range []struct {
		b    *Box
		sees bool
	}{{one, false}, {two, true}, {z.box, false}} {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/code/f", k.b.Pid())); (err == nil) != k.sees {
			t.Errorf("%s: %v", k.b.ID(), err)
		}
	}
	if u, err := one.Usage(); err != nil || u.Processes != 1 {
		t.Errorf("the forked process is not in its cgroup: %+v", u)
	}
	one.Kill()
	<-one.Done()
	if e := one.Exit(); e.Reason != "killed" {
		t.Errorf("%+v", e)
	}
	select {
	case <-two.Done():
		t.Error("two ended with one")
	default:
	}
	z.box.Kill() // takes all it forked along
	<-two.Done()
	if e := two.Exit(); e.Code == 0 {
		t.Errorf("%+v", e)
	}
}

func TestAdoptionGivenUp(t *testing.T) {
	h := open(t)
	_, a, err := h.ForkPlan(Config{ID: "never"})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	a.Close()
	if _, err := h.Adopt(t.Context(), a); err == nil {
		t.Error("adopted after the end")
	}
	_, a, err = h.ForkPlan(Config{ID: "never"}) // the name is free again
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := h.Adopt(ctx, a); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestForkedOutOfMemory(t *testing.T) {
	h := open(t)
	if h.groups.roots["memory"] == "" {
		t.Skip("no memory cgroup")
	}
	z := startZygote(t, h)
	b, _ := z.fork(t, Config{Limits: engine.Limits{MemoryBytes: 32 << 20, DiskBytes: 128 << 20}}, "exec head -c 100000000 /dev/zero >/tmp/x")
	<-b.Done()
	if e := b.Exit(); !e.OOM {
		t.Errorf("%+v", e)
	}
	if err := z.box.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the zygote is gone: %v", err)
	}
}
