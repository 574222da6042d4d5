//go:build linux

package runtime_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hearth-run/hearth/runtime"
)

type zygote struct {
	*instance
	last int
}

func startZygote(t testing.TB) *zygote {
	b, _ := runtime.ByName("python")
	i := startCommand(t, b.Zygote(interpreter(t, "python"), unpack(t)))
	var hello struct{ Zygote bool }
	if err := json.Unmarshal(i.hello, &hello); err != nil || !hello.Zygote {
		t.Fatalf("hello %s", i.hello)
	}
	return &zygote{instance: i}
}

type child struct {
	socket string
	pid    int
	err    string
	stderr *os.File
}

// fork sends FORK; more are descriptors for the plan, by name.
func (z *zygote) fork(t testing.TB, plan string, names []string, more ...*os.File) child {
	t.Helper()
	path, f := listen(t)
	defer f.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	t.Cleanup(func() { r.Close() })
	z.last++
	id := fmt.Sprint("py-", z.last)
	fds, _ := json.Marshal(append([]string{"listen", "stdout", "stderr"}, names...))
	payload := fmt.Sprintf(`{"id":%q,"env":{"FROM":"fork"},"plan":%s,"fds":%s}`, id, plan, fds)
	rights := []int{int(f.Fd()), int(w.Fd()), int(w.Fd())}
	for _, m := range more {
		rights = append(rights, int(m.Fd()))
	}
	u := z.control.Conn.(*net.UnixConn)
	if _, _, err := u.WriteMsgUnix(encode(packet{typ: tFork, payload: []byte(payload)}), syscall.UnixRights(rights...), nil); err != nil {
		t.Fatal(err)
	}
	var answer struct {
		ID, Error string
		PID       int
	}
	if err := json.Unmarshal(z.control.expect(t, tForked).payload, &answer); err != nil || answer.ID != id {
		t.Fatalf("%+v, %v", answer, err)
	}
	if answer.PID > 0 {
		// Without a sandbox nothing ends a child with its zygote. The handle is
		// taken now, so that a number used again later is not meant.
		if p, err := os.FindProcess(answer.PID); err == nil {
			t.Cleanup(func() { p.Kill() })
		}
	}
	return child{path, answer.PID, answer.Error, r}
}

func TestZygote(t *testing.T) {
	z := startZygote(t)
	var kids []child
	for range 5 {
		kids = append(kids, z.fork(t, `[]`, nil))
	}
	for n, kid := range kids {
		if kid.pid <= 0 || kid.err != "" {
			t.Fatalf("%+v", kid)
		}
		control := dial(t, kid.socket, "control")
		if h := control.expect(t, tHello); strings.Contains(string(h.payload), "zygote") {
			t.Errorf("a child says %s", h.payload)
		}
		handler := []string{"hello", "stream.logs", "shapes.child", "shapes:asgi", "shapes.text"}[n]
		if f := control.load(t, spec(t, "python", handler, 1+n%2*3)); f != nil {
			t.Fatalf("%+v", f)
		}
		data := dial(t, kid.socket, "data")
		c, body := data.do(t, jsonBody())
		if c.status >= 300 {
			t.Errorf("%s: %d %s", handler, c.status, body)
		}
		if handler == "shapes.child" {
			if m := inherited.FindString(body); m != "" {
				t.Errorf("what a child starts has %s", m)
			}
		}
		control.send(packet{typ: tDrain})
		// The last holder of the pipe's other end is gone with it.
		kid.stderr.SetReadDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(kid.stderr); err != nil || len(b) > 0 {
			t.Errorf("stderr %q, %v", b, err)
		}
	}
	// Those that ended are reaped: it may take the zygote some turns to hear of
	// it, and each PING is one.
	for _, kid := range kids {
		for late := time.Now().Add(patience); ; {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", kid.pid))
			if err != nil {
				break
			}
			if time.Now().After(late) {
				t.Fatalf("child is still there: %s", b)
			}
			z.control.send(packet{typ: tPing, payload: make([]byte, 8)})
			z.control.expect(t, tPong)
		}
	}
	if kid := z.fork(t, `[]`, nil); kid.pid <= 0 {
		t.Error(kid)
	}
}

// TestZygotePlan runs the steps that need no privilege, and one that is refused.
func TestZygotePlan(t *testing.T) {
	z := startZygote(t)
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	dir := t.TempDir()
	plan, _ := json.Marshal([][]any{
		{"mkdir", dir + "/a", 0o700}, {"mkdir", dir + "/a", 0o700}, {"write", dir + "/a/f", 0o600, "grüße"}, {"sync", "sync"}, {"umask", 0o77},
		{"rlimit", 7, 99, 99}, {"rlimit", 4, 0, 0}, {"setsid"}, {"nonewprivs"}, {"dumpable", 1}, {"chdir", dir},
		// A filter of one instruction: allow.
		{"seccomp", "BgAAAAAA/38="},
	})
	kid := z.fork(t, string(plan), []string{"sync"}, theirs)
	theirs.Close()
	one := make([]byte, 1)
	if _, err := ours.Read(one); err != nil || one[0] != 'r' {
		t.Fatalf("sync: %q %v", one, err)
	}
	ours.Write([]byte("g"))
	control := dial(t, kid.socket, "control")
	control.expect(t, tHello)
	if b, err := os.ReadFile(dir + "/a/f"); err != nil || string(b) != "grüße" {
		t.Errorf("%q %v", b, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", kid.pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "Umask:\t0077"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("status lacks %s", want)
		}
	}
	for plan, want := range map[string]string{
		`[["mkdir","/proc/nope",448]]`:                            "step 0 mkdir: ",
		`[["umask",63],["fly"]]`:                                  "step 1 fly: unknown operation",
		`[["umask",63],["umask",63],["chdir","/no/such/folder"]]`: "step 2 chdir: No such file or directory",
	} {
		kid := z.fork(t, plan, nil)
		kid.stderr.SetReadDeadline(time.Now().Add(patience))
		if b, _ := io.ReadAll(kid.stderr); !strings.HasPrefix(string(b), want) {
			t.Errorf("%s: %q, want %q", plan, b, want)
		}
	}
}

// TestZygotePIDNamespace needs root: the child is pid 1 of its own namespace,
// and the zygote can go on forking.
func TestZygotePIDNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may make pid namespaces and change users")
	}
	z := startZygote(t)
	for range 3 {
		kid := z.fork(t, `[["pidns"],["setgroups"],["setgid",65534],["setuid",65534],["dropcaps"],["dumpable",1]]`, nil)
		if kid.err != "" {
			t.Fatal(kid.err)
		}
		dial(t, kid.socket, "control").expect(t, tHello)
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", kid.pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{fmt.Sprintf("NSpid:\t%d\t1\n", kid.pid), "Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("status lacks %q", want)
			}
		}
	}
}

// BenchmarkZygote is the time from FORK to LOADED and to the first answer.
func BenchmarkZygote(b *testing.B) {
	z := startZygote(b)
	s := spec(b, "python", "hello", 1)
	b.ResetTimer()
	for b.Loop() {
		kid := z.fork(b, `[]`, nil)
		control := dial(b, kid.socket, "control")
		control.expect(b, tHello)
		if f := control.load(b, s); f != nil {
			b.Fatal(f)
		}
		control.do(b, jsonBody())
		b.StopTimer()
		control.Close()
		b.StartTimer()
	}
}
