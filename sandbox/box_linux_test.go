package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// patience is how long anything may take on a machine that has much else to do.
const patience = time.Minute

func open(t testing.TB, change ...func(*Options)) *Host {
	t.Helper()
	o := Options{State: t.TempDir()}
	for _, f := range change {
		f(&o)
	}
	h, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), patience)
		defer stop()
		if err := h.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return h
}

func start(t testing.TB, h *Host, c Config) *Box {
	t.Helper()
	b, err := h.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Kill(); <-b.Done() })
	return b
}

// run runs a program to its end and returns what it printed.
func run(t testing.TB, h *Host, c Config, args ...string) (string, engine.Exit) {
	t.Helper()
	var out bytes.Buffer
	c.Args = args
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	e, err := h.Run(ctx, c, &out)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out.String())
	}
	return strings.TrimSpace(out.String()), e
}

func shell(t testing.TB, h *Host, c Config, script string) string {
	t.Helper()
	out, _ := run(t, h, c, "/bin/sh", "-c", script)
	return out
}

// self makes this test binary a program inside.
func self(t testing.TB, c Config) Config {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Binds = append(c.Binds, Bind{Source: exe, Target: "/runtime/test"})
	return c
}

func TestWhatABoxSees(t *testing.T) {
	h := open(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	hidden := filepath.Join(t.TempDir(), "0700", "prefix") // an interpreter below a folder only root may enter
	if err := os.MkdirAll(hidden, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(filepath.Dir(hidden), 0o700)
	os.WriteFile(filepath.Join(hidden, "tool"), []byte("#!/bin/sh\necho tool\n"), 0o755)
	other := start(t, h, Config{ID: "other", Args: []string{"/bin/sh", "-c", "echo theirs >/tmp/theirs; exec sleep 60"}})
	const shown = "/root/.tools/prefix"
	c := Config{ID: "me", Binds: []Bind{{Source: hidden, Target: shown}}}
	for _, k := range []struct{ script, want string }{
		{"ls -d " + secret + " /home /work /var/log 2>/dev/null", ""},
		{"ls /", "bin code configs dev etc lib lib64 proc root run runtime sbin secrets sys tmp userfunc usr var"},
		{"ls /tmp /code /secrets /dev/shm", "/code: /dev/shm: /secrets: /tmp:"},
		{shown + "/tool", "tool"},
		{"touch " + shown + "/x 2>&1 | grep -c 'Read-only'", "1"},
		{"for d in / /usr /etc /run /code /dev; do touch $d/x 2>/dev/null && echo wrote $d; done", ""},
		{"echo hi >/tmp/x; cat /tmp/x", "hi"},
		{"id -un; [ $(id -u) = $(id -g) ] && [ $(id -u) = \"$(id -G)\" ] && [ $(id -u) -gt " + fmt.Sprint(other.UID()) + " ] && echo own", "function own"},
		{"grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | cut -f2 | sort -u", "0000000000000000 1 2"},
		{"set -- /proc/[0-9]*; echo $#", "2"}, // init and sh, nothing of the host
		{"kill -0 " + fmt.Sprint(other.Pid()) + " 2>&1 | grep -c 'No such'", "1"},
		{"hostname", "me"},
		{"echo $HOME; pwd", "/tmp /"},
		{"ulimit -c; umask", "0 0022"},
		{"cat /proc/mounts | grep -c -E ' /(home|work|sys|old|root) '", "0"},
		{"mount -t tmpfs x /tmp 2>/dev/null || echo no", "no"},
		{"unshare -U true 2>/dev/null || echo no", "no"},
		{"su root -c true 2>/dev/null </dev/null || echo no", "no"},
		{"ls /proc/self/fd | wc -l", "4"}, // 0, 1, 2, and ls' own
		{"cat /proc/1/environ 2>/dev/null | wc -c; cat /proc/1/maps 2>/dev/null | wc -c", "0 0"},
		{"readlink /proc/1/root || echo no", "no"},
		{"dd if=/dev/zero of=/dev/null count=1 2>/dev/null; head -c 4 /dev/urandom | wc -c", "4"},
	} {
		got := strings.Join(strings.Fields(shell(t, h, c, k.script)), " ")
		if got != k.want {
			t.Errorf("%s\n got  %q\n want %q", k.script, got, k.want)
		}
	}
}

func TestSystemCalls(t *testing.T) {
	h := open(t)
	out, e := run(t, h, self(t, Config{}), "/runtime/test", "inside", "calls")
	if e.Code != 0 {
		t.Fatalf("%s: %s", e.Reason, out)
	}
	want := map[string]string{"clone3": "ENOSYS", "x32": "ENOSYS", "vsock": "EAFNOSUPPORT", "tcp": "ok", "pdeathsig": "0 0"}
	for _, l := range strings.Split(out, "\n") {
		name, got, _ := strings.Cut(l, " ")
		w := want[name]
		if w == "" {
			w = "EPERM"
		}
		if got != w {
			t.Errorf("%s: %s, want %s", name, got, w)
		}
	}
	if n := strings.Count(out, "\n"); n < 20 {
		t.Errorf("only %d calls were tried:\n%s", n, out)
	}
}

func TestDeathSignalStays(t *testing.T) {
	h := open(t)
	r, w, _ := os.Pipe()
	c := self(t, Config{Args: []string{"/runtime/test", "inside", "calls"}, Stdout: w})
	b := start(t, h, c)
	w.Close()
	var out bytes.Buffer
	out.ReadFrom(r)
	r.Close()
	<-b.Done()
	if !strings.Contains(out.String(), "pdeathsig 9 9") {
		t.Errorf("process 1 could take the signal away:\n%s", out.String())
	}
}

func TestQuota(t *testing.T) {
	h := open(t)
	out := shell(t, h, Config{Limits: engine.Limits{DiskBytes: 1 << 20}}, "head -c 2000000 /dev/zero >/tmp/x; echo $?; ls -l /tmp/x | wc -l; rm /tmp/x; echo free >/tmp/y; cat /tmp/y")
	if !strings.Contains(out, "No space left") || !strings.HasSuffix(out, "free") {
		t.Error(out)
	}
}

func TestOutOfMemory(t *testing.T) {
	h := open(t)
	if h.groups.roots["memory"] == "" {
		t.Skip("no memory cgroup")
	}
	bystander := start(t, h, Config{Args: []string{"/bin/sleep", "60"}})
	for _, init := range []bool{false, true} {
		c := self(t, Config{Args: []string{"/runtime/test", "inside", "fill"}, Limits: engine.Limits{MemoryBytes: 64 << 20}, Init: init})
		b := start(t, h, c)
		<-b.Done()
		if e := b.Exit(); !e.OOM || e.Signal != "SIGKILL" || e.Reason != "killed: out of memory (limit 64Mi)" {
			t.Errorf("init %v: %+v", init, e)
		}
	}
	select {
	case <-bystander.Done():
		t.Errorf("the other box ended: %+v", bystander.Exit())
	default:
	}
}

func TestForkBomb(t *testing.T) {
	h := open(t)
	out, _ := run(t, h, self(t, Config{Limits: engine.Limits{Processes: 50}}), "/runtime/test", "inside", "forks")
	var n int
	fmt.Sscan(out, &n)
	if !strings.Contains(out, "temporarily unavailable") || n < 10 || n > 50 {
		t.Error(out)
	}
}

func TestProcessorLimitAndEndlessLoop(t *testing.T) {
	h := open(t)
	began := time.Now()
	b := start(t, h, Config{Args: []string{"/bin/sh", "-c", "trap '' TERM; while :; do :; done"}, Limits: engine.Limits{CPUMilli: 200}})
	// How long it takes to use so much, with one period's worth and some ticks
	// for free: less time than that and there is no limit.
	var spent time.Duration
	for spent < 300*time.Millisecond {
		if spent = cpuTime(t, b.Pid()); time.Since(began) > patience {
			t.Fatalf("it used %v in %v", spent, time.Since(began))
		}
		<-time.After(10 * time.Millisecond)
	}
	if took := time.Since(began); spent-100*time.Millisecond > took/5 {
		t.Errorf("used %v in %v, the limit is a fifth", spent, took)
	}
	b.Signal(syscall.SIGTERM) // ignored
	b.Kill()
	<-b.Done()
	if e := b.Exit(); e.Signal != "SIGKILL" || e.OOM || e.Reason != "killed" {
		t.Errorf("%+v", e)
	}
}

func cpuTime(t *testing.T, pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')'):]))
	var u, s int
	fmt.Sscan(f[12], &u)
	fmt.Sscan(f[13], &s)
	return time.Duration(u+s) * 10 * time.Millisecond
}

