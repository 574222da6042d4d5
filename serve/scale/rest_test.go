package scale

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/driver/memory"
)

// TestNotReady has instances that are not ready for a while.
func TestNotReady(t *testing.T) {
	var all []*memory.Process
	programs := program(func(p *memory.Program) {
		p.Main = func(p *memory.Process) http.Handler {
			all = append(all, p)
			return http.NotFoundHandler()
		}
	})
	set := func(n int, ready bool) {
		all[n].SetReady(ready)
		synctest.Wait()
	}
	for _, concurrency := range []int{1, 2, api.Unlimited} {
		all = nil
		inBubble(t, Config{}, programs, func(h *house) {
			r := revision(1, concurrency, 0, 2)
			r.Spec.Scale.Idle = &api.Duration{Duration: time.Minute}
			first := h.acquire(r)
			set(0, false)
			if st := h.StatsOf(r); st.Instances != 1 || st.Resting != 1 || st.Busy != 1 {
				t.Errorf("stats %+v", st)
			}
			first.Release(false) // its call is finished, and it gets no other
			second := h.acquire(r)
			if second.Instance == first.Instance || !second.Cold {
				t.Errorf("a call went to an instance that is not ready")
			}
			second.Release(false)
			set(0, true)
			set(1, false)
			third := h.acquire(r)
			if third.Instance != first.Instance || third.Cold {
				t.Errorf("an instance that is ready again got no call")
			}
			set(0, false) // now none is, and there may be no third one
			c := h.begin(r)
			if c.over() {
				t.Fatalf("a call got %v, %v", c.lease.Instance, c.err)
			}
			time.Sleep(10 * time.Second)
			set(1, true)
			if !c.over() || c.err != nil || c.lease.Instance != second.Instance {
				t.Errorf("the call that waited got %+v, %v", c.lease, c.err)
			}
			c.end(t)
			third.Release(false)
			h.alive(2)
			set(1, false)
			if n, _ := h.Replicas(r.Metadata.UID); n.Actual != 0 {
				t.Errorf("%d instances take calls, of two that are not ready", n.Actual)
			}
			time.Sleep(2 * time.Minute) // such ones are given up when they are not used, like others
			h.alive(0)
		})
	}
}

// TestNotReadyEnds retires, and closes, with instances that are not ready.
func TestNotReadyEnds(t *testing.T) {
	programs := program(func(p *memory.Program) {
		p.Main = func(p *memory.Process) http.Handler {
			time.AfterFunc(time.Second, func() { p.SetReady(false) })
			return http.NotFoundHandler()
		}
	})
	inBubble(t, Config{}, programs, func(h *house) {
		r := revision(1, 1, 2, 2)
		h.Keep(r)
		time.Sleep(time.Minute)
		if st := h.StatsOf(r); st.Resting != 2 || h.e.Starts() != 2 {
			t.Errorf("stats %+v after %d starts; want two that rest, and none in their place", st, h.e.Starts())
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if _, err := h.Acquire(ctx, r); !api.IsCode(err, api.CodeQueueTimeout) {
			t.Errorf("a call of what is not ready: %v", err)
		}
		h.Retire(r)
		h.alive(0)
		h.Keep(revision(2, 1, 1, 1))
		time.Sleep(time.Minute)
	})
}
