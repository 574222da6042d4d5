package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// way is a place with the processes whose time its calls take: the proxy, and
// what answers behind it. That says more than rates where others load the
// machine as well.
type way struct {
	place
	front, back []int
	instances   bool // back are the children of front
}

// along is wrk with the processor time per call; zero where the host has no /proc.
func (b *bench) along(w way, conns int) (result, error) {
	front, back := w.used()
	r, err := b.wrk(w.place, conns)
	if err == nil && r.calls > 0 {
		f, k := w.used()
		r.front, r.back = (f-front)/time.Duration(r.calls), (k-back)/time.Duration(r.calls)
	}
	return r, err
}

func (w way) used() (front, back time.Duration) {
	if w.instances {
		w.back = children(w.front...)
	}
	return used(w.front), used(w.back)
}

// used adds up user and system time, which Linux counts in hundredths of a second.
func used(pids []int) (d time.Duration) {
	for _, pid := range pids {
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		for i := 11; i < 13 && i < len(f); i++ {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			d += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return d
}

// children are the processes started by others.
func children(parents ...int) (pids []int) {
	for _, p := range parents {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p))
		for _, l := range lists {
			data, _ := os.ReadFile(l)
			for _, s := range strings.Fields(string(data)) {
				if n, err := strconv.Atoi(s); err == nil {
					pids = append(pids, n)
				}
			}
		}
	}
	return pids
}
