package sandbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/sandbox/killtest"
)

// TestNothingOutlivesTheParent kills a process that has boxes, and looks for
// what is left of them.
func TestNothingOutlivesTheParent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	state := t.TempDir()
	c := exec.CommandContext(t.Context(), os.Args[0], "inside", "parent", state)
	var list []byte
	killtest.Run(t, c, 4, func() {
		var err error
		if list, err = os.ReadFile(filepath.Join(state, "sandbox", "cgroups")); err != nil {
			t.Fatal(err)
		}
	})
	for _, d := range strings.Fields(string(list)) { // process 1 ends after all others of its namespace
		filepath.WalkDir(d, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.Name() == "cgroup.procs" {
				if b, _ := os.ReadFile(path); len(b) > 0 {
					t.Errorf("%s: %s", path, b)
				}
			}
			return nil
		})
	}
	roots := filepath.Join(state, "sandbox", "roots")
	if left, _ := os.ReadDir(roots); len(left) != 1 {
		t.Errorf("the killed process had %v below %s, want one", left, roots)
	}
	h := open(t, func(o *Options) { o.State = state }) // finds the cgroups
	if left, _ := os.ReadDir(roots); len(left) > 0 {
		t.Errorf("%s/%s was not swept", roots, left[0].Name())
	}
	if b, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(b), state) {
		t.Errorf("mounts are left:\n%s", b)
	}
	for _, d := range h.groups.folders() {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			if e.IsDir() {
				t.Errorf("%s/%s was not swept", d, e.Name())
			}
		}
	}
}
