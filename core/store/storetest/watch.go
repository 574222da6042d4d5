package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

func testWatchHistory(t *testing.T, s store.Store) {
	a := put(t, s, key("", "a"), "1", store.New)
	b := put(t, s, key("", "b"), "1", store.New)
	a2 := put(t, s, a.Key, "2", a.Revision)
	put(t, s, a.Key, "2", a2.Revision) // the same bytes: no event
	d := remove(t, s, b.Key, b.Revision)
	b2 := put(t, s, b.Key, "3", store.New)
	all := []store.Event{made(a), made(b), changed(a2), removed(d), made(b2)}
	watch(t, s, store.Query{}, 0).want(all...)
	for i, e := range all {
		watch(t, s, store.Query{Marks: time.Hour}, e.Record.Revision).want(append(slices.Clone(all[i+1:]), mark(b2.Revision))...)
	}
	// Limit, After and At are for lists only.
	watch(t, s, store.Query{Limit: 1, After: key("", "z"), At: 1}, 0).want(all...)
	// One iterator can be ranged over again and starts again.
	seq := s.Watch(t.Context(), store.Query{}, a.Revision)
	for range 2 {
		for e, err := range seq {
			if err != nil || !sameEvent(e, made(b)) {
				t.Fatalf("first event after %d: %s, %v", a.Revision, showEvent(e), err)
			}
			break
		}
	}
}

func testWatchLive(t *testing.T, s store.Store) {
	w := watch(t, s, store.Query{}, 0)
	var r store.Record
	for i := range 20 {
		r = put(t, s, key("", "a"), strconv.Itoa(i), r.Revision)
		if i == 0 {
			w.want(made(r))
		} else {
			w.want(changed(r))
		}
	}
	// A watch that is waiting is woken.
	got := make(chan store.Event, 1)
	go func() {
		e, _, _ := w.pull()
		got <- e
	}()
	d := remove(t, s, r.Key, r.Revision)
	if e := <-got; !sameEvent(e, removed(d)) {
		t.Fatalf("got %s, want %s", showEvent(e), showEvent(removed(d)))
	}
}

func testWatchSelects(t *testing.T, s store.Store) {
	fn := func(ns, name string) store.Key {
		return store.Key{Resource: "functions", Namespace: ns, Name: name}
	}
	queries := []store.Query{{}, {Resource: "things"}, {Namespace: "a"}, {Resource: "functions", Namespace: "b"}, {Resource: "none"}}
	watchers := make([]*watcher, len(queries))
	for i, q := range queries {
		q.Marks = time.Hour
		watchers[i] = watch(t, s, q, 0)
		watchers[i].want(mark(0))
	}
	var all []store.Event
	for _, k := range []store.Key{key("a", "x"), fn("a", "x"), fn("b", "x"), key("b", "x"), fn("b", "y"), key("", "x")} {
		r := put(t, s, k, "1", store.New)
		d := remove(t, s, k, r.Revision)
		all = append(all, made(r), removed(d))
	}
	for i, q := range queries {
		var want []store.Event
		for _, e := range all {
			if q.Selects(e.Record.Key) {
				want = append(want, e)
			}
		}
		watchers[i].want(want...)                                                                    // live
		q.Marks = time.Hour                                                                          //
		watch(t, s, q, 0).want(append(slices.Clone(want), mark(all[len(all)-1].Record.Revision))...) // from history
	}
}

func testWatchEnds(t *testing.T, s store.Store) {
	r := put(t, s, key("", "a"), "1", store.New)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	for e, err := range s.Watch(ctx, store.Query{}, 0) {
		if err != nil || !sameEvent(e, made(r)) {
			t.Fatalf("got %s, %v", showEvent(e), err)
		}
		n++
		cancel() // the loop must now end by itself, without an error
	}
	if n != 1 {
		t.Fatalf("%d events, want 1", n)
	}
	for range s.Watch(ctx, store.Query{Marks: time.Nanosecond}, 0) {
		t.Fatal("a watch with an ended context yielded")
	}

	// A watch that waits ends with its context too.
	ctx, cancel = context.WithCancel(t.Context())
	w := make(chan error, 1)
	go func() {
		var last error
		for e, err := range s.Watch(ctx, store.Query{Marks: time.Hour}, r.Revision) {
			if e.Type == store.EventMark {
				cancel()
				continue
			}
			last = fmt.Errorf("got %s, %w", showEvent(e), err)
		}
		w <- last
	}()
	if err := <-w; err != nil {
		t.Fatal(err)
	}
}

func testWatchFuture(t *testing.T, s store.Store) {
	r := put(t, s, key("", "a"), "1", store.New)
	n := 0
	for _, err := range s.Watch(t.Context(), store.Query{}, r.Revision+1) {
		wantCode(t, "watch from a revision the store never reached", err, api.CodeGone)
		n++
	}
	if n != 1 {
		t.Fatalf("%d errors, want one and the end", n)
	}
}

