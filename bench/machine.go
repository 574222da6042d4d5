package main

import (
	"fmt"
	"os"
	goruntime "runtime"
	"strings"
	"time"
)

// machine describes what the figures were measured on.
func (b *bench) machine() []string {
	var all []string
	kernel, _ := output("uname", "-srm")
	all = append(all, fmt.Sprintf("%d processors (%s), %s of memory, %s", goruntime.NumCPU(), field("/proc/cpuinfo", "model name"), field("/proc/meminfo", "MemTotal"), kernel))
	var versions []string
	for _, name := range []string{"node", "python", "go"} {
		i := b.find(name)
		versions = append(versions, fmt.Sprintf("%s %s", name, i.Version))
	}
	nginx, _ := output("nginx", "-v")
	wrk, _ := output("wrk", "-v")
	if f := strings.Fields(wrk); len(f) > 1 {
		versions = append(versions, "wrk "+f[1])
	}
	versions = append(versions, strings.TrimPrefix(nginx, "nginx version: "))
	all = append(all, strings.Join(versions, ", "))
	commit, _ := output("git", "-C", b.source, "rev-parse", "--short", "HEAD")
	load, _ := os.ReadFile("/proc/loadavg")
	all = append(all, fmt.Sprintf("%s, commit %s; load when it began: %s", time.Now().UTC().Format("2006-01-02 15:04 UTC"), commit, strings.Join(strings.Fields(string(load))[:1], "")))
	all = append(all, "Bare programs get the environment instances get (PATH, HOME, LANG); every hop is one process, nginx has worker_processes auto")
	return all
}

// field is the value of the first line of a /proc file that begins with name.
func field(file, name string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
