package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// memory is section d: what hearth's own process holds, with the pools bounded
// to one instance, so that what is counted is the registry.
func (b *bench) memory() error {
	few, many := 1000, 10_000
	if b.quick {
		few, many = 100, 1000
	}
	var empties []int64
	for i := range b.rounds {
		s, err := b.start(fmt.Sprintf("empty-%d", i))
		if err != nil {
			return err
		}
		kib, err := s.settled(3 * time.Second)
		s.stop()
		if err != nil {
			return err
		}
		empties = append(empties, kib)
	}
	empty := median(empties)
	r := row{what: "hearth up, nothing deployed", hearth: fmt.Sprintf("%.1f MiB", float64(empty)/1024)}
	r.atMost(float64(empty)/1024, 80)
	r.target += " MiB"
	b.report.add(r)

	s, err := b.start("memory")
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.pool("node", 0, 1); err != nil {
		return err
	}
	register := func(from, to int) (int64, error) {
		begin := time.Now()
		var all []function
		for i := from; i < to; i++ {
			all = append(all, function{name: fmt.Sprintf("f-%d", i), runtime: "node", code: codes[0].code, idle: time.Second})
		}
		if err := s.deploy(all); err != nil {
			return 0, err
		}
		took := time.Since(begin)
		b.note("  %d functions ready after %s (%.0f/s)", to-from, took.Round(time.Second/10), float64(to-from)/took.Seconds())
		// The Go runtime collects at least every two minutes, and gives memory
		// back in the background after that.
		return s.settled(150 * time.Second)
	}
	first, err := register(0, few)
	if err != nil {
		return err
	}
	last, err := register(few, many)
	if err != nil {
		return err
	}
	slope := float64(last-first) / float64(many-few)
	for _, x := range []struct {
		n   int
		kib int64
	}{{few, first}, {many, last}} {
		b.report.add(row{what: fmt.Sprintf("hearth up with %d idle functions", x.n), hearth: fmt.Sprintf("%.1f MiB", float64(x.kib)/1024)})
	}
	r = row{what: fmt.Sprintf("per idle function (%d to %d)", few, many), hearth: fmt.Sprintf("%.1f KiB", slope)}
	r.atMost(slope, 20)
	r.target += " KiB"
	b.report.add(r)
	b.report.remark("Resident memory of the hearth process (VmRSS) at its lowest after the load: the Go heap holds up to as much garbage as live data until its next collection.")
	return nil
}

// settled is the smallest resident memory of the hearth process, in KiB, in the
// time given, or until it has not become smaller for long.
func (s *server) settled(wait time.Duration) (int64, error) {
	if s.b.quick {
		wait = min(wait, 10*time.Second)
	}
	least, fell := int64(0), time.Now()
	for begin := time.Now(); time.Since(begin) < wait && time.Since(fell) < 75*time.Second; {
		f := strings.Fields(field(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid), "VmRSS"))
		if len(f) != 2 {
			return 0, fmt.Errorf("cannot read the memory of hearth up: %s", s.stderr.String())
		}
		kib, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return 0, err
		}
		if least == 0 || kib < least-least/200 {
			fell = time.Now()
		}
		if least == 0 || kib < least {
			least = kib
		}
		if err := s.b.pause(500 * time.Millisecond); err != nil {
			return 0, err
		}
	}
	return least, nil
}
