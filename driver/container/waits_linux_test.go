package container

import (
	"context"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// TestWaits: while a pod starts it is told what for, and nothing afterwards.
func TestWaits(t *testing.T) {
	b := open(t)
	img := served(t)
	for _, c := range []struct {
		name, want string
		change     func(*engine.Spec)
	}{
		{"wrong port", "port 8080; it listens on port 3000", func(s *engine.Spec) { s.Pod.Containers[0].Args = []string{"at", "3000"} }},
		{"no port", "port 8080; it listens on no port", func(s *engine.Spec) { s.Pod.Containers[0].Args = []string{"deaf"} }},
		{"answer", "health check on port 8080: NOT_SERVING", func(s *engine.Spec) {
			s.Pod.Containers[0].Readiness = &engine.Probe{GRPC: &engine.GRPCProbe{Port: 8080, Service: "ill"}, Timeout: patience}
		}},
		{"sidecar", "port 9000; it listens on ports 3000, 8080 (container sidecar)", func(s *engine.Spec) {
			port := 9000
			s.Pod.Containers = append(s.Pod.Containers, engine.Container{Name: "sidecar", Image: img, Args: []string{"at", "3000"}, Readiness: &engine.Probe{TCP: &port}})
		}},
		{"init", "the end of init container setup", func(s *engine.Spec) {
			s.Pod.Init = []engine.Container{{Name: "setup", Image: img, Args: []string{"deaf"}}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := pod(engine.Container{Image: img})
			c.change(&s)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error, 1)
			go func() {
				_, err := b.Start(ctx, s)
				result <- err
			}()
			look := time.NewTicker(10 * time.Millisecond)
			defer look.Stop()
			timeout := time.After(patience)
			for got := ""; got != c.want; got = b.Waits(s.Tenant, s.Revision) {
				select {
				case <-look.C:
				case err := <-result:
					t.Fatalf("it ended: %v", err)
				case <-timeout:
					t.Fatalf("it waits for %q, want %q", got, c.want)
				}
			}
			cancel()
			if err := <-result; err == nil {
				t.Error("it started")
			}
			if got := b.Waits(s.Tenant, s.Revision); got != "" {
				t.Errorf("it still waits for %q", got)
			}
		})
	}
}
