package container

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// BenchmarkColdStart measures from nothing to accepting connections: the bare
// program, and a container of it with and without a box that waits.
func BenchmarkColdStart(b *testing.B) {
	exe := filepath.Join(b.TempDir(), "server")
	if err := os.WriteFile(exe, server(), 0o755); err != nil {
		b.Fatal(err)
	}
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
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
			b.StopTimer()
			c.Process.Kill()
			c.Wait()
			b.StartTimer()
		}
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
			for b.Loop() {
				b.StopTimer()
				for held && e.blanks.count() < 2 {
					time.Sleep(time.Millisecond)
				}
				b.StartTimer()
				in := e.start(b, s)
				b.StopTimer()
				in.Stop(b.Context())
				b.StartTimer()
			}
		})
	}
}

func (p *blanks) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready)
}
