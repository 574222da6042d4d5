package sandbox

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ends waits for a process; a signal that comes meanwhile is no end.
func ends(fd []unix.PollFd) (n int, err error) {
	for late := time.Now().Add(patience); ; {
		if n, err = unix.Poll(fd, int(time.Until(late).Milliseconds())); err != unix.EINTR {
			return n, err
		}
	}
}

// TestNothingOutlivesTheParent kills a process that has boxes, and looks for
// what is left of them.
func TestNothingOutlivesTheParent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	state := t.TempDir()
	c := exec.CommandContext(t.Context(), os.Args[0], "inside", "parent", state)
	stdin, _ := c.StdinPipe()
	defer stdin.Close()
	stdout, _ := c.StdoutPipe()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	pids := strings.Fields(line)
	if len(pids) != 4 {
		t.Fatalf("the parent said %q", line)
	}
	var fds []unix.PollFd
	for _, p := range pids {
		pid, _ := strconv.Atoi(p)
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	list, err := os.ReadFile(filepath.Join(state, "sandbox", "cgroups"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	begin := time.Now()
	for i := range fds {
		if n, err := ends(fds[i : i+1]); n != 1 || err != nil {
			t.Errorf("process %s lives on", pids[i])
		}
	}
	t.Logf("all gone after %v", time.Since(begin))
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
