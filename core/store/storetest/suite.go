// Package storetest holds the conformance suite of core/store: every sentence
// of the contract as a test. A driver's own test is a call of Run, of History
// when it can keep less history, and of Durable when it outlives the process.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// patience bounds every wait of the suite; a correct driver never needs it.
const patience = 2 * time.Minute

// Run checks that what open returns keeps the contract. open must return a new,
// empty store that keeps at least 2 000 changes of history; the suite closes it.
func Run(t *testing.T, open func(t testing.TB) store.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"Get", testGet},
		{"ApplyNew", testApplyNew},
		{"ApplyChange", testApplyChange},
		{"ApplySame", testApplySame},
		{"Delete", testDelete},
		{"OddKeysAndValues", testOdd},
		{"ListOrder", testListOrder},
		{"ListPages", testListPages},
		{"ListIsOneRevision", testListSnapshot},
		{"NoLostUpdate", testCounter},
		{"OneWinner", testOneWinner},
		{"CanceledCalls", testCanceled},
		{"Close", testClose},
		{"WatchHistory", testWatchHistory},
		{"WatchLive", testWatchLive},
		{"WatchSelects", testWatchSelects},
		{"WatchEnds", testWatchEnds},
		{"WatchFuture", testWatchFuture},
		{"WatchMarks", testWatchMarks},
		{"WatchResume", testWatchResume},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { s.Close() })
			c.run(t, s)
		})
	}
	t.Run("Model", func(t *testing.T) { Compare(t, func(testing.TB) store.Store { return nil }, open) })
}

// key is a short way to a key of resource "things".
func key(namespace, name string) store.Key {
	return store.Key{Resource: "things", Namespace: namespace, Name: name}
}

// put applies and fails the test on an error.
func put(t testing.TB, s store.Store, k store.Key, value string, expect int64) store.Record {
	t.Helper()
	r, err := s.Apply(t.Context(), k, []byte(value), expect)
	if err != nil {
		t.Fatalf("Apply(%s, %q, %d): %v", k, value, expect, err)
	}
	if r.Key != k || string(r.Value) != value || r.Revision <= 0 {
		t.Fatalf("Apply(%s, %q, %d) = %s", k, value, expect, show(r))
	}
	return r
}

// remove deletes and fails the test on an error.
func remove(t testing.TB, s store.Store, k store.Key, expect int64) store.Record {
	t.Helper()
	r, err := s.Delete(t.Context(), k, expect)
	if err != nil {
		t.Fatalf("Delete(%s, %d): %v", k, expect, err)
	}
	return r
}

// list lists and fails the test on an error.
func list(t testing.TB, s store.Store, q store.Query) store.List {
	t.Helper()
	l, err := s.List(t.Context(), q)
	if err != nil {
		t.Fatalf("List(%+v): %v", q, err)
	}
	return l
}

// wantCode fails the test when err is not an *api.Error of code c.
func wantCode(t testing.TB, what string, err error, c api.Code) {
	t.Helper()
	if !api.IsCode(err, c) {
		t.Fatalf("%s: got error %v, want code %s", what, err, c)
	}
}

// wantRecord fails the test when the two differ.
func wantRecord(t testing.TB, what string, got, want store.Record) {
	t.Helper()
	if !same(got, want) {
		t.Fatalf("%s: got %s, want %s", what, show(got), show(want))
	}
}

// same compares records; no value and an empty one are the same.
func same(a, b store.Record) bool {
	return a.Key == b.Key && a.Revision == b.Revision && bytes.Equal(a.Value, b.Value)
}

// sameEvent compares events.
func sameEvent(a, b store.Event) bool {
	return a.Type == b.Type && a.Created == b.Created && same(a.Record, b.Record)
}

// show is a record in one line.
func show(r store.Record) string {
	return fmt.Sprintf("{%s revision %d value %q}", r.Key, r.Revision, r.Value)
}

// showEvent is an event in one line.
func showEvent(e store.Event) string {
	return fmt.Sprintf("{type %d created %t %s}", e.Type, e.Created, show(e.Record))
}

// watcher pulls events one by one.
type watcher struct {
	t    testing.TB
	pull func() (store.Event, error, bool)
	stop func()
	end  context.CancelFunc
}

// watch starts a watch that ends with the test.
func watch(t testing.TB, s store.Store, q store.Query, after int64) *watcher {
	t.Helper()
	ctx, end := context.WithTimeout(context.Background(), patience)
	pull, stop := iter.Pull2(s.Watch(ctx, q, after))
	w := &watcher{t: t, pull: pull, stop: stop, end: end}
	t.Cleanup(w.close)
	return w
}

// close ends the watch.
func (w *watcher) close() {
	w.end()
	w.stop()
}

// next returns the next event and fails the test if there is none.
func (w *watcher) next() store.Event {
	w.t.Helper()
	e, err, ok := w.pull()
	if !ok {
		w.t.Fatal("the watch ended, or brought nothing for too long")
	}
	if err != nil {
		w.t.Fatalf("watch: %v", err)
	}
	return e
}

// want fails the test when the next events are not these.
func (w *watcher) want(events ...store.Event) {
	w.t.Helper()
	for _, want := range events {
		if got := w.next(); !sameEvent(got, want) {
			w.t.Fatalf("watch: got %s, want %s", showEvent(got), showEvent(want))
		}
	}
}

// made, changed and removed are the events of a write that returned r.
func made(r store.Record) store.Event {
	return store.Event{Type: store.EventPut, Record: r, Created: true}
}

func changed(r store.Record) store.Event { return store.Event{Type: store.EventPut, Record: r} }

func removed(r store.Record) store.Event { return store.Event{Type: store.EventDelete, Record: r} }

// mark is an EventMark of revision r.
func mark(r int64) store.Event {
	return store.Event{Type: store.EventMark, Record: store.Record{Revision: r}}
}
