package container

import (
	"testing"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/engine/enginetest"
)

func TestConformance(t *testing.T) {
	enginetest.Run(t, func(t testing.TB) (engine.Engine, enginetest.Samples) {
		b := open(t)
		img := served(t)
		of := func(args ...string) engine.Spec {
			s := pod(engine.Container{Image: img, Args: args})
			s.Artifact = img // what Forget is given
			return s
		}
		s := enginetest.Samples{Echo: of("serve"), Broken: of("exit", "1", "ImportError: no module named shop"), Missing: of(), Crash: of("crash"), Slow: of("slow"), Alive: b.alive}
		s.Missing.Handler = "/bin/nothing"
		s.Missing.Pod.Containers[0].Command = []string{"/bin/nothing"}
		return b, s
	})
}

func (e *Engine) alive() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.instances)
}