func TestExits(t *testing.T) {
	h := open(t)
	for _, init := range []bool{false, true} {
		for _, k := range []struct {
			args   []string
			code   int
			signal string
			reason string
		}{
			{[]string{"true"}, 0, "", "exited"},
			{[]string{"sh", "-c", "exit 7"}, 7, "", "exited with status 7"},
		} {
			b := start(t, h, Config{Args: k.args, Init: init})
			<-b.Done()
			if e := b.Exit(); e.Code != k.code || e.Signal != k.signal || e.Reason != k.reason || e.At.IsZero() {
				t.Errorf("init %v %v: %+v", init, k.args, e)
			}
		}
	}
	b := start(t, h, Config{Args: []string{"sleep", "60"}, Init: true}) // forwarded, and fatal by default below an init
	b.Signal(syscall.SIGTERM)
	<-b.Done()
	if e := b.Exit(); e.Code != -1 || e.Signal != "SIGTERM" || e.Reason != "ended by SIGTERM" {
		t.Errorf("%+v", e)
	}
	for _, c := range []Config{
		{Args: []string{"/no/such"}}, {Args: []string{"nosuchprogram"}, Init: true}, {Args: []string{"/etc/hosts/"}},
		{Args: []string{"true"}, Dir: "/none"}, {Args: []string{"true"}, ID: "../x"}, {},
	} {
		if b, err := h.Start(t.Context(), c); err == nil {
			t.Errorf("%+v started: %+v", c, b.Exit())
		}
	}
}

