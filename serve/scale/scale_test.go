package scale

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestWakeFromZero(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 10)
		l := h.acquire(r)
		if !l.Cold || l.Queued != 5*time.Millisecond {
			t.Errorf("cold %v after %s, want a cold one after the 5ms of the start", l.Cold, l.Queued)
		}
		l.Release(false)
		l = h.acquire(r)
		if l.Cold || l.Queued != 0 {
			t.Errorf("second call: cold %v after %s", l.Cold, l.Queued)
		}
		h.alive(1)
		l.Release(false)
		st := h.StatsOf(r)
		if st.Instances != 1 || st.Busy != 0 || st.ColdStarts != 1 || st.Starts != 1 || st.Revision != "hello-1" || st.Tenant != "default" {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestStartsWhatWaitersNeed(t *testing.T) {
	for _, c := range []struct {
		calls, concurrency, most, starts int
	}{
		{10, 50, 10, 1}, {51, 50, 10, 2}, {10, 1, 100, 10}, {10, 1, 3, 3}, {7, 2, 100, 4},
	} {
		inBubble(t, Config{}, program(nil), func(h *house) {
			r := revision(1, c.concurrency, 0, c.most)
			calls := make([]*call, c.calls)
			for i := range calls {
				calls[i] = h.begin(r)
			}
			for _, c := range calls {
				c.end(t)
			}
			h.alive(c.starts)
			if n := h.e.Starts(); n != c.starts {
				t.Errorf("%+v: %d starts", c, n)
			}
		})
	}
}

func TestFreedSlotServesTheLongestWaiter(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 1)
		l := h.acquire(r)
		calls := []*call{h.begin(r), h.begin(r), h.begin(r)}
		calls[1].cancel()
		if !calls[1].over() || !api.IsCode(calls[1].err, api.CodeCanceled) {
			t.Fatalf("a cancelled waiter got %v", calls[1].err)
		}
		if n := h.StatsOf(r).Queued; n != 2 {
			t.Errorf("%d are queued, want 2", n)
		}
		l.Release(false)
		if !calls[0].over() || calls[2].over() {
			t.Fatal("the slot went to the wrong waiter")
		}
		if calls[0].lease.Cold {
			t.Error("a call that waited for a running instance is called cold")
		}
		calls[0].end(t)
		calls[2].end(t)
		h.alive(1)
	})
}

func TestQueueBound(t *testing.T) {
	inBubble(t, Config{QueueLimit: 2}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 1)
		l := h.acquire(r)
		a, b := h.begin(r), h.begin(r)
		_, err := h.Acquire(context.Background(), r)
		if !api.IsCode(err, api.CodeQueueFull) || api.AsError(err).RetryAfter <= 0 {
			t.Errorf("over the bound: %v", err)
		}
		l.Release(false)
		a.end(t)
		b.end(t)
	})
}

func TestQueueDeadline(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 1)
		l := h.acquire(r)
		begin := time.Now()
		_, err := h.Acquire(context.Background(), r)
		if d := time.Since(begin); d != 30*time.Second || !api.IsCode(err, api.CodeQueueTimeout) || api.AsError(err).RetryAfter <= 0 {
			t.Errorf("after %s: %v", d, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 7*time.Second)
		defer cancel()
		begin = time.Now()
		_, err = h.Acquire(ctx, r)
		if d := time.Since(begin); d != 7*time.Second || !api.IsCode(err, api.CodeQueueTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %s: %v", d, err)
		}
		if st := h.StatsOf(r); st.Queued != 0 || st.GaveUp != 2 {
			t.Errorf("stats %+v", st)
		}
		l.Release(false)
		h.acquire(r).Release(false) // the slot was not lost to one of them
	})
}

func TestIdleInstancesGo(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 10)
		r.Spec.Scale.Idle = &api.Duration{Duration: api.DefaultIdle}
		a, b := h.acquire(r), h.acquire(r)
		a.Release(false)
		b.Release(false) // the most recently used one
		for range 3 {
			time.Sleep(time.Minute)
			l := h.acquire(r)
			if l.Instance != b.Instance {
				t.Error("not the most recently used instance")
			}
			l.Release(false)
		}
		h.alive(1)
		time.Sleep(api.DefaultIdle - time.Second)
		h.alive(1)
		time.Sleep(3 * time.Second)
		h.alive(0)
		if n := len(h.activeOnes()); n != 0 {
			t.Errorf("Run looks after %d revisions without instances", n)
		}
		l := h.acquire(r)
		if !l.Cold {
			t.Error("the next call is not cold")
		}
		time.Sleep(time.Hour) // a long call keeps its instance
		h.alive(1)
		l.Release(false)
	})
}

func TestLoadIsPacked(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 10, 0, 10)
		var calls []*call
		for range 30 {
			calls = append(calls, h.begin(r))
		}
		for _, c := range calls {
			c.end(t)
		}
		h.alive(3)
		used := map[string]bool{}
		var leases []engine.Lease
		for range 10 {
			l := h.acquire(r)
			used[l.Instance.ID()] = true
			leases = append(leases, l)
		}
		if len(used) != 1 {
			t.Errorf("10 calls of concurrency 10 were spread over %d instances", len(used))
		}
		for _, l := range leases {
			l.Release(false)
		}
	})
}

