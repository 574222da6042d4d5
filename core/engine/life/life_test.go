package life_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/engine/life"
)

// TestStop ends an instance in each way there is, and stops it again.
func TestStop(t *testing.T) {
	const grace = 10 * time.Second
	never := time.Duration(-1)
	for _, c := range []struct {
		name          string
		itself, hurry time.Duration // until it ends after ask, and until ctx does
		want          time.Duration
		killed        bool
	}{
		{"by itself", 3 * time.Second, never, 3 * time.Second, false},
		{"within ask", 0, never, 0, false},
		{"grace", never, never, grace, true},
		{"hurry", never, 4 * time.Second, 4 * time.Second, true},
		{"no time", never, 0, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := life.New()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.hurry >= 0 {
					time.AfterFunc(c.hurry, cancel)
				}
				asks, kills := 0, 0
				ask := func() {
					if asks++; !l.Asked() {
						t.Error("it is not said to be asked")
					}
					switch {
					case c.itself == 0:
						l.End(engine.Exit{Reason: "itself"})
					case c.itself > 0:
						time.AfterFunc(c.itself, func() { l.End(engine.Exit{Reason: "itself"}) })
					}
				}
				kill := func() { kills++; l.End(engine.Exit{Reason: "killed"}) }
				if l.Asked() || l.Exit() != (engine.Exit{}) {
					t.Errorf("before: asked %v, %v", l.Asked(), l.Exit())
				}
				begin := time.Now()
				l.Stop(ctx, grace, ask, kill)
				l.Stop(ctx, grace, ask, kill)
				if took := time.Since(begin); took != c.want {
					t.Errorf("it took %v, want %v", took, c.want)
				}
				want, times := "itself", 0
				if c.killed {
					want, times = "killed", 1
				}
				if asks != 1 || kills != times || l.Exit().Reason != want {
					t.Errorf("asked %d times, killed %d times, %v", asks, kills, l.Exit())
				}
				<-l.Done()
			})
		})
	}
}
