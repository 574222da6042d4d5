package reconcile

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/memory"
)

// inQueue runs a queue with n workers in virtual time.
func inQueue(t *testing.T, n int, do func(context.Context, string) (time.Duration, error), test func(q *queue[string])) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[string]()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { q.run(ctx, n, do, func(string, error) {}); close(ended) }()
		test(q)
		cancel()
		<-ended
	})
}

func TestQueueBacksOff(t *testing.T) {
	var at []time.Duration
	var start time.Time
	do := func(context.Context, string) (time.Duration, error) {
		at = append(at, time.Since(start))
		if len(at) < 5 {
			return 0, errors.New("no")
		}
		return 0, nil
	}
	inQueue(t, 3, do, func(q *queue[string]) {
		start = time.Now()
		q.add("a")
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond, 3500 * time.Millisecond, 7500 * time.Millisecond}
		if !slices.Equal(at, want) {
			t.Errorf("tried at %v, want %v", at, want)
		}
		if d := backOff(1000); d != longest {
			t.Errorf("after 1000 failures waits %s", d)
		}
	})
}

func TestQueueOneWorkerPerKey(t *testing.T) {
	var mu sync.Mutex
	open, runs := map[string]int{}, map[string]int{}
	do := func(_ context.Context, k string) (time.Duration, error) {
		mu.Lock()
		open[k]++
		runs[k]++
		if open[k] > 1 {
			t.Errorf("two workers on %s", k)
		}
		mu.Unlock()
		time.Sleep(time.Second)
		mu.Lock()
		open[k]--
		mu.Unlock()
		return 0, nil
	}
	inQueue(t, 4, do, func(q *queue[string]) {
		start := time.Now()
		for _, k := range []string{"a", "b", "c"} {
			q.add(k)
		}
		synctest.Wait() // all three run
		for range 10 {
			q.add("a")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if runs["a"] != 2 || runs["b"] != 1 || runs["c"] != 1 {
			t.Errorf("runs %v since %s; adding while it runs means once more", runs, time.Since(start))
		}
	})
}

func TestQueueAgainAfter(t *testing.T) {
	var at []time.Duration
	var start time.Time
	do := func(context.Context, string) (time.Duration, error) {
		at = append(at, time.Since(start))
		return time.Minute, nil
	}
	inQueue(t, 1, do, func(q *queue[string]) {
		start = time.Now()
		q.add("a")
		time.Sleep(30 * time.Second)
		q.add("a") // sooner than the timer, which it replaces
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if want := []time.Duration{0, 30 * time.Second, 90 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("worked at %v, want %v", at, want)
		}
	})
}

// TestWatchSurvivesGone lets the history overflow while the reconciler is slow.
func TestWatchSurvivesGone(t *testing.T) {
	inWorld(t, func(w *world, c *Config) {
		w.st = memory.NewStore(memory.History(4))
		c.Store = w.st
	}, func(w *world) {
		for i := range 40 {
			f := &api.Function{Metadata: api.Meta{UID: "u", Generation: 1}, Spec: api.FunctionSpec{Source: api.Source{Inline: "v"}}}
			w.write(functionKey("shop", string(rune('a'+i%26))+string(rune('a'+i/26))), f, store.New)
		}
		time.Sleep(time.Minute)
		l, err := w.st.List(w.t.Context(), store.Query{Resource: api.Functions})
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range l.Records {
			w.want(rec.Key.Name, allWell, rec.Key.Name+"-1")
		}
	})
}