func TestLeastInstancesAreKept(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 3, 10)
		h.Keep(r)
		time.Sleep(time.Second)
		h.alive(3)
		time.Sleep(time.Hour)
		h.alive(3)
		if n := h.e.Starts(); n != 3 {
			t.Errorf("%d starts to keep three", n)
		}
		h.e.Kill(h.e.Running()[0], engine.Exit{Code: 1, Reason: "exited with status 1"})
		time.Sleep(10 * time.Millisecond)
		h.alive(3)
		var calls []*call
		for range 5 {
			calls = append(calls, h.begin(r))
		}
		for _, c := range calls {
			c.end(t)
		}
		h.alive(5)
		time.Sleep(time.Hour)
		h.alive(3)
		h.Retire(r)
		h.alive(0)
		if n := len(h.Stats()); n != 0 {
			t.Errorf("%d revisions are remembered after Retire", n)
		}
		h.Keep(revision(2, 1, 0, 10)) // no least number: nothing to remember
		if n := len(h.Stats()); n != 0 {
			t.Errorf("%d revisions are remembered that never ran", n)
		}
	})
}

func TestRetireDrains(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 1, 2)
		h.Keep(r)
		a, b := h.acquire(r), h.acquire(r)
		c := h.begin(r)
		h.Retire(r)
		h.alive(2)
		a.Release(false) // serves the waiter
		if !c.over() || c.err != nil {
			t.Fatalf("the waiter got %v", c.err)
		}
		b.Release(false)
		h.alive(1)
		late := h.begin(r) // a router that has not heard of it yet
		if !late.over() && func() bool { time.Sleep(time.Second); return !late.over() }() {
			t.Fatal("a late call is not served")
		}
		c.end(t)
		late.end(t)
		h.alive(0)
	})
}

func TestRetireCancelsStarts(t *testing.T) {
	inBubble(t, Config{}, program(func(p *memory.Program) { p.LoadTime = time.Minute }), func(h *house) {
		r := revision(1, 1, 2, 2)
		h.Keep(r)
		h.alive(2)
		h.Retire(r)
		h.alive(0)
		h.Keep(r) // and back again
		time.Sleep(2 * time.Minute)
		h.alive(2)
	})
}

func TestBrokenLease(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 2, 0, 2)
		a, b := h.acquire(r), h.acquire(r)
		if a.Instance != b.Instance {
			t.Fatal("concurrency 2 needs one instance")
		}
		time.Sleep(time.Minute)
		a.Release(true)
		h.alive(1)
		c := h.acquire(r)
		if c.Instance == a.Instance {
			t.Error("a broken instance got a call")
		}
		if st := h.StatsOf(r); st.Leaving != 1 || st.Instances != 1 || st.Busy != 2 {
			t.Errorf("stats %+v", st)
		}
		b.Release(false) // its other lease finishes on its own
		h.alive(1)
		c.Release(false)
	})
}

func TestInstanceDies(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 1)
		l := h.acquire(r)
		w := h.begin(r)
		time.Sleep(2 * time.Second)
		h.e.Kill(l.Instance.ID(), engine.Exit{Code: 1, Reason: "exited with status 1"})
		<-w.done
		if w.err != nil || w.lease.Instance == l.Instance || !w.lease.Cold {
			t.Errorf("the waiter got %+v, %v; want a new instance", w.lease, w.err)
		}
		l.Release(true) // after the end of its instance
		w.end(t)
		h.alive(1)
		h.e.Kill(w.lease.Instance.ID(), engine.Exit{Code: 1, Reason: "exited with status 1"})
		l = h.acquire(r) // a dead instance is not handed out
		if l.Instance == w.lease.Instance {
			t.Error("a dead instance got a call")
		}
		l.Release(false)
	})
}

func TestReleaseTwice(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 1)
		l := h.acquire(r)
		l.Release(false)
		l.Release(false)
		if st := h.StatsOf(r); st.Busy != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestCloseDrains(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 1)
		l := h.acquire(r)
		w := h.begin(r)
		closed := make(chan error, 1)
		go func() { closed <- h.Close(context.Background()) }()
		synctest.Wait()
		if _, err := h.Acquire(context.Background(), r); !api.IsCode(err, api.CodeNotReady) {
			t.Errorf("a call during Close got %v", err)
		}
		l.Release(false)
		if !w.over() || w.err != nil {
			t.Fatalf("the waiter got %v", w.err)
		}
		select {
		case err := <-closed:
			t.Fatalf("Close returned %v with a call in flight", err)
		default:
		}
		w.end(t)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func TestCloseCutsOff(t *testing.T) {
	inBubble(t, Config{QueueDeadline: time.Hour}, program(func(p *memory.Program) { p.LoadTime = time.Minute }), func(h *house) {
		r, slow := revision(1, 1, 0, 1), revision(2, 1, 0, 1)
		w0 := h.begin(r)
		<-w0.done
		l := w0.lease
		w1, w2 := h.begin(r), h.begin(slow)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := h.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close: %v", err)
		}
		h.alive(0)
		for _, w := range []*call{w1, w2} {
			if !w.over() || !api.IsCode(w.err, api.CodeNotReady) {
				t.Errorf("a waiter got %v", w.err)
			}
		}
		l.Release(true)
	})
}