func testWatchMarks(t *testing.T, s store.Store) {
	r := put(t, s, key("", "a"), "1", store.New)
	w := watch(t, s, store.Query{Resource: "things", Marks: 5 * time.Millisecond}, 0)
	w.want(made(r), mark(r.Revision), mark(r.Revision), mark(r.Revision))
	// Marks move on with changes the watch does not select.
	other := put(t, s, store.Key{Resource: "other", Name: "x"}, "1", store.New)
	for {
		e := w.next()
		if e.Type != store.EventMark {
			t.Fatalf("got %s, want a mark", showEvent(e))
		}
		if e.Record.Revision == other.Revision {
			break
		}
	}
	r2 := put(t, s, r.Key, "2", r.Revision)
	for {
		e := w.next()
		if e.Type == store.EventPut {
			if !sameEvent(e, changed(r2)) {
				t.Fatalf("got %s", showEvent(e))
			}
			break
		}
		if e.Record.Revision >= r2.Revision {
			t.Fatalf("mark %d came before the change of revision %d", e.Record.Revision, r2.Revision)
		}
	}
	w.want(mark(r2.Revision))
}

// testWatchResume has writers change shared records while watchers stop and
// resume at random: each watcher sees every acknowledged change it selects
// once, in order, and can rebuild the store from what it saw.
func testWatchResume(t *testing.T, s store.Store) {
	const writers, each = 6, 60
	var mu sync.Mutex
	acked := map[int64]store.Event{}
	var writing, watching sync.WaitGroup
	finish := make(chan int64, 16) // the last revision, once per watcher
	for i := range writers {
		writing.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range each {
				k := key("n"+strconv.Itoa(rnd.IntN(2)), strconv.Itoa(rnd.IntN(5)))
				old, err := s.Get(t.Context(), k)
				var e store.Event
				if err == nil && rnd.IntN(3) == 0 {
					e.Type = store.EventDelete
					e.Record, err = s.Delete(t.Context(), k, old.Revision)
				} else {
					e.Type, e.Created = store.EventPut, old.Revision == 0
					e.Record, err = s.Apply(t.Context(), k, fmt.Appendf(nil, "%d-%d", i, n), old.Revision)
				}
				switch {
				case err == nil:
					mu.Lock()
					acked[e.Record.Revision] = e
					mu.Unlock()
				case !api.IsCode(err, api.CodeConflict) && !api.IsCode(err, api.CodeExists) && !api.IsCode(err, api.CodeNotFound):
					t.Error(err)
					return
				}
			}
		})
	}
	queries := []store.Query{{}, {Resource: "things"}, {Resource: "things", Namespace: "n0"}, {Namespace: "n1"}}
	seen := make([][]store.Event, len(queries))
	for i, q := range queries {
		q.Marks = time.Millisecond
		watching.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 2))
			var at, last int64 = 0, -1
			for at != last {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				stop := rnd.IntN(40)
				for e, err := range s.Watch(ctx, q, at) {
					if err != nil {
						t.Errorf("watch %d after %d: %v", i, at, err)
						cancel()
						return
					}
					if e.Type != store.EventMark {
						seen[i] = append(seen[i], e)
					}
					at = e.Record.Revision
					if last < 0 {
						select {
						case last = <-finish:
						default:
						}
					}
					if stop--; stop < 0 || at == last {
						break
					}
				}
				if ctx.Err() != nil {
					t.Errorf("watch %d brought nothing after %d for too long", i, at)
					last = at
				}
				cancel()
			}
		})
	}
	writing.Wait()
	final := list(t, s, store.Query{})
	for range queries {
		finish <- final.Revision
	}
	watching.Wait()
	if t.Failed() {
		return
	}
	for i, q := range queries {
		var want []store.Event
		for _, e := range acked {
			if q.Selects(e.Record.Key) {
				want = append(want, e)
			}
		}
		slices.SortFunc(want, func(a, b store.Event) int { return int(a.Record.Revision - b.Record.Revision) })
		if !slices.EqualFunc(seen[i], want, sameEvent) {
			t.Fatalf("watch %d (%+v) saw %d changes, %d were acknowledged; first difference: %s", i, q, len(seen[i]), len(want), firstDifference(seen[i], want))
		}
		built := map[store.Key]store.Record{}
		for _, e := range seen[i] {
			if e.Type == store.EventDelete {
				delete(built, e.Record.Key)
			} else {
				built[e.Record.Key] = e.Record
			}
		}
		now := list(t, s, q)
		for _, r := range now.Records {
			if !same(built[r.Key], r) {
				t.Fatalf("watch %d rebuilt %s, the store has %s", i, show(built[r.Key]), show(r))
			}
		}
		if len(built) != len(now.Records) {
			t.Fatalf("watch %d rebuilt %d records, the store has %d", i, len(built), len(now.Records))
		}
	}
}

// firstDifference says where two histories part.
func firstDifference(got, want []store.Event) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return "missing " + showEvent(want[i])
		case i >= len(want):
			return "too much " + showEvent(got[i])
		case !sameEvent(got[i], want[i]):
			return "got " + showEvent(got[i]) + ", want " + showEvent(want[i])
		}
	}
	return "none"
}
