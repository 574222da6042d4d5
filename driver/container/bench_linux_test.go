package container

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// BenchmarkColdStart measures from nothing to accepting connections: the bare
// program, and a container of it with and without a box that waits. The metric
// ms is the median.
func BenchmarkColdStart(b *testing.B) {
	exe := filepath.Join(b.TempDir(), "server")
	if err := os.WriteFile(exe, server(), 0o755); err != nil {
		b.Fatal(err)
	}
	b.Run("bare", func(b *testing.B) {
		measure(b, func() (end func()) {
			c := exec.Command(exe, "at", "18765")
			if err := c.Start(); err != nil {
				b.Fatal(err)
			}
			for pause := firstPause; ; pause = longer(pause) {
				if nc, err := net.Dial("tcp", "127.0.0.1:18765"); err == nil {
					nc.Close()
					break
				}
				time.Sleep(pause)
			}
			return func() { c.Process.Kill(); c.Wait() }
		}, func() {})
	})
	for _, held := range []bool{true, false} {
		name := map[bool]string{true: "blank", false: "nothing"}[held]
		b.Run(name, func(b *testing.B) {
			e := open(b)
			s := pod(engine.Container{Image: served(b)})
			if err := e.Prepare(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			if !held {
				e.blanks.close()
			}
			measure(b, func() (end func()) {
				in := e.start(b, s)
				return func() { in.Stop(b.Context()) }
			}, func() {
				for held && e.blanks.count() < e.blanks.want {
					time.Sleep(time.Millisecond)
				}
			})
		})
	}
}

func measure(b *testing.B, start func() (end func()), before func()) {
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		before()
		b.StartTimer()
		begin := time.Now()
		end := start()
		took = append(took, time.Since(begin))
		b.StopTimer()
		end()
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms")
	b.ReportMetric(0, "ns/op")
}

func (p *blanks) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready)
}
