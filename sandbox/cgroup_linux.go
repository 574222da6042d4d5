package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/core/engine"
)

// controllers are those the sandbox uses.
func controllers() []string { return []string{"memory", "cpu", "pids"} }

// cgroups is the place below which this host makes a group per box. In version
// 1 each controller has a hierarchy of its own, in version 2 all share one.
type cgroups struct {
	v2    bool
	roots map[string]string // controller → folder of this host
	why   map[string]string // controller → why it is missing
}

// openCgroups finds and makes the folders named name below this process' own
// cgroups.
func openCgroups(name string) *cgroups {
	g := &cgroups{roots: map[string]string{}, why: map[string]string{}}
	mounts := cgroupMounts()
	own := ownCgroups()
	for _, c := range controllers() {
		m, ok := mounts[c]
		if !ok {
			continue
		}
		dir := filepath.Join(m.at, strings.TrimPrefix(own[c], m.root), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			g.why[c] = err.Error()
			continue
		}
		g.roots[c] = dir
	}
	if len(g.roots) > 0 || len(g.why) > 0 {
		g.missing("no cgroup hierarchy has this controller")
		return g
	}
	if m, ok := mounts[""]; ok {
		g.v2 = true
		g.openV2(m, own[""], name)
	}
	g.missing("no cgroup hierarchy has this controller")
	return g
}

func (g *cgroups) missing(why string) {
	for _, c := range controllers() {
		if g.roots[c] == "" && g.why[c] == "" {
			g.why[c] = why
		}
	}
}

// openV2 makes the folder below our own cgroup when that can pass controllers
// on. It can only without processes of its own, so hearth moves into a leaf when
// it is alone there; otherwise root uses the top of the hierarchy.
func (g *cgroups) openV2(m cgroupMount, own, name string) {
	base := filepath.Join(m.at, strings.TrimPrefix(own, m.root))
	if filepath.Base(base) == name+"-self" {
		base = filepath.Dir(base)
	}
	for _, b := range []string{base, m.at} {
		enable := func() error {
			var first error
			for _, c := range controllers() {
				if err := write(filepath.Join(b, "cgroup.subtree_control"), "+"+c); err != nil && first == nil {
					first = err
				}
			}
			return first
		}
		err := enable()
		if errors.Is(err, unix.EBUSY) && onlyUs(b) {
			leaf := filepath.Join(b, name+"-self")
			if os.MkdirAll(leaf, 0o755) == nil && write(filepath.Join(leaf, "cgroup.procs"), strconv.Itoa(os.Getpid())) == nil {
				err = enable()
			}
		}
		dir := filepath.Join(b, name)
		if mk := os.MkdirAll(dir, 0o755); mk != nil {
			for _, c := range controllers() {
				g.why[c] = mk.Error()
			}
			continue
		}
		have, _ := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		for _, c := range strings.Fields(string(have)) {
			if write(filepath.Join(dir, "cgroup.subtree_control"), "+"+c) == nil {
				g.roots[c] = dir
				delete(g.why, c)
			}
		}
		if g.roots["memory"] != "" {
			return
		}
		if err != nil {
			for _, c := range controllers() {
				g.why[c] = err.Error()
			}
		}
		if b == m.at {
			return
		}
		os.Remove(dir)
		clear(g.roots)
	}
}

func onlyUs(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	return err == nil && strings.TrimSpace(string(b)) == strconv.Itoa(os.Getpid())
}

type cgroupMount struct{ at, root string }

// cgroupMounts reads where each controller is mounted; version 2 is "".
func cgroupMounts() map[string]cgroupMount {
	out := map[string]cgroupMount{}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return out
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		pre, post, ok := strings.Cut(s.Text(), " - ")
		a, b := strings.Fields(pre), strings.Fields(post)
		if !ok || len(a) < 5 || len(b) < 3 {
			continue
		}
		m := cgroupMount{at: a[4], root: strings.TrimSuffix(a[3], "/")}
		switch b[0] {
		case "cgroup2":
			out[""] = m
		case "cgroup":
			for _, c := range strings.Split(b[2], ",") {
				out[c] = m
			}
		}
	}
	return out
}

// ownCgroups reads this process' path in each hierarchy.
func ownCgroups() map[string]string {
	out := map[string]string{}
	b, _ := os.ReadFile("/proc/self/cgroup")
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		p := strings.SplitN(l, ":", 3)
		if len(p) != 3 {
			continue
		}
		for _, c := range strings.Split(p[1], ",") {
			out[c] = p[2]
		}
	}
	return out
}

