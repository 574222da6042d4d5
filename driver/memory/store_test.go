package memory_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/core/store/storetest"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(testing.TB) store.Store { return memory.NewStore() })
}

func TestStoreHistory(t *testing.T) {
	storetest.History(t, 10, func(testing.TB) store.Store { return memory.NewStore(memory.History(10)) })
}

// TestMarks holds the times of marks: at once when the watch has caught up,
// then that long after the last event.
func TestMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.NewStore()
		start := time.Now()
		go func() {
			time.Sleep(90 * time.Second)
			s.Apply(t.Context(), store.Key{Resource: "things", Name: "a"}, nil, store.New)
		}()
		var at []time.Duration
		for e, err := range s.Watch(t.Context(), store.Query{Marks: time.Minute}, 0) {
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, time.Since(start))
			if e.Type != store.EventMark && len(at) != 3 {
				t.Fatalf("event %d is no mark", len(at))
			}
			if len(at) == 5 {
				break
			}
		}
		for i, want := range []time.Duration{0, time.Minute, 90 * time.Second, 150 * time.Second, 210 * time.Second} {
			if at[i] != want {
				t.Fatalf("events at %v; number %d should be at %v", at, i, want)
			}
		}
	})
}
