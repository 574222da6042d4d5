package storetest

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/store"
)

// Durable checks that a store is the same after it was closed and opened again.
// open opens the store that lives in dir, and makes it if there is none.
func Durable(t *testing.T, open func(t testing.TB, dir string) store.Store) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	defer func() { s.Close() }()
	reopen := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
	}

	reopen() // an empty one too
	if l := list(t, s, store.Query{}); len(l.Records) != 0 || l.Revision != 0 {
		t.Fatalf("an empty store came back with %+v", l)
	}
	var events []store.Event
	for i := range 10 {
		resource := []string{"things", "secrets"}[i%2]
		r := put(t, s, store.Key{Resource: resource, Name: strconv.Itoa(i)}, "value "+strconv.Itoa(i), store.New)
		events = append(events, made(r))
	}
	events = append(events, removed(remove(t, s, events[3].Record.Key, events[3].Record.Revision)))
	last := events[len(events)-1].Record
	before := list(t, s, store.Query{})
	reopen()
	after := list(t, s, store.Query{})
	if after.Revision != before.Revision || !slices.EqualFunc(after.Records, before.Records, same) {
		t.Fatalf("came back with %+v, want %+v", after, before)
	}

	// A watch resumes over the restart, and revisions go on where they were.
	w := watch(t, s, store.Query{Marks: time.Hour}, events[4].Record.Revision)
	w.want(append(slices.Clone(events[5:]), mark(last.Revision))...)
	r := put(t, s, last.Key, "again", store.New)
	if r.Revision <= last.Revision {
		t.Fatalf("revision %d was given again after a restart (newest was %d)", r.Revision, last.Revision)
	}
	w.want(made(r))
	d := remove(t, s, r.Key, r.Revision)
	reopen()
	if l := list(t, s, store.Query{}); l.Revision != d.Revision {
		t.Fatalf("revision is %d after a restart, want that of the last deletion, %d", l.Revision, d.Revision)
	}
}
