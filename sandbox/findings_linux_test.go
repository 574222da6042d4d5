package sandbox

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hearth-run/hearth/core/engine"
)

func TestFindings(t *testing.T) {
	h := open(t)
	for _, f := range h.Findings() {
		t.Logf("%-22s %-5v %s %s", f.Check, f.OK, f.Detail, f.Fix)
		if f.Detail == "" || f.OK != (f.Fix == "") {
			t.Errorf("%+v", f)
		}
	}
}

// TestWithout takes one mechanism after the other away: it is said, and boxes run on.
func TestWithout(t *testing.T) {
	all := []string{"namespaces", "own users", "user namespaces", "network namespaces", "private network", "seccomp", "landlock",
		"cgroup memory", "cgroup cpu", "cgroup pids", "new mount calls", "pidfd", "overlay", "container users"}
	for _, check := range all {
		t.Run(check, func(t *testing.T) {
			h := open(t, func(o *Options) { o.Without = []string{check} })
			network := NetworkNone
			if check == "private network" {
				network = NetworkPrivate // without it: loopback only
			}
			found := false
			for _, f := range h.Findings() {
				if f.Check == check {
					found = true
					if f.OK || f.Fix == "" || !strings.HasPrefix(f.Detail, "switched off; ") {
						t.Errorf("%+v", f)
					}
				}
			}
			if !found {
				t.Error("no such finding")
			}
			if out := shell(t, h, Config{Network: network}, "echo runs"); out != "runs" {
				t.Errorf("%q", out)
			}
		})
	}
}

// TestWithoutRoot uses what an ordinary user has: a user namespace.
func TestWithoutRoot(t *testing.T) {
	h := open(t, func(o *Options) { o.Without = []string{"own users"} })
	secret := t.TempDir() + "/secret"
	os.WriteFile(secret, []byte("x"), 0o644)
	out := shell(t, h, Config{}, "cat "+secret+" 2>/dev/null; touch /etc/x 2>/dev/null && echo wrote; grep -E '^(CapEff|NoNewPrivs|Seccomp:)' /proc/self/status | cut -f2 | tr '\\n' ' '")
	if out != "0000000000000000 1 2" {
		t.Errorf("%q", out)
	}
}

// TestLandlockAlone has no namespaces at all: the file system is still closed.
func TestLandlockAlone(t *testing.T) {
	h := open(t, func(o *Options) { o.Without = []string{"own users", "namespaces"} })
	if h.allows.landlock == 0 {
		t.Skip("no landlock in this kernel")
	}
	b := &strings.Builder{}
	e, err := h.Run(context.Background(), Config{Args: []string{"sh", "-c", "ls /root; touch /usr/x; echo ok; true"}}, b)
	if err != nil || e.Code != 0 || strings.Count(b.String(), "Permission denied") != 2 || !strings.HasSuffix(b.String(), "ok\n") {
		t.Errorf("%v %+v %s", err, e, b)
	}
}

// TestAttachWithoutMounting gives running boxes code and files by links.
func TestAttachWithoutMounting(t *testing.T) {
	for _, check := range []string{"own users", "new mount calls"} {
		h := open(t, func(o *Options) { o.Without = []string{check} })
		dir := t.TempDir()
		os.Chmod(dir, 0o755)
		os.MkdirAll(dir+"/deep", 0o755)
		os.WriteFile(dir+"/deep/f", []byte("code "), 0o644)
		os.Symlink("deep/f", dir+"/link")
		r, w, _ := os.Pipe()
		defer r.Close()
		b := start(t, h, Config{Hold: true, Stdout: w})
		w.Close()
		if err := b.Attach(dir, "/userfunc/x", false); err != nil {
			t.Fatal(err)
		}
		if err := b.AttachFiles([]engine.File{{Path: "/secrets/a/s", Data: []byte("sesame")}}); err != nil {
			t.Fatal(err)
		}
		if err := b.Exec([]string{"sh", "-c", "cat /userfunc/x/link /secrets/a/s; rm -f /secrets/a/s /userfunc/x/link 2>/dev/null || echo ' kept'"}, nil, ""); err != nil {
			t.Fatal(err)
		}
		out, _ := io.ReadAll(r)
		if string(out) != "code sesame kept\n" {
			t.Errorf("%s: %q", check, out)
		}
		if err := b.Attach(dir, "/code", true); err == nil {
			t.Error("a writable folder was shown by links")
		}
		<-b.Done()
		if _, memory := h.slotRoots(); exists(memory + "/" + b.ID()) {
			t.Error("the secret is still there")
		}
	}
}

// TestUnprivileged runs a host as an ordinary user, in a process of its own.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become somebody")
	}
	dir := t.TempDir()
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/test", self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/state", 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chown(dir+"/state", 65534, 65534)
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	c := exec.CommandContext(t.Context(), dir+"/test", "inside", "unprivileged", dir+"/state")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	c.Dir, c.Env = "/", []string{"PATH=/usr/bin:/bin"}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}

// unprivileged is what TestUnprivileged does there.
func unprivileged(args []string) int {
	ctx := context.Background()
	h, err := Open(ctx, Options{State: args[0]})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	code := 0
	for _, f := range h.Findings() {
		if !f.OK {
			fmt.Println(f.Check+":", f.Detail, "→", f.Fix)
		}
		if f.Check == "own users" && f.OK {
			code = 1
		}
	}
	var out strings.Builder
	e, err := h.Run(ctx, Config{Args: []string{"sh", "-c", "set -- /proc/[0-9]*; echo $#; id -u; ls /home /work /var/log 2>/dev/null; touch /etc/x 2>/dev/null || echo ro; echo t >/tmp/t && cat /tmp/t; grep -E '^(CapEff|NoNewPrivs|Seccomp:)' /proc/self/status | cut -f2"}}, &out)
	want := "2 65534 ro t 0000000000000000 1 2"
	if got := strings.Join(strings.Fields(out.String()), " "); err != nil || e.Code != 0 || got != want {
		fmt.Printf("%v %+v\n got  %s\n want %s\n", err, e, got, want)
		code = 1
	}
	if err := h.Close(ctx); err != nil {
		fmt.Println(err)
		code = 1
	}
	return code
}
