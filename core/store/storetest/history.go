package storetest

import (
	"strconv"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// History checks what happens when changes are forgotten. open must return a
// new, empty store that keeps at least the newest keep changes and, once 10 x
// keep more were made, not the oldest; keep must be at least 10. A driver may
// forget a little later than its limit, never earlier.
func History(t *testing.T, keep int, open func(t testing.TB) store.Store) {
	t.Helper()
	start := func(t *testing.T) store.Store {
		s := open(t)
		t.Cleanup(func() { s.Close() })
		return s
	}
	t.Run("Forgotten", func(t *testing.T) { testForgotten(t, start(t), keep) })
	t.Run("SlowWatch", func(t *testing.T) { testSlowWatch(t, start(t), keep) })
	t.Run("RecordsStay", func(t *testing.T) { testRecordsStay(t, start(t), keep) })
}

// churn changes one record n times and returns it.
func churn(t *testing.T, s store.Store, r store.Record, n int) store.Record {
	t.Helper()
	for i := range n {
		r = put(t, s, key("", "churn"), strconv.Itoa(i)+"/"+strconv.FormatInt(r.Revision, 10), r.Revision)
	}
	return r
}

func testForgotten(t *testing.T, s store.Store, keep int) {
	r := churn(t, s, store.Record{}, 11*keep)
	n := 0
	for e, err := range s.Watch(t.Context(), store.Query{}, 0) {
		if err == nil {
			t.Fatalf("a watch of a forgotten history began with %s", showEvent(e))
		}
		wantCode(t, "watch of a forgotten history", err, api.CodeGone)
		n++
	}
	if n != 1 {
		t.Fatalf("%d errors, want one and the end", n)
	}
	w := watch(t, s, store.Query{Marks: time.Hour}, r.Revision-int64(keep))
	for i := range keep {
		e := w.next()
		if want := r.Revision - int64(keep) + int64(i) + 1; e.Type != store.EventPut || e.Record.Revision != want {
			t.Fatalf("got %s, want the change of revision %d", showEvent(e), want)
		}
	}
	w.want(mark(r.Revision))
	// What the error says to do works.
	l := list(t, s, store.Query{})
	watch(t, s, store.Query{Marks: time.Hour}, l.Revision).want(mark(l.Revision))
}

// testSlowWatch stops in the middle of a watch while writers go on: they are
// not held up, and the watch ends with CodeGone before it skips anything.
func testSlowWatch(t *testing.T, s store.Store, keep int) {
	r := churn(t, s, store.Record{}, 1)
	at, wrote := int64(0), false
	var gone error
	for e, err := range s.Watch(t.Context(), store.Query{}, 0) {
		if err != nil {
			gone = err
			break
		}
		if e.Record.Revision != at+1 {
			t.Fatalf("the watch went from revision %d to %d", at, e.Record.Revision)
		}
		at = e.Record.Revision
		if !wrote {
			wrote = true
			r = churn(t, s, r, 20*keep+200) // the consumer is busy
		}
	}
	wantCode(t, "slow watch", gone, api.CodeGone)
	if at >= r.Revision-int64(keep) {
		t.Fatalf("the watch ended at revision %d of %d with %v", at, r.Revision, gone)
	}
}

// testRecordsStay holds that forgetting changes never touches records.
func testRecordsStay(t *testing.T, s store.Store, keep int) {
	a := put(t, s, key("", "a"), "1", store.New)
	b := put(t, s, store.Key{Resource: "secrets", Name: "b"}, "hidden", store.New)
	c := put(t, s, key("", "c"), "1", store.New)
	d := remove(t, s, c.Key, c.Revision)
	r := churn(t, s, store.Record{}, 11*keep)
	for _, want := range []store.Record{a, b, r} {
		got, err := s.Get(t.Context(), want.Key)
		if err != nil {
			t.Fatal(err)
		}
		wantRecord(t, "after the change was forgotten", got, want)
	}
	if l := list(t, s, store.Query{}); len(l.Records) != 3 || l.Revision != r.Revision {
		t.Fatalf("List: %+v", l)
	}
	a2 := put(t, s, a.Key, "2", a.Revision)
	db := remove(t, s, b.Key, b.Revision)
	watch(t, s, store.Query{}, r.Revision).want(changed(a2), removed(db))
	if _, err := s.Get(t.Context(), c.Key); !api.IsCode(err, api.CodeNotFound) {
		t.Fatalf("%s came back: %v", show(d), err)
	}
	churn(t, s, r, 11*keep)
	got, err := s.Get(t.Context(), a.Key)
	if err != nil {
		t.Fatal(err)
	}
	wantRecord(t, "after its second change was forgotten", got, a2)
}
