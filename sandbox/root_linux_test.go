package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// tool is a static program for images, compiled once.
var tool = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "hearth-tool-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c := exec.Command("go", "build", "-o", filepath.Join(dir, "tool"), "./testdata/tool")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "tool"))
})

// layer makes a folder with the tool at /bin/tool and other files; a name that
// ends with / is a folder, one with -> a link.
func layer(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	exe, err := tool()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(filepath.Join(dir, "bin/tool"), exe, 0o755)
	for name, text := range files {
		if err != nil {
			break
		}
		at := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(at), 0o755)
		if to, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(to, at)
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(at, 0o755)
		} else {
			err = os.WriteFile(at, []byte(text), 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func share(t testing.TB, h *Host, network string) *Shared {
	t.Helper()
	s, err := h.Share("pod-1", network)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// inRoot runs the tool in a root and returns its lines.
func inRoot(t testing.TB, h *Host, c Config, steps ...string) []string {
	t.Helper()
	if c.Shared == nil {
		c.Shared = share(t, h, NetworkNone)
	}
	c.Args = append([]string{"/bin/tool"}, steps...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdout, c.Stderr = w, w
	b, err := h.Start(t.Context(), c)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	io.Copy(&out, r)
	<-b.Done()
	return strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
}

func want(t testing.TB, got []string, want ...string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("line %d is %q, want %q", i, g, w)
		}
	}
}

const passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n"

func TestRootIsTheImage(t *testing.T) {
	h := open(t)
	lower := layer(t, map[string]string{"etc/passwd": passwd, "etc/motd": "lower", "app/data": "x", "proc": "-> /etc", "etc/hosts": "-> /app/data"})
	upper := layer(t, map[string]string{"etc/motd": "upper"})
	c := Config{Root: &Root{Layers: []string{upper, lower}}, Dir: "/made/here", Env: []string{"A=b"}}
	got := inRoot(t, h, c, "id", "--", "cat", "/etc/motd", "--", "ls", "/", "--", "stat", "/app/data", "--", "pwd", "--", "hostname", "--",
		"cat", "/etc/hostname", "--", "env", "HOME", "--", "env", "A", "--", "stat", "/tmp", "--", "write", "/app/data", "y", "--", "chown", "/app/data", "--",
		"stat", "/app/data", "--", "ls", "/dev", "--", "remove", "/app", "--", "mkdir", "/app", "--", "ls", "/app", "--", "cat", "/proc/1/comm")
	want(t, got, "0 0 [0]", "upper", "app bin dev etc made proc sys tmp", "644 0:0", "/made/here", "pod-1", "pod-1", "/root", "b", "1777 0:0",
		"written", "chowned", "644 7:8", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero", "removed", "made", "", "tool")
	if b, _ := os.ReadFile(filepath.Join(lower, "app/data")); string(b) != "x" {
		t.Errorf("the layer was written: %q", b)
	}
}

func TestRootIsNoRootOfTheHost(t *testing.T) {
	h := open(t)
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("of the host"), 0o600)
	s := share(t, h, NetworkNone)
	c := Config{Shared: s, Root: &Root{Layers: []string{layer(t, nil)}}}
	got := inRoot(t, h, c, "mount", "--", "mknod", "--", "cat", secret, "--", "write", "/sys/kernel/mm/transparent_hugepage/enabled", "never", "--",
		"ls", "/sys/firmware", "--", "status", "NoNewPrivs", "--", "status", "CapBnd", "--", "status", "Seccomp")
	want(t, got, "mount: operation not permitted", "mknod: operation not permitted", "cat: open "+secret+": no such file or directory",
		"write: open /sys/kernel/mm/transparent_hugepage/enabled: read-only file system", "", "1", "00000000800005fb", "2")
	c.ID = "opens"
	for _, line := range inRoot(t, h, c, "open", "/proc/sysrq-trigger", "--", "open", "/proc/sys/kernel/hostname", "--", "open", "/proc/kcore", "--", "open", "/proc/kmsg", "--", "open", "/dev/kmsg", "--", "open", "/proc/self/exe") {
		if line == "opened" {
			t.Errorf("one of the files was opened")
		}
	}
	c.Args = []string{"/bin/tool", "write", "/tmp/mine", "x", "--", "wait"}
	b := start(t, h, c)
	for _, id := range []string{"Uid", "Gid"} {
		if line := hostStatus(t, b.Pid(), id); !strings.HasPrefix(line, "1073") {
			t.Errorf("%s on the host is %s, want one of the range", id, line)
		}
	}
}

func hostStatus(t testing.TB, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func TestRootUsers(t *testing.T) {
	h := open(t)
	image := layer(t, map[string]string{"etc/passwd": passwd, "etc/group": "app:x:1001:\naudio:x:29:app,x\nvideo:x:44:x\n"})
	big, group := int64(1_000_650_000), int64(77)
	for _, c := range []struct {
		root Root
		want string
	}{
		{Root{User: "app"}, "1000 1001 [29 1001] /home/app 0000000000000000"},
		{Root{User: "1000"}, "1000 1001 [29 1001] /home/app 0000000000000000"},
		{Root{User: "app:video"}, "1000 44 [44] /home/app 0000000000000000"},
		{Root{User: "4242"}, "4242 0 [0]  0000000000000000"},
		{Root{User: "app", UID: &big, GID: &group}, "1000650000 77 [77]  0000000000000000"},
		{Root{User: "root", DropCaps: []string{"ALL"}, AddCaps: []string{"CAP_CHOWN"}}, "0 0 [0] /root 0000000000000001"},
	} {
		c.root.Layers = []string{image}
		got := inRoot(t, h, Config{Root: &c.root}, "id", "--", "env", "HOME", "--", "status", "CapEff")
		if line := strings.Join(got, " "); line != c.want {
			t.Errorf("%s: %q, want %q", c.root.User, line, c.want)
		}
	}
	for _, c := range []struct {
		root Root
		want string
	}{
		{Root{User: "nobody-here"}, `user "nobody-here" is not in the image's /etc/passwd`},
		{Root{NonRoot: true}, "runAsNonRoot"},
		{Root{AddCaps: []string{"SYS_ADMIN"}}, "is not given to containers"},
		{Root{DropCaps: []string{"SYS_ADMNI"}}, "there is no capability"},
	} {
		c.root.Layers = []string{image}
		_, err := h.Start(t.Context(), Config{Shared: share(t, h, NetworkNone), Root: &c.root, Args: []string{"/bin/tool"}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q in it", err, c.want)
		}
	}
}

func TestRootVolumes(t *testing.T) {
	h := open(t)
	s := share(t, h, NetworkNone)
	volume := func(c VolumeConfig) *Volume {
		v, err := s.Volume(c)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	secret := volume(VolumeConfig{Files: []engine.VolumeFile{{Path: "a/key", Data: []byte("k"), Mode: 0o400}, {Path: "cert", Data: []byte("c")}}})
	disk, memory := volume(VolumeConfig{}), volume(VolumeConfig{Memory: true, Size: 64 << 10})
	image := layer(t, map[string]string{"evil": "-> /etc", "etc/app.conf": "old"})
	c := Config{Shared: s, Root: &Root{Layers: []string{image}, ReadOnly: true, Mounts: []Mount{
		{Volume: secret, Path: "/secrets"}, {Volume: secret, Path: "/etc/app.conf", SubPath: "cert"}, {Volume: disk, Path: "/evil/data", SubPath: "sub", Write: true},
		{Volume: disk, Path: "/all"}, {Volume: memory, Path: "/mem", Write: true},
	}}}
	got := inRoot(t, h, c, "stat", "/secrets/a/key", "--", "stat", "/secrets/cert", "--", "cat", "/etc/app.conf", "--", "write", "/secrets/x", "--",
		"write", "/etc/data/f", "shared", "--", "cat", "/all/sub/f", "--", "write", "/all/x", "--", "fill", "/mem/f", "100000", "--", "write", "/x", "--", "write", "/tmp/x", "--", "stat", "/all")
	want(t, got, "400 0:0", "644 0:0", "c", "write: open /secrets/x: read-only file system", "written", "shared", "write: open /all/x: read-only file system",
		"fill: write /mem/f: no space left on device", "write: open /x: read-only file system", "written", "777 0:0")
	c.ID = "second"
	want(t, inRoot(t, h, c, "cat", "/etc/data/f"), "shared")
	if n := disk.Used(); n < 4096 {
		t.Errorf("the volume takes %d bytes", n)
	}
	os.Symlink("/etc", filepath.Join(disk.path, "way-out"))
	c.Root.Mounts, c.Args = []Mount{{Volume: disk, Path: "/x", SubPath: "way-out/ssl"}}, []string{"/bin/tool"}
	if _, err := h.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "subPath") {
		t.Errorf("a link out of a volume: %v", err)
	}
}

func TestSharedNetwork(t *testing.T) {
	h := open(t)
	for _, network := range []string{NetworkNone, NetworkPrivate} {
		s := share(t, h, network)
		c := Config{Shared: s, Root: &Root{Layers: []string{layer(t, nil)}, User: "1234"}, Args: []string{"/bin/tool", "listen", "127.0.0.1:80", "--", "wait"}}
		b := start(t, h, c)
		eventually(t, func() bool { p, err := s.Listening(); return err == nil && len(p) == 1 && p[0] == 80 })
		c.ID = "other"
		want(t, inRoot(t, h, c, "dial", "127.0.0.1:80"), "hello from /bin/tool")
		nc, err := s.Dial(t.Context(), "tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := io.ReadAll(nc); string(text) != "hello from /bin/tool\n" {
			t.Errorf("dialled and read %q", text)
		}
		nc.Close()
		b.Kill()
		<-b.Done()
		s.Close()
		if _, err := s.Dial(t.Context(), "tcp", "127.0.0.1:80"); err == nil {
			t.Error("a network that was closed can be dialled")
		}
	}
}

func eventually(t testing.TB, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}

func TestHeldBoxEntersARoot(t *testing.T) {
	h := open(t)
	s := share(t, h, NetworkNone)
	r, w, _ := os.Pipe()
	defer r.Close()
	b, err := h.Start(t.Context(), Config{Shared: s, Hold: true, Stdout: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Enter(t.Context(), Config{Root: &Root{Layers: []string{layer(t, nil)}}, Args: []string{"tool", "id"}, Env: []string{"PATH=/bin"}}); err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(r)
	if string(text) != "0 0 [0]\n" {
		t.Errorf("it printed %q", text)
	}
	<-b.Done()
}

// TestRootWithoutMechanisms runs the same image where the host refuses more and
// more.
func TestRootWithoutMechanisms(t *testing.T) {
	for _, without := range [][]string{{"container users"}, {"overlay"}, {"overlay", "container users"}, {"seccomp"}, {"private network"}} {
		t.Run(strings.Join(without, ","), func(t *testing.T) {
			h := open(t, func(o *Options) { o.Without = without })
			image := layer(t, map[string]string{"etc/passwd": passwd, "proc": "-> /etc"})
			root := &Root{Layers: []string{image}, User: "app"}
			if !h.Overlay() {
				root = &Root{Dir: image, User: "app"}
			}
			got := inRoot(t, h, Config{Shared: share(t, h, NetworkPrivate), Root: root}, "id", "--", "cat", "/etc/hostname", "--", "write", "/tmp/x", "--", "write", "/etc/x", "--", "mount", "--", "stat", "/bin/tool")
			want(t, got, "1000 1001 [1001]", "pod-1", "written", "write: open /etc/x: permission denied", "mount: operation not permitted", "755 0:0")
			root.User = ""
			got = inRoot(t, h, Config{Shared: share(t, h, NetworkPrivate), Root: root}, "id", "--", "mknod", "--", "status", "CapEff", "--", "open", "/proc/1/exe")
			want(t, got, "0 0 [0]", "mknod: operation not permitted", "00000000800005fb", "open: open /proc/1/exe: text file busy")
		})
	}
}

func TestTasks(t *testing.T) {
	h := open(t)
	c := Config{Shared: share(t, h, NetworkNone), Root: &Root{Layers: []string{layer(t, nil)}, User: "12:34"}, Init: true,
		Env: []string{"PATH=/bin", "X=y"}, Dir: "/tmp", Args: []string{"tool", "wait"}}
	b := start(t, h, c)
	e, out, err := b.Do(t.Context(), []string{"tool", "id", "--", "env", "X", "--", "pwd"})
	if err != nil || e.Code != 0 || out != "12 34 [34]\ny\n/tmp\n" {
		t.Errorf("it ended %+v, %v and printed %q", e, err, out)
	}
	if e, _, err := b.Do(t.Context(), []string{"nothing"}); err == nil || !strings.Contains(err.Error(), "no program nothing in PATH") {
		t.Errorf("a program that is not there: %+v %v", e, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := b.Do(ctx, []string{"tool", "wait"}); err != context.DeadlineExceeded {
		t.Errorf("a program that takes too long: %v", err)
	}
	eventually(t, func() bool {
		_, out, err := b.Do(t.Context(), []string{"tool", "ls", "/proc"})
		return err == nil && !strings.Contains(out, " 4 ") // each of them had a number of its own
	})
	b.Kill()
	<-b.Done()
	if _, _, err := b.Do(t.Context(), []string{"tool", "id"}); err == nil {
		t.Error("a task runs in a box that has ended")
	}
}

// TestOwnProgramIsReadOnly looks at the first process of a box, which is this
// binary, as user 0 of a host without user namespaces would.
func TestOwnProgramIsReadOnly(t *testing.T) {
	h := open(t, func(o *Options) { o.Without = []string{"container users"} })
	c := Config{Root: &Root{Layers: []string{layer(t, nil)}}, Init: true}
	want(t, inRoot(t, h, c, "program", "/proc/1/exe"), "true")
}
