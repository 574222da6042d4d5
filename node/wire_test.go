package node

import (
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// TestPrintOf: what decides whether an instance comes up makes another print, and
// who it is for does not.
func TestPrintOf(t *testing.T) {
	port := 9000
	base := engine.Spec{Tenant: "shop", Function: "a", Revision: "a-1", Command: []string{"serve"}}
	print := func(change func(*engine.Spec)) string {
		t.Helper()
		s := base
		change(&s)
		p, err := printOf(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	same := print(func(*engine.Spec) {})
	if p := print(func(s *engine.Spec) {
		s.Function, s.Revision, s.Metadata, s.Timeout, s.Concurrency = "b", "b-7", map[string]any{"name": "b"}, time.Hour, 3
	}); p != same {
		t.Error("another function with the same code has another print")
	}
	for name, change := range map[string]func(*engine.Spec){
		"tenant":  func(s *engine.Spec) { s.Tenant = "other" },
		"command": func(s *engine.Spec) { s.Command = []string{"serve", "-v"} },
		"port":    func(s *engine.Spec) { s.Port = port },
		"h2c":     func(s *engine.Spec) { s.H2C = true },
		"env":     func(s *engine.Spec) { s.Env = map[string]string{"A": "1"} },
		"pod":     func(s *engine.Spec) { s.Pod = &engine.Pod{Volumes: []engine.Volume{{Name: "v"}}} },
	} {
		if print(change) == same {
			t.Errorf("another %s has the same print", name)
		}
	}
}
