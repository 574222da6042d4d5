package scale

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
)

// TestHammer uses real time and real parallelism; the race detector looks on.
func TestHammer(t *testing.T) {
	const concurrency, most = 3, 2
	h := open(t, Config{Tick: time.Millisecond, BackoffMin: time.Millisecond, BackoffMax: 2 * time.Millisecond},
		program(func(p *memory.Program) { p.LoadTime = 0 }))
	ctx, stop := context.WithCancel(context.Background())
	var background sync.WaitGroup
	background.Go(func() { h.Run(ctx) })
	background.Go(func() {
		for ctx.Err() == nil {
			for _, st := range h.Stats() {
				if n := st.Instances + st.Leaving + st.Starting; n > most {
					t.Errorf("%+v", st)
				}
			}
			if ids := h.e.Running(); len(ids) > 0 && rand.IntN(20) == 0 {
				h.e.Kill(ids[0], engine.Exit{Code: 1, Reason: "exited with status 1"})
			}
		}
	})
	revs := []*api.Revision{revision(1, concurrency, 1, most), revision(2, concurrency, 0, most)}
	revs[1].Spec.Scale.Idle = &api.Duration{Duration: time.Millisecond}
	for i, policy := range []string{api.PolicyHearth, api.PolicyKnative} { // of these any number of calls on one
		r := revision(3+i, api.Unlimited, i, most)
		r.Spec.Scale.Auto = &api.Autoscale{Policy: policy, Target: 2, Worth: &api.Duration{Duration: time.Millisecond}, Window: api.Seconds(6)}
		revs = append(revs, r)
	}
	var inFlight sync.Map // instance → *atomic.Int32
	var served atomic.Int64
	var callers sync.WaitGroup
	for g := range 16 {
		callers.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for range 500 {
				r := revs[rnd.IntN(len(revs))]
				switch rnd.IntN(200) {
				case 0:
					h.Retire(r)
				case 1:
					h.Keep(r)
				}
				cctx, cancel := context.WithCancel(context.Background())
				if rnd.IntN(10) == 0 {
					time.AfterFunc(time.Duration(rnd.IntN(100))*time.Microsecond, cancel)
				}
				l, err := h.Acquire(cctx, r)
				cancel()
				if err != nil {
					if c := api.AsError(err).Code; c != api.CodeCanceled && c != api.CodeStartFailed {
						t.Errorf("Acquire: %v", err)
					}
					continue
				}
				v, _ := inFlight.LoadOrStore(l.Instance.ID(), new(atomic.Int32))
				if n := v.(*atomic.Int32).Add(1); n > concurrency && r.Spec.Concurrency > 0 {
					t.Errorf("%d calls are in flight on %s", n, l.Instance.ID())
				}
				served.Add(1)
				v.(*atomic.Int32).Add(-1)
				l.Release(rnd.IntN(50) == 0)
			}
		})
	}
	callers.Wait()
	h.close()
	stop()
	background.Wait()
	if served.Load() == 0 {
		t.Error("no call was served")
	}
}
