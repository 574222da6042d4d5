package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/core/engine"
)

// fakeGroup has the files of a cgroup as plain files, to see what is written.
func fakeGroup(t *testing.T, v2 bool, files ...string) (*group, string) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "box"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, "box", f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	g := &cgroups{v2: v2, roots: map[string]string{"memory": dir, "cpu": dir, "pids": dir}}
	return &group{g: g, id: "box"}, filepath.Join(dir, "box")
}

func contents(t *testing.T, dir string) map[string]string {
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		out[e.Name()] = string(b)
	}
	return out
}

func TestLimitFiles(t *testing.T) {
	l := engine.Limits{MemoryBytes: 128 << 20, CPUMilli: 500, Processes: 64}
	v2, dir := fakeGroup(t, true, "memory.max", "memory.swap.max", "memory.oom.group", "cpu.max", "pids.max")
	if err := v2.limit(l); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"memory.max": "134217728", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.max": "50000 100000", "pids.max": "64"}
	if d := cmp.Diff(want, contents(t, dir)); d != "" {
		t.Error(d)
	}
	v1, dir := fakeGroup(t, false, "memory.limit_in_bytes", "cpu.cfs_period_us", "cpu.cfs_quota_us", "pids.max")
	if err := v1.limit(l); err != nil {
		t.Fatal(err)
	}
	want = map[string]string{"memory.limit_in_bytes": "134217728", "cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000", "pids.max": "64"}
	if d := cmp.Diff(want, contents(t, dir)); d != "" {
		t.Error(d)
	}
	none, dir := fakeGroup(t, true, "memory.max", "cpu.max", "pids.max")
	if err := none.limit(engine.Limits{}); err != nil {
		t.Fatal(err)
	}
	for f, want := range map[string]string{"memory.max": "max", "cpu.max": "max 100000", "pids.max": "max"} {
		if got := contents(t, dir)[f]; got != want {
			t.Errorf("%s = %q, want %q", f, got, want)
		}
	}
	if err := os.Remove(filepath.Join(dir, "pids.max")); err != nil {
		t.Fatal(err)
	}
	if err := none.limit(l); err == nil || !strings.Contains(err.Error(), "pids.max") {
		t.Errorf("a limit that cannot be set was taken: %v", err)
	}
	os.WriteFile(filepath.Join(dir, "memory.events"), []byte("low 0\noom 3\noom_kill 2\n"), 0o644)
	if n := none.ooms(); n != 2 {
		t.Errorf("%d ooms", n)
	}
}

// TestBornIntoVersion2 uses the version 2 hierarchy of this machine, whatever
// controllers it has, for the way a process gets into a group and out of it.
func TestBornIntoVersion2(t *testing.T) {
	h := open(t)
	m, ok := cgroupMounts()[""]
	if !ok {
		t.Skip("no version 2 hierarchy is mounted")
	}
	root := filepath.Join(m.at, strings.TrimPrefix(ownCgroups()[""], m.root), h.name()+"-v2")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Skip("no version 2 group can be made: ", err)
	}
	old := h.groups
	h.groups = &cgroups{v2: true, roots: map[string]string{"none": root}, why: map[string]string{}}
	b := start(t, h, Config{ID: "born", Args: []string{"/bin/sh", "-c", "sleep 60 & sleep 60"}})
	got, err := os.ReadFile("/proc/" + strconv.Itoa(b.Pid()) + "/cgroup")
	if err != nil || !strings.Contains(string(got), h.name()+"-v2/born") {
		t.Errorf("%s %v", got, err)
	}
	if !b.intoGroup {
		t.Error("the box was moved, not born into its group")
	}
	b.group.kill() // cgroup.kill
	<-b.Done()
	if e := b.Exit(); e.Signal != unix.SignalName(unix.SIGKILL) {
		t.Errorf("%+v", e)
	}
	if exists(filepath.Join(root, "born")) {
		t.Error("the group is still there")
	}
	h.groups = old
	if err := removeGroup(root); err != nil {
		t.Error(err)
	}
}
