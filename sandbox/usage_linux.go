package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Usage is what the box uses now, as engine.Usage says.
func (b *Box) Usage() (engine.Usage, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return engine.Usage{}, api.Errorf(api.CodeNotFound, "box %s has ended", b.id)
	}
	u := b.group.usage(b.pid)
	b.cpu = max(b.cpu, u.CPU) // /proc can lose the time of a process that just ended
	u.CPU = b.cpu
	return u, nil
}

// usage reads the group's accounts. What has none is added up over the group's
// processes, or where there is no group over first and all that come from it.
func (c *group) usage(first int) engine.Usage {
	pids := c.processes()
	if pids == nil {
		pids = descendants(first)
	}
	u := engine.Usage{Processes: len(pids)}
	cpu, hasCPU := c.cpu()
	memory, hasMemory := c.workingSet()
	if !hasCPU || !hasMemory {
		var sum process
		for _, pid := range pids {
			p := readProcess("/proc", pid)
			sum.cpu += p.cpu
			sum.resident += p.resident
		}
		if !hasCPU {
			cpu = sum.cpu
		}
		if !hasMemory {
			memory = sum.resident
		}
	}
	u.CPU, u.MemoryBytes = cpu, memory
	return u
}

// cpu is the group's processor time. In version 1 it is there where cpuacct
// shares the hierarchy of cpu, as it mostly does; a third hierarchy would make
// every start slower.
func (c *group) cpu() (time.Duration, bool) {
	for _, d := range c.g.folders() {
		if c.g.v2 {
			n, ok := keyed(filepath.Join(d, c.id, "cpu.stat"), "usage_usec")
			return time.Duration(n) * time.Microsecond, ok
		}
		if n, ok := number(filepath.Join(d, c.id, "cpuacct.usage")); ok {
			return time.Duration(n), true
		}
	}
	return 0, false
}

// workingSet is the group's memory without what can be had back at once: pages
// of files nobody asked for lately.
func (c *group) workingSet() (int64, bool) {
	d := c.dir("memory")
	if d == "" {
		return 0, false
	}
	all, idle := "memory.usage_in_bytes", "total_inactive_file"
	if c.g.v2 {
		all, idle = "memory.current", "inactive_file"
	}
	n, ok := number(filepath.Join(d, all))
	i, _ := keyed(filepath.Join(d, "memory.stat"), idle)
	return max(n-i, 0), ok // the two are not read at once
}

// processes lists the group's; nil where there is no group.
func (c *group) processes() []int {
	for _, d := range c.g.folders() {
		if b, err := os.ReadFile(filepath.Join(d, c.id, "cgroup.procs")); err == nil {
			return append([]int{}, numbers(b)...)
		}
	}
	return nil
}

// descendants are first and all processes that come from it, as far as the
// kernel tells.
func descendants(first int) []int {
	all := []int{first}
	for i := 0; i < len(all); i++ {
		lists, _ := filepath.Glob("/proc/" + strconv.Itoa(all[i]) + "/task/*/children")
		for _, l := range lists {
			b, _ := os.ReadFile(l)
			all = append(all, numbers(b)...)
		}
	}
	return all
}

func numbers(b []byte) (out []int) {
	for _, f := range strings.Fields(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// process is what one process uses.
type process struct {
	cpu      time.Duration // with its children's that ended
	resident int64
}

// tick is the unit of times in /proc, on every platform Go knows.
const tick = time.Second / 100

// readProcess reads what proc says of pid; one that has ended uses nothing.
func readProcess(proc string, pid int) (p process) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return p
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // the name before it may hold anything
	if len(f) < 22 {
		return p
	}
	for _, s := range f[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(s, 10, 64)
		p.cpu += time.Duration(n) * tick
	}
	pages, _ := strconv.ParseInt(f[21], 10, 64)
	p.resident = pages * int64(os.Getpagesize())
	return p
}
