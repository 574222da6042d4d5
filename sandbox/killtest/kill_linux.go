package killtest

import (
	"bufio"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Run starts c, waits until it has written a line with the numbers of n processes,
// and kills it: before is called just before, and may be nil. It fails the test for
// each of the processes that does not end then. c keeps its standard input open
// until the test ends.
func Run(t testing.TB, c *exec.Cmd, n int, before func()) {
	t.Helper()
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		c.Process.Kill()
		c.Wait()
	}
	defer end()
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	pids := strings.Fields(line)
	if len(pids) != n {
		t.Fatalf("it said %q, not the numbers of %d processes", line, n)
	}
	fds := make([]unix.PollFd, 0, n)
	for _, p := range pids {
		pid, _ := strconv.Atoi(p)
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatalf("process %s: %v", p, err)
		}
		defer unix.Close(fd)
		fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	if before != nil {
		before()
	}
	end()
	for i := range fds {
		if !ends(fds[i : i+1]) {
			t.Errorf("process %s lives on", pids[i])
		}
	}
}

// ends waits for a process; a signal that comes meanwhile is no end.
func ends(fd []unix.PollFd) bool {
	for late := time.Now().Add(time.Minute); ; {
		n, err := unix.Poll(fd, int(time.Until(late).Milliseconds()))
		if err != unix.EINTR {
			return n == 1 && err == nil
		}
	}
}
