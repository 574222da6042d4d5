package scale

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestStart(t *testing.T) {
	for _, c := range []struct {
		policy  string
		initial *int
		want    int
	}{
		{api.PolicyHearth, nil, 1}, {api.PolicyHearth, new(4), 4}, {api.PolicyHearth, new(0), 1}, {api.PolicyHearth, new(500), 100},
		{api.PolicyKnative, nil, 1}, {api.PolicyKnative, new(4), 4},
	} {
		inBubble(t, Config{}, slow(90*time.Second), func(h *house) {
			r := scaled(1, func(_ *api.Scale, a *api.Autoscale) { a.Policy, a.Initial = c.policy, c.initial })
			r.Status = api.RevisionStatus{}
			begin := time.Now()
			if err := h.Start(context.Background(), r); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(begin); d < 90*time.Second || d > 7*time.Minute {
				t.Errorf("%s, initial scale %d: ready after %s", c.policy, c.want, d)
			}
			h.alive(c.want)
			if l := h.acquire(r); l.Cold {
				t.Error("the first call is cold")
			} else {
				l.Release(false)
			}
			time.Sleep(time.Hour)
			h.alive(0)
		})
	}
}

func TestStartFails(t *testing.T) {
	var well atomic.Bool
	fails := program(func(p *memory.Program) {
		p.LoadTime = time.Second
		p.Fail = func(engine.Spec) error {
			if well.Load() {
				return nil
			}
			return &api.Error{Code: api.CodeLoadFailed, Message: "no such module"}
		}
	})
	inBubble(t, Config{}, fails, func(h *house) {
		r := scaled(1, nil)
		begin := time.Now()
		if err := h.Start(context.Background(), r); !api.IsCode(err, api.CodeLoadFailed) {
			t.Errorf("%v", err)
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("the verdict took %s", d)
		}
		well.Store(true)
		time.Sleep(time.Minute)
		h.alive(0) // nobody waits for it any more
		if err := h.Start(context.Background(), r); err != nil {
			t.Error(err)
		}
		if err := h.Start(context.Background(), r); err != nil { // it runs
			t.Error(err)
		}
		h.alive(1)
	})
	inBubble(t, Config{}, slow(time.Minute), func(h *house) {
		r := scaled(1, nil)
		ctx, cancel := context.WithCancel(context.Background())
		over := make(chan error)
		go func() { over <- h.Start(ctx, r) }()
		synctest.Wait()
		cancel()
		if err := <-over; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		go func() { over <- h.Start(context.Background(), r) }()
		time.Sleep(time.Second)
		if err := h.Close(context.Background()); err != nil { // does not wait for it
			t.Errorf("Close: %v", err)
		}
		if err := <-over; !api.IsCode(err, api.CodeNotReady) {
			t.Errorf("%v", err)
		}
		if err := h.Start(context.Background(), r); !api.IsCode(err, api.CodeNotReady) {
			t.Errorf("%v", err)
		}
	})
}

func TestCallsWaitForSlowStarts(t *testing.T) {
	inBubble(t, Config{}, slow(100*time.Second), func(h *house) {
		r := scaled(1, nil)
		r.Spec.StartTimeout = api.Seconds(600)
		if l := h.acquire(r); l.Queued != 100*time.Second {
			t.Errorf("waited %s", l.Queued)
		} else {
			l.Release(false)
		}
	})
}
