package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/core/engine"
)

func TestUsageFromAccounts(t *testing.T) {
	for name, c := range map[string]struct {
		v2    bool
		files map[string]string
		want  engine.Usage
	}{
		"version 2": {true, map[string]string{
			"cgroup.procs": "10\n11\n", "cpu.stat": "usage_usec 1500\nuser_usec 1000\n",
			"memory.current": "40960\n", "memory.stat": "anon 4096\ninactive_file 8192\nactive_file 1\n",
		}, engine.Usage{CPU: 1500 * time.Microsecond, MemoryBytes: 32768, Processes: 2}},
		"version 1": {false, map[string]string{
			"cgroup.procs": "10\n", "cpuacct.usage": "1500\n",
			"memory.usage_in_bytes": "40960\n", "memory.stat": "inactive_file 1\ntotal_inactive_file 8192\n",
		}, engine.Usage{CPU: 1500, MemoryBytes: 32768, Processes: 1}},
		"more idle than there is": {true, map[string]string{
			"cgroup.procs": "", "cpu.stat": "usage_usec 0\n", "memory.current": "1\n", "memory.stat": "inactive_file 8192\n",
		}, engine.Usage{}},
	} {
		g, dir := fakeGroup(t, c.v2)
		for f, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(c.want, g.usage(1)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestReadProcess(t *testing.T) {
	dir := t.TempDir()
	put := func(pid int, text string) {
		if err := os.MkdirAll(filepath.Join(dir, strconv.Itoa(pid)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(pid), "stat"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(5, "5 (a) 9 (b) S 1 5 5 0 -1 4194304 101 0 0 0 1 2 30 400 20 0 1 0 2364832 3133440 415 18446744073709551615 1 1\n")
	put(6, "6 (cut off) S 1 5 5")
	put(7, "nothing of the kind")
	want := process{cpu: 4330 * time.Millisecond, resident: 415 * int64(os.Getpagesize())}
	if got := readProcess(dir, 5); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, pid := range []int{6, 7, 8} {
		if got := readProcess(dir, pid); got != (process{}) {
			t.Errorf("process %d: %+v", pid, got)
		}
	}
}

// TestUsageWithoutCgroups looks at a box whose second process is known by its
// parent only.
func TestUsageWithoutCgroups(t *testing.T) {
	h := open(t)
	h.groups = &cgroups{}
	b := start(t, h, Config{Args: []string{"/bin/sh", "-c", "sleep 60 & while :; do :; done"}})
	last := engine.Usage{}
	for deadline := time.Now().Add(patience); last.CPU == 0 || last.Processes != 2 || last.MemoryBytes == 0; {
		next, err := b.Usage()
		if err != nil || next.CPU < last.CPU || time.Now().After(deadline) {
			t.Fatalf("%+v, %v after %+v", next, err, last)
		}
		last = next
	}
	b.Kill()
	<-b.Done()
	if u, err := b.Usage(); err == nil {
		t.Errorf("after the end: %+v", u)
	}
}