// folders are the distinct folders of this host, sorted.
func (g *cgroups) folders() []string {
	seen := map[string]bool{}
	var out []string
	for _, d := range g.roots {
		if !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	sort.Strings(out)
	return out
}

// group is the cgroup of one box; one without any controller works and does
// nothing.
type group struct {
	g  *cgroups
	id string
}

func (g *cgroups) make(id string) (*group, error) {
	for _, d := range g.folders() {
		if err := os.Mkdir(filepath.Join(d, id), 0o755); err != nil {
			return nil, fmt.Errorf("cgroup of %s: %w", id, err)
		}
	}
	return &group{g: g, id: id}, nil
}

func (c *group) dir(controller string) string {
	if r := c.g.roots[controller]; r != "" {
		return filepath.Join(r, c.id)
	}
	return ""
}

// add moves a process into the group.
func (c *group) add(pid int) error {
	for _, d := range c.g.folders() {
		if err := write(filepath.Join(d, c.id, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// limit sets the limits; zero fields become no limit.
func (c *group) limit(l engine.Limits) error {
	text := func(n int64, none string) string {
		if n <= 0 {
			return none
		}
		return strconv.FormatInt(n, 10)
	}
	var errs []error
	set := func(controller, file, value string) {
		if d := c.dir(controller); d != "" {
			if err := write(filepath.Join(d, file), value); err != nil {
				errs = append(errs, fmt.Errorf("%s = %s: %w", file, value, err))
			}
		}
	}
	if c.g.v2 {
		set("memory", "memory.max", text(l.MemoryBytes, "max"))
		// memory.high stays open: slowing a box down until it crawls below its
		// limit would hide what memory.max says at once.
		if d := c.dir("memory"); d != "" { // optional parts
			write(filepath.Join(d, "memory.swap.max"), "0")
			write(filepath.Join(d, "memory.oom.group"), "1")
		}
		set("cpu", "cpu.max", text(l.CPUMilli*100, "max")+" 100000")
		set("pids", "pids.max", text(int64(l.Processes), "max"))
		return errors.Join(errs...)
	}
	if d := c.dir("memory"); d != "" {
		v := text(l.MemoryBytes, "-1")
		// The limit with swap may not be below the one without: up in one
		// order, down in the other.
		if write(filepath.Join(d, "memory.limit_in_bytes"), v) != nil {
			write(filepath.Join(d, "memory.memsw.limit_in_bytes"), v)
			set("memory", "memory.limit_in_bytes", v)
		}
		write(filepath.Join(d, "memory.memsw.limit_in_bytes"), v) // absent without swap accounting
		write(filepath.Join(d, "memory.swappiness"), "0")
	}
	set("cpu", "cpu.cfs_period_us", "100000")
	set("cpu", "cpu.cfs_quota_us", text(l.CPUMilli*100, "-1"))
	set("pids", "pids.max", text(int64(l.Processes), "max"))
	return errors.Join(errs...)
}

// ooms counts the processes the memory limit has killed.
func (c *group) ooms() int64 {
	d := c.dir("memory")
	if d == "" {
		return 0
	}
	file := "memory.oom_control"
	if c.g.v2 {
		file = "memory.events"
	}
	n, _ := keyed(filepath.Join(d, file), "oom_kill")
	return n
}

// kill ends every process in the group.
func (c *group) kill() {
	for _, d := range c.g.folders() {
		killGroup(filepath.Join(d, c.id))
	}
}

// remove kills what is left and removes the group; it waits a moment for the
// kernel to let go of it.
func (c *group) remove() error {
	var errs []error
	for _, d := range c.g.folders() {
		errs = append(errs, removeGroup(filepath.Join(d, c.id)))
	}
	return errors.Join(errs...)
}

func killGroup(dir string) {
	if write(filepath.Join(dir, "cgroup.kill"), "1") == nil {
		return
	}
	b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for _, s := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(s); err == nil && pid > 1 && pid != os.Getpid() {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}

func removeGroup(dir string) error {
	wait := time.Millisecond
	for range 12 { // four seconds in all
		err := unix.Rmdir(dir)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if err != unix.EBUSY && err != unix.ENOTEMPTY {
			return fmt.Errorf("%s: %w", dir, err)
		}
		killGroup(dir)
		time.Sleep(wait)
		wait *= 2
	}
	return fmt.Errorf("%s: still in use", dir)
}

// sweep kills and removes everything below folders a former process of this
// state folder made, and the folders.
func sweepCgroups(dirs []string) (found int) {
	for _, d := range dirs {
		entries, err := os.ReadDir(d)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if e.IsDir() {
				found++
				removeGroup(filepath.Join(d, e.Name()))
			}
		}
		removeGroup(d)
	}
	return found
}

func write(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return err
}

// number reads a file that is one; ok is false when there is none.
func number(path string) (n int64, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// keyed reads the number that follows key in a file of such lines.
func keyed(path, key string) (n int64, ok bool) {
	b, _ := os.ReadFile(path)
	for l := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(l), " "); ok && k == key {
			n, err := strconv.ParseInt(v, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// open opens the folder of a version 2 group, for a process to be born into.
func (c *group) open() (int, error) {
	return unix.Open(filepath.Join(c.g.folders()[0], c.id), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}