func TestHold(t *testing.T) {
	h := open(t)
	r, w, _ := os.Pipe()
	defer r.Close()
	b := start(t, h, Config{Hold: true, Stdout: w})
	w.Close()
	code := t.TempDir()
	os.Chmod(code, 0o755)
	os.WriteFile(filepath.Join(code, "main.sh"), []byte("#!/bin/sh\necho $NAME; cat /secrets/a/b; pwd\n"), 0o755)
	if err := b.Attach(code, "/code", false); err != nil {
		t.Fatal(err)
	}
	if err := b.AttachFiles([]engine.File{{Path: "/secrets/a/b", Data: []byte("sesame\n")}}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := b.Exec([]string{"./main.sh"}, []string{"NAME=value"}, "/code"); err != nil {
		t.Fatal(err)
	}
	t.Logf("exec of a held box: %v", time.Since(begin))
	var out bytes.Buffer
	out.ReadFrom(r)
	if got := out.String(); got != "value\nsesame\n/code\n" {
		t.Errorf("%q", got)
	}
	if err := b.Exec([]string{"true"}, nil, ""); err == nil {
		t.Error("a box went on twice")
	}
	idle := start(t, h, Config{Hold: true})
	idle.Kill()
	<-idle.Done()
	bad := start(t, h, Config{Hold: true})
	if err := bad.Exec([]string{"/no/such"}, nil, ""); err == nil {
		t.Error("what does not exist was started")
	}
}

func TestAttach(t *testing.T) {
	h := open(t)
	b := start(t, h, Config{Args: []string{"/bin/sleep", "60"}})
	dir := t.TempDir()
	os.Chmod(dir, 0o777)
	os.WriteFile(filepath.Join(dir, "f"), []byte("code"), 0o644)
	var took []time.Duration
	for _, target := range []string{"/code", "/userfunc"} {
		begin := time.Now()
		if err := b.Attach(dir, target, target == "/userfunc"); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	if err := b.AttachFiles([]engine.File{{Path: "/configs/x/y", Data: []byte("why")}, {Path: "/secrets/s", Data: []byte("s")}}); err != nil {
		t.Fatal(err)
	}
	t.Logf("attach: %v", took)
	home, _ := os.Readlink("/proc/self/ns/mnt") // of the first thread
	for range 50 {
		if err := b.Attach(dir, "/runtime", false); err != nil {
			t.Fatal(err)
		}
	}
	if now, _ := os.Readlink("/proc/self/ns/mnt"); now != home {
		t.Errorf("the process' first thread was left in the box: %s, was %s", now, home)
	}
	root := fmt.Sprintf("/proc/%d/root", b.Pid())
	if got, err := os.ReadFile(root + "/code/f"); err != nil || string(got) != "code" {
		t.Errorf("%q %v", got, err)
	}
	for _, ro := range []string{"/code/f", "/secrets/s", "/configs/x/y"} {
		if err := os.WriteFile(root+ro, []byte("x"), 0o644); !errors.Is(err, syscall.EROFS) {
			t.Errorf("write %s: %v", ro, err)
		}
	}
	if err := os.WriteFile(root+"/userfunc/new", nil, 0o644); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(root + "/secrets/s"); err != nil || st.Mode() != 0o400 || int(st.Sys().(*syscall.Stat_t).Uid) != b.UID() {
		t.Errorf("%v %v", st, err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(mounts), "/userfunc") {
		t.Error("the mount is seen on the host")
	}
	for _, bad := range []string{"/etc", "/code/../usr", "relative", "/"} {
		if err := b.Attach(dir, bad, false); err == nil {
			t.Errorf("attached at %s", bad)
		}
	}
	if err := b.AttachFiles([]engine.File{{Path: "/secrets/../etc/x"}}); err == nil {
		t.Error("a file was put outside")
	}
	b.Kill()
	<-b.Done()
	if err := b.Attach(dir, "/code", false); err == nil {
		t.Error("attached to a box that has ended")
	}
}

func TestLimitWhileRunning(t *testing.T) {
	h := open(t)
	b := start(t, h, Config{Args: []string{"/bin/sleep", "60"}, Limits: engine.Limits{MemoryBytes: 64 << 20}})
	for _, m := range []int64{32 << 20, 256 << 20, 0, 128 << 20} {
		if err := b.Limit(engine.Limits{MemoryBytes: m, CPUMilli: 500, Processes: 20}); err != nil {
			t.Errorf("%d: %v", m, err)
		}
	}
	if u, err := b.Usage(); err != nil || u.MemoryBytes <= 0 || u.Processes != 1 {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestRun(t *testing.T) {
	h := open(t)
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "in"), []byte("a"), 0o600)
	got := shell(t, h, Config{WriteDir: dir, Dir: "/code"}, "cat in; mkdir -p out/deep; echo built >out/deep/x; pwd")
	if got != "a/code" {
		t.Errorf("%q", got)
	}
	st, err := os.Stat(filepath.Join(dir, "out/deep/x"))
	if err != nil || st.Sys().(*syscall.Stat_t).Uid != uint32(os.Getuid()) {
		t.Errorf("%v %v", st, err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	var out bytes.Buffer
	if _, err := h.Run(ctx, Config{Args: []string{"sh", "-c", "setsid sleep 60 & sleep 60"}}, &out); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// TestNothingLeaks starts a hundred boxes and compares what this process and
// the kernel hold before and after; it prints the time a start takes.
func TestNothingLeaks(t *testing.T) {
	h := open(t)
	one := func() time.Duration {
		b, err := h.Start(t.Context(), Config{Args: []string{"/bin/true"}})
		if err != nil {
			t.Fatal(err)
		}
		<-b.Done()
		return b.StartTime()
	}
	one()
	count := func() string {
		fds, _ := os.ReadDir("/proc/self/fd")
		mounts, _ := os.ReadFile("/proc/self/mounts") // others have theirs at the same time
		groups := 0
		for _, d := range h.groups.folders() {
			e, _ := os.ReadDir(d)
			groups += slices.IndexFunc(e, func(x os.DirEntry) bool { return x.IsDir() }) + 1
		}
		return fmt.Sprintf("descriptors %d, mounts %d, cgroups %d, users %d, boxes %d", len(fds), bytes.Count(mounts, []byte(h.state)), groups, len(h.users), len(h.boxes))
	}
	before := count()
	var times []time.Duration
	for range 100 {
		times = append(times, one())
	}
	if after := count(); after != before {
		t.Errorf("before: %s\nafter:  %s", before, after)
	}
	slices.Sort(times)
	t.Logf("start of /bin/true: median %v, p90 %v, least %v", times[50], times[90], times[0])
}

// TestManyAtOnce starts and kills boxes from many goroutines, and closes the
// host while some are starting.
func TestManyAtOnce(t *testing.T) {
	h, err := Open(t.Context(), Options{State: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	started := make(chan struct{}, 1000)
	for i := range 8 {
		wg.Go(func() {
			for {
				b, err := h.Start(t.Context(), Config{Args: []string{"/bin/sleep", "60"}, Init: i%2 == 0})
				if err != nil {
					return // closed
				}
				started <- struct{}{}
				if i%3 == 0 {
					b.Kill()
					<-b.Done()
				}
			}
		})
	}
	late := time.After(patience)
	for n := range 40 {
		select {
		case <-started:
		case <-late:
			t.Fatalf("only %d were started", n)
		}
	}
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := h.Start(t.Context(), Config{Args: []string{"true"}}); err == nil {
		t.Error("a closed host started a box")
	}
	for _, d := range h.groups.folders() {
		if exists(d) {
			t.Errorf("%s is still there", d)
		}
	}
}
