package container

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

func TestCommandAndEnvironment(t *testing.T) {
	b := open(t)
	img := push(t, v1.Config{Entrypoint: []string{"server"}, Cmd: []string{"serve", "image"}, WorkingDir: "/srv/app", User: "app",
		Env: []string{"PATH=/bin", "FROM=image", "BOTH=image"}}, map[string]string{"srv/app/file": "of the image"})
	number, group := int64(4000), int64(5000)
	for _, c := range []struct {
		c    engine.Container
		want string
	}{
		{engine.Container{}, `["server" "serve" "image"] in /srv/app as 1000:1001`},
		{engine.Container{Args: []string{"serve", "own"}}, `["server" "serve" "own"] in /srv/app as 1000:1001`},
		{engine.Container{Command: []string{"/bin/server"}}, `["/bin/server"] in /srv/app as 1000:1001`},
		{engine.Container{Command: []string{"/bin/server", "serve"}, Args: []string{"x"}, Dir: "/new", User: &number, Group: &group},
			`["/bin/server" "serve" "x"] in /new as 4000:5000`},
	} {
		c.c.Image, c.c.Env = img, map[string]string{"BOTH": "container"}
		s := pod(c.c)
		s.Files = []engine.File{{Path: "/secrets/db/password", Data: []byte("p")}}
		in := b.start(t, s)
		if got := ask(t, in, "/?args"); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
		for name, want := range map[string]string{"FROM": "image", "BOTH": "container", "PORT": "8080", "HOSTNAME": in.ID(), "PATH": "/bin"} {
			if got := ask(t, in, "/?env="+name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		for path, want := range map[string]string{"/srv/app/file": "of the image", "/etc/hostname": in.ID() + "\n", "/secrets/db/password": "p"} {
			if got := ask(t, in, "/?read="+path); got != want {
				t.Errorf("%s holds %q, want %q", path, got, want)
			}
		}
		if got := ask(t, in, "/?stat=/tmp"); got != "dtrwxrwxrwx" {
			t.Errorf("/tmp is %s", got)
		}
		ask(t, in, "/?print=hello")
		if l := b.line(t, "hello"); l.Text != "hello" || l.Stream != "stdout" || l.Revision != "app-00001" || l.Instance != in.ID() || l.Tenant != "default" {
			t.Errorf("line %+v", l)
		}
		in.Stop(t.Context())
	}
}

func TestSeveralContainers(t *testing.T) {
	b := open(t)
	img := served(t)
	s := pod(engine.Container{Image: img, Mounts: []engine.Mount{{Volume: "shared", Path: "/data"}, {Volume: "secret", Path: "/etc/secret"}, {Volume: "shared", Path: "/one", SubPath: "made"}},
		ReadOnlyRoot: true},
		engine.Container{Image: img, Args: []string{"at", "9000"}, Readiness: &engine.Probe{HTTP: &engine.HTTPProbe{Port: 9000, Path: "/health"}, Period: time.Second}})
	s.Pod.Init = []engine.Container{
		{Name: "first", Image: img, Args: []string{"write", "/data/made", "by init"}, Mounts: []engine.Mount{{Volume: "shared", Path: "/data", Write: true}}},
		{Name: "second", Image: img, Args: []string{"exists", "/data/made"}, Mounts: []engine.Mount{{Volume: "shared", Path: "/data", Write: true}}},
	}
	s.Pod.Volumes = []engine.Volume{{Name: "shared", Empty: true},
		{Name: "secret", Files: []engine.VolumeFile{{Path: "key", Data: []byte("k"), Mode: 0o400}, {Path: "sub/cert", Data: []byte("c")}}}}
	in := b.start(t, s)
	for target, want := range map[string]string{
		"/?read=/data/made": "by init", "/?read=/one": "by init", "/?read=/etc/secret/key": "k", "/?stat=/etc/secret/key": "-r--------", "/?stat=/etc/secret/sub/cert": "-rw-r--r--",
		"/?dial=127.0.0.1:9000": "connected", "/?write=/x": "open /x: read-only file system", "/?write=/tmp/x": "", "/?write=/etc/secret/x": "open /etc/secret/x: read-only file system",
	} {
		if got := ask(t, in, target); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	ask(t, in, "/?print=hello")
	b.line(t, "[user-container] hello")
	other := in.(*instance).boxes[1]
	other.Kill()
	if x := ends(t, in); x.Reason != "sidecar killed" {
		t.Errorf("%+v", x)
	}

	s.Pod.Init[1].Args[1] = "/data/never"
	e := b.fails(t, s)
	if e.Message != "init container second exited with status 1" || !strings.Contains(e.Detail, "no such file") {
		t.Errorf("%+v", e)
	}
}

func TestIsolation(t *testing.T) {
	b := open(t)
	in := b.start(t, pod(engine.Container{Image: served(t)}))
	for target, want := range map[string]string{
		"/?list=/":           "bin dev etc proc sys tmp ",
		"/?list=/dev":        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ",
		"/?read=" + b.copies: "open " + b.copies + ": no such file or directory",
	} {
		if got := ask(t, in, target); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
	if got := ask(t, in, "/?args"); !strings.HasSuffix(got, "as 0:0") {
		t.Error(got)
	}
	pid := in.(*instance).boxes[0].Pid()
	st, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !strings.Contains(string(st), "\nUid:\t1073") {
		t.Errorf("user 0 of the container is the host's: %s %v", st, err)
	}
	images, _ := filepath.Glob(filepath.Join(filepath.Dir(b.copies), "..", "images", "layers", "*", "fs", "bin", "server"))
	for _, f := range images {
		if n, _ := os.ReadFile(f); string(n) != string(server()) {
			t.Errorf("%s is not as it was", f)
		}
	}
}

// TestVerdicts shows each way not to come up, and how it is told.
func TestVerdicts(t *testing.T) {
	b := open(t)
	img := served(t)
	with := func(c engine.Container, change ...func(*engine.Spec)) engine.Spec {
		c.Image = img
		s := pod(c)
		for _, f := range change {
			f(&s)
		}
		return s
	}
	// Two wait for all of their time: what else there is to show goes on meanwhile.
	soon := func(s *engine.Spec) { s.Pod.Progress = 5 * time.Second } // enough for it to listen
	t.Run("why", func(t *testing.T) {
		for _, c := range []struct {
			name                  string
			spec                  engine.Spec
			code                  api.Code
			message, detail, hint string
		}{
			{"no such file", with(engine.Container{Command: []string{"/app"}}), api.CodeLoadFailed, `container user-container cannot run "/app": /app: no such file or directory`, "/app", "not in the image"},
			{"not in PATH", with(engine.Container{Command: []string{"gunicorn"}}), api.CodeLoadFailed, `container user-container cannot run "gunicorn": no program gunicorn in PATH`, "gunicorn", "check command"},
			{"not executable", with(engine.Container{Command: []string{"/etc/passwd"}}), api.CodeLoadFailed, `cannot run "/etc/passwd": /etc/passwd: permission denied`, "", "chmod +x"},
			{"no folder", with(engine.Container{Dir: "/etc/passwd"}), api.CodeLoadFailed, "working folder /etc/passwd: not a directory", "", "check workingDir"},
			{"crash", with(engine.Container{Args: []string{"exit", "7", "ImportError: no module named shop"}}), api.CodeLoadFailed,
				"container user-container exited with status 7 before it was ready", "ImportError: no module named shop", ""},
			{"exits", with(engine.Container{Args: []string{"exit", "0", "done"}}), api.CodeLoadFailed, "container user-container exited before it was ready", "done", "stay"},
			{"wrong port", with(engine.Container{Args: []string{"at", "3000"}}, soon), api.CodeStartFailed,
				"container user-container never became ready on port 8080 within 5s; it listens on port 3000", "", "set containerPort to 3000"},
			{"no port", with(engine.Container{Args: []string{"deaf"}}, soon), api.CodeStartFailed,
				"container user-container never became ready on port 8080 within 5s; it listens on no port", "", "$PORT"},
			{"memory", with(engine.Container{Args: []string{"eat"}, Limits: engine.Limits{MemoryBytes: 64 << 20}}), api.CodeLoadFailed,
				"container user-container killed: out of memory (limit 64Mi) before it was ready", "", "raise"},
			{"readiness", with(engine.Container{Readiness: &engine.Probe{HTTP: &engine.HTTPProbe{Port: 8080, Path: "/?x"}, Period: 100 * time.Millisecond, Timeout: patience}},
				func(s *engine.Spec) { s.Pod.Containers[0].Args = []string{"crash"} }), api.CodeLoadFailed, "exited with status 3", "", ""},
			{"startup", with(engine.Container{Startup: &engine.Probe{Exec: []string{"server", "exists", "/nothing"}, Period: 10 * time.Millisecond, Timeout: patience, Failure: 2}}),
				api.CodeStartFailed, "the startup probe of container user-container failed 2 times: server exists /nothing: exited with status 1: stat /nothing: no such file", "", ""},
			{"grpc", with(engine.Container{Readiness: &engine.Probe{GRPC: &engine.GRPCProbe{Port: 8080, Service: "ill"}}}, soon),
				api.CodeStartFailed, "never became ready within 5s: health check on port 8080: NOT_SERVING", "", "answered with success"},
			{"nobody", with(engine.Container{NonRoot: true}), api.CodeLoadFailed, "container user-container cannot run: it would run as user 0 (root), and runAsNonRoot is set", "", "runAsUser"},
			{"no volume", with(engine.Container{Mounts: []engine.Mount{{Volume: "x", Path: "/x"}}}), api.CodeInvalid, `volume "x"`, "", ""},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				e := b.fails(t, c.spec)
				if e.Code != c.code || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Detail, c.detail) || !strings.Contains(e.Help(), c.hint) {
					t.Errorf("%s: %s\nhint: %s\ndetail: %s", e.Code, e.Message, e.Help(), e.Detail)
				}
				if lines := strings.Count(e.Detail, "\n"); lines > 20 || len(e.Detail) > 5000 {
					t.Errorf("the detail has %d lines, %d bytes", lines, len(e.Detail))
				}
			})
		}
	})
	if n := b.alive(); n != 0 {
		t.Errorf("%d instances are alive", n)
	}
	b.blanks.close() // those that wait have their folders
	var left []string
	filepath.WalkDir(filepath.Join(filepath.Dir(b.copies), "..", "sandbox", "roots"), func(p string, d fs.DirEntry, err error) error {
		if strings.Contains(p, "upper") {
			left = append(left, p)
		}
		return nil
	})
	if len(left) > 0 {
		t.Errorf("what they wrote is still there: %v", left)
	}
}

func TestProbes(t *testing.T) {
	b := open(t)
	img, port := served(t), 8080
	in := b.start(t, pod(engine.Container{Image: img,
		Startup:   &engine.Probe{TCP: &port, Period: 20 * time.Millisecond, Failure: 5000},
		Readiness: &engine.Probe{HTTP: &engine.HTTPProbe{Port: 8080, Path: "/health?a=b", Host: "me", Header: [][2]string{{"X-Probe", "yes"}}}, Timeout: patience},
		Liveness:  &engine.Probe{HTTP: &engine.HTTPProbe{Port: 8080, Path: "/health"}, Period: 20 * time.Millisecond, Timeout: patience, Failure: 2},
	}))
	ask(t, in, "/sick")
	if x := ends(t, in); x.Reason != "killed: the liveness probe failed 2 times: GET /health on port 8080: status 500" {
		t.Errorf("%+v", x)
	}
	b.line(t, "instance killed: the liveness probe failed 2 times")

	in = b.start(t, pod(engine.Container{Image: img,
		Readiness: &engine.Probe{GRPC: &engine.GRPCProbe{Port: 8080, Service: "shop"}},
		Liveness:  &engine.Probe{Exec: []string{"server", "exists", "/tmp/alive"}, Delay: 10 * time.Millisecond, Period: 20 * time.Millisecond, Timeout: patience, Failure: 1},
		Startup:   &engine.Probe{Exec: []string{"server", "write", "/tmp/alive"}, Period: 10 * time.Millisecond, Timeout: patience},
	}))
	if x := ends(t, startedAndBroken(t, in)); !strings.HasPrefix(x.Reason, "killed: the liveness probe failed 1 times: server exists /tmp/alive: exited with status 1") {
		t.Errorf("%+v", x)
	}
}

// startedAndBroken takes away what the liveness probe looks for.
func startedAndBroken(t *testing.T, in engine.Instance) engine.Instance {
	t.Helper()
	box := in.(*instance).boxes[0]
	if err := os.Remove(fmt.Sprintf("/proc/%d/root/tmp/alive", box.Pid())); err != nil {
		t.Fatal(err)
	}
	return in
}

func TestStop(t *testing.T) {
	b := open(t)
	img := served(t)
	stop := func(s engine.Spec, why string) {
		t.Helper()
		in := b.start(t, s)
		if err := in.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if x := in.Exit(); x.Reason != why {
			t.Errorf("%+v, want %s", x, why)
		}
		if _, err := try(t.Context(), in, "/"); err == nil {
			t.Error("it answers after its end")
		}
	}
	stop(pod(engine.Container{Image: img}), "stopped")
	b.line(t, "asked to stop by terminated")
	stop(pod(engine.Container{Image: push(t, v1.Config{Entrypoint: []string{"/bin/server"}, StopSignal: "SIGUSR1"})}), "stopped")
	b.line(t, "asked to stop by user defined signal 1")
	s := pod(engine.Container{Image: img, Args: []string{"ignore"}})
	s.Pod.Grace = 100 * time.Millisecond
	stop(s, "stopped")

	// A program that does not even hear the signal is not waited for.
	s = pod(engine.Container{Image: img, Args: []string{"deaf"}, Readiness: &engine.Probe{Exec: []string{"server", "exists", "/bin/server"}}}, engine.Container{Image: img, Args: []string{"at", "9000"}})
	s.Pod.Grace = time.Hour
	stop(s, "stopped")
}

func TestLimits(t *testing.T) {
	b := open(t)
	img := served(t)
	s := pod(engine.Container{Image: img, Limits: engine.Limits{MemoryBytes: 64 << 20, CPUMilli: 500, Processes: 50}})
	in := b.start(t, s)
	memory, cpu := ask(t, in, "/?read=/sys/fs/cgroup/memory/memory.limit_in_bytes"), ask(t, in, "/?read=/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
	if strings.HasPrefix(memory, "open ") {
		memory, cpu = ask(t, in, "/?read=/sys/fs/cgroup/memory.max"), strings.Fields(ask(t, in, "/?read=/sys/fs/cgroup/cpu.max"))[0]+"\n"
	}
	if memory != "67108864\n" || cpu != "50000\n" {
		t.Errorf("the limits seen inside are %q and %q", memory, cpu)
	}
	if got, err := try(t.Context(), in, "/?eat"); err == nil {
		t.Errorf("it answered %q", got)
	}
	if x := ends(t, in); !x.OOM || x.Reason != "killed: out of memory (limit 64Mi)" {
		t.Errorf("%+v", x)
	}
	for range 2 { // with a box that waited, and perhaps one that did not
		in = b.start(t, pod(engine.Container{Image: img, Limits: engine.Limits{MemoryBytes: 12 << 20}}))
		if got := ask(t, in, "/?env=PORT"); got != "8080" {
			t.Error(got)
		}
		in.Stop(t.Context())
	}
	in = b.start(t, pod(engine.Container{Image: img, Limits: engine.Limits{DiskBytes: 1 << 20}}))
	ask(t, in, "/?fill=/tmp/big")
	if x := ends(t, in); !strings.HasPrefix(x.Reason, "killed: user-container wrote ") || !strings.HasSuffix(x.Reason, "Ki to its disk (limit 1Mi)") {
		t.Errorf("%+v", x)
	}
}

// TestWithoutOverlay runs images where layers cannot be stacked.
func TestWithoutOverlay(t *testing.T) {
	b := open(t, "overlay")
	img := push(t, v1.Config{Entrypoint: []string{"/bin/server"}}, map[string]string{"gone": "x", "app/old": "o"}, map[string]string{".wh.gone": "", "app/.wh..wh..opq": "", "app/new": "n"})
	ins := []engine.Instance{b.start(t, pod(engine.Container{Image: img})), b.start(t, pod(engine.Container{Image: img}))}
	for _, in := range ins {
		if got := ask(t, in, "/?list=/"); got != "app bin dev etc proc sys tmp " {
			t.Error(got)
		}
		if got := ask(t, in, "/?list=/app"); got != "new " {
			t.Error(got)
		}
	}
	ask(t, ins[0], "/?write=/app/new")
	if got := ask(t, ins[1], "/?read=/app/new"); got != "n" {
		t.Errorf("one sees what the other wrote: %q", got)
	}
	for _, in := range ins {
		in.Stop(t.Context())
	}
	if left, _ := os.ReadDir(b.copies); len(left) > 0 {
		t.Errorf("copies are left: %v", left)
	}
}

func TestWhiteouts(t *testing.T) {
	b := open(t)
	img := push(t, v1.Config{Entrypoint: []string{"/bin/server"}}, map[string]string{"gone": "x", "app/old": "o"}, map[string]string{".wh.gone": "", "app/.wh..wh..opq": "", "app/new": "n"})
	in := b.start(t, pod(engine.Container{Image: img}))
	if got := ask(t, in, "/?list=/") + ask(t, in, "/?list=/app"); got != "app bin dev etc proc sys tmp new " {
		t.Error(got)
	}
	if _, err := b.store.Collect(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, in, "/?list=/app"); got != "new " {
		t.Errorf("the image of a running instance was dropped: %q", got)
	}
	in.Stop(t.Context())
	if err := b.Forget(t.Context(), img); err != nil {
		t.Fatal(err)
	}
}
