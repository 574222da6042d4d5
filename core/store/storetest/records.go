package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

func testGet(t *testing.T, s store.Store) {
	k := key("a", "one")
	_, err := s.Get(t.Context(), k)
	wantCode(t, "Get of nothing", err, api.CodeNotFound)
	r := put(t, s, k, "1", store.New)
	got, err := s.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	wantRecord(t, "Get", got, r)
	for _, other := range []store.Key{key("", "one"), key("b", "one"), key("a", "two"), {Resource: "other", Namespace: "a", Name: "one"}} {
		_, err := s.Get(t.Context(), other)
		wantCode(t, "Get of "+other.String(), err, api.CodeNotFound)
	}
}

func testApplyNew(t *testing.T, s store.Store) {
	k := key("a", "one")
	_, err := s.Apply(t.Context(), k, []byte("x"), 7)
	wantCode(t, "Apply of a change to nothing", err, api.CodeNotFound)
	if l := list(t, s, store.Query{}); len(l.Records) != 0 || l.Revision != 0 {
		t.Fatalf("a refused write left %+v", l)
	}
	r := put(t, s, k, "1", store.New)
	for _, v := range []string{"1", "2"} {
		_, err = s.Apply(t.Context(), k, []byte(v), store.New)
		wantCode(t, "Apply as new of what is there", err, api.CodeExists)
	}
	got, _ := s.Get(t.Context(), k)
	wantRecord(t, "after refused writes", got, r)
}

func testApplyChange(t *testing.T, s store.Store) {
	k := key("a", "one")
	r1 := put(t, s, k, "1", store.New)
	other := put(t, s, key("a", "other"), "1", store.New)
	r2 := put(t, s, k, "2", r1.Revision)
	if r1.Revision >= other.Revision || other.Revision >= r2.Revision {
		t.Fatalf("revisions are not one growing history: %d, %d, %d", r1.Revision, other.Revision, r2.Revision)
	}
	for _, expect := range []int64{r1.Revision, other.Revision, r2.Revision + 1, -1} {
		_, err := s.Apply(t.Context(), k, []byte("3"), expect)
		wantCode(t, fmt.Sprintf("Apply with revision %d instead of %d", expect, r2.Revision), err, api.CodeConflict)
	}
	got, _ := s.Get(t.Context(), k)
	wantRecord(t, "after refused writes", got, r2)
	remove(t, s, k, r2.Revision)
	_, err := s.Apply(t.Context(), k, []byte("3"), r2.Revision)
	wantCode(t, "Apply to what was removed", err, api.CodeNotFound)
}

func testApplySame(t *testing.T, s store.Store) {
	for _, resource := range []string{"things", "secrets"} { // drivers may keep secrets in another form
		k := store.Key{Resource: resource, Namespace: "a", Name: "one"}
		r := put(t, s, k, "1", store.New)
		again := put(t, s, k, "1", r.Revision)
		wantRecord(t, "Apply of the same bytes", again, r)
		if l := list(t, s, store.Query{}); l.Revision != r.Revision {
			t.Fatalf("Apply of the same bytes moved the store from revision %d to %d", r.Revision, l.Revision)
		}
		_, err := s.Apply(t.Context(), k, []byte("1"), r.Revision+1)
		wantCode(t, "Apply of the same bytes with a wrong revision", err, api.CodeConflict)
	}
}

func testDelete(t *testing.T, s store.Store) {
	k := key("a", "one")
	_, err := s.Delete(t.Context(), k, 1)
	wantCode(t, "Delete of nothing", err, api.CodeNotFound)
	r := put(t, s, k, "1", store.New)
	for _, expect := range []int64{0, r.Revision + 1} {
		_, err = s.Delete(t.Context(), k, expect)
		wantCode(t, fmt.Sprintf("Delete with revision %d instead of %d", expect, r.Revision), err, api.CodeConflict)
	}
	d := remove(t, s, k, r.Revision)
	if d.Key != k || string(d.Value) != "1" || d.Revision <= r.Revision {
		t.Fatalf("Delete returned %s; want the value as it was and the revision of the deletion (after %d)", show(d), r.Revision)
	}
	_, err = s.Get(t.Context(), k)
	wantCode(t, "Get of what was removed", err, api.CodeNotFound)
	if l := list(t, s, store.Query{}); len(l.Records) != 0 || l.Revision != d.Revision {
		t.Fatalf("List after Delete: %+v, want none at revision %d", l, d.Revision)
	}
	_, err = s.Delete(t.Context(), k, d.Revision)
	wantCode(t, "second Delete", err, api.CodeNotFound)
	if again := put(t, s, k, "1", store.New); again.Revision <= d.Revision {
		t.Fatalf("made again with revision %d, not after its deletion %d", again.Revision, d.Revision)
	}
}

func testOdd(t *testing.T, s store.Store) {
	big := bytes.Repeat([]byte("hearth "), 100_000)
	names := []string{"a", "A", "a b", "a/b", "a'b\"", "ä€𝄞", "a%", "a_", "-1", "1", "01", strings.Repeat("n", 1000)}
	values := [][]byte{nil, {}, {0}, []byte("null"), []byte("'; --"), {0xff, 0xfe, 0}, big, []byte("1"), []byte("1.0"), []byte("true"), []byte(" "), []byte("ü")}
	for i, n := range names {
		for _, resource := range []string{"things", "secrets"} {
			k := store.Key{Resource: resource, Namespace: n, Name: n}
			r, err := s.Apply(t.Context(), k, values[i], store.New)
			if err != nil {
				t.Fatalf("Apply(%q): %v", n, err)
			}
			got, err := s.Get(t.Context(), k)
			if err != nil || !same(got, r) || !bytes.Equal(got.Value, values[i]) {
				t.Fatalf("Get(%q): a value of %d bytes came back as %d bytes, error %v", n, len(values[i]), len(got.Value), err)
			}
			if again, err := s.Apply(t.Context(), k, values[i], r.Revision); err != nil || again.Revision != r.Revision {
				t.Fatalf("Apply(%q) of the same bytes: revision %d, error %v", n, again.Revision, err)
			}
		}
	}
	l := list(t, s, store.Query{Resource: "things"})
	if len(l.Records) != len(names) {
		t.Fatalf("List has %d records, want %d", len(l.Records), len(names))
	}
}

func testListOrder(t *testing.T, s store.Store) {
	empty := list(t, s, store.Query{})
	if len(empty.Records) != 0 || empty.More || empty.Revision != 0 {
		t.Fatalf("List of an empty store: %+v", empty)
	}
	var all []store.Record
	for _, k := range []store.Key{
		{Resource: "b", Name: "x"}, key("b", "b"), key("a", "c"), key("b", "a"), key("", "z"), key("a", "b"), key("ab", "a"), key("a-", "a"),
		{Resource: "thing", Namespace: "a", Name: "b"},
	} {
		all = append(all, put(t, s, k, k.Name, store.New))
	}
	newest := all[len(all)-1].Revision
	slices.SortFunc(all, func(a, b store.Record) int { return store.Compare(a.Key, b.Key) })
	for _, q := range []store.Query{{}, {Resource: "things"}, {Resource: "things", Namespace: "a"}, {Namespace: "a"}, {Resource: "none"}, {Resource: "things", Namespace: "none"}} {
		var want []store.Record
		for _, r := range all {
			if q.Selects(r.Key) {
				want = append(want, r)
			}
		}
		got := list(t, s, q)
		if !slices.EqualFunc(got.Records, want, same) || got.More || got.Revision != newest {
			t.Fatalf("List(%+v) = %v more %t revision %d; want %v, revision %d", q, got.Records, got.More, got.Revision, want, newest)
		}
	}
}

func testListPages(t *testing.T, s store.Store) {
	var want []store.Record
	for i := range 23 {
		want = append(want, put(t, s, key("n"+strconv.Itoa(i/8), fmt.Sprintf("k%02d", i)), "v", store.New))
	}
	put(t, s, store.Key{Resource: "other", Name: "k"}, "v", store.New)
	for _, limit := range []int{1, 4, 22, 23, 24} {
		var got []store.Record
		q := store.Query{Resource: "things", Limit: limit}
		for pages := 1; ; pages++ {
			l := list(t, s, q)
			got = append(got, l.Records...)
			if len(l.Records) > limit || l.More != (len(got) < len(want)) {
				t.Fatalf("limit %d, page %d: %d records, more %t, after %d of %d", limit, pages, len(l.Records), l.More, len(got), len(want))
			}
			if !l.More {
				break
			}
			q.After, q.At = l.Records[len(l.Records)-1].Key, l.Revision
		}
		if !slices.EqualFunc(got, want, same) {
			t.Fatalf("limit %d: the pages hold %v, want %v", limit, got, want)
		}
	}

	// Writes between pages: keys that stay come once each, and the revision of
	// every page is one from which a watch misses nothing.
	q := store.Query{Resource: "things", Limit: 10}
	first := list(t, s, q)
	remove(t, s, want[2].Key, want[2].Revision)
	put(t, s, key("n0", "k00a"), "v", store.New)
	put(t, s, want[20].Key, "changed", want[20].Revision)
	q.After, q.At, q.Limit = first.Records[9].Key, first.Revision, 0
	second := list(t, s, q)
	if n := len(first.Records) + len(second.Records); n != 23 || second.More {
		t.Fatalf("two pages with writes between hold %d records, want 23", n)
	}
	if second.Revision != first.Revision {
		t.Fatalf("second page has revision %d, want that of the first, %d", second.Revision, first.Revision)
	}
}

func testListSnapshot(t *testing.T, s store.Store) {
	// Two records are always changed one after the other, the first one first:
	// a list of one revision never shows the second ahead of the first.
	a, b := put(t, s, key("", "a"), "0", store.New), put(t, s, key("", "b"), "0", store.New)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; i <= 100; i++ {
			var err error
			if a, err = s.Apply(t.Context(), a.Key, []byte(strconv.Itoa(i)), a.Revision); err != nil {
				t.Error(err)
				return
			}
			if b, err = s.Apply(t.Context(), b.Key, []byte(strconv.Itoa(i)), b.Revision); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		l := list(t, s, store.Query{})
		va, _ := strconv.Atoi(string(l.Records[0].Value))
		vb, _ := strconv.Atoi(string(l.Records[1].Value))
		if vb > va || va > vb+1 || l.Revision != max(l.Records[0].Revision, l.Records[1].Revision) {
			t.Fatalf("a list mixes revisions: a=%d b=%d of revisions %d, %d; the list says %d", va, vb, l.Records[0].Revision, l.Records[1].Revision, l.Revision)
		}
	}
}

func testCounter(t *testing.T, s store.Store) {
	k := key("", "counter")
	put(t, s, k, "0", store.New)
	const writers, each = 8, 15
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for n := 0; n < each; {
				r, err := s.Get(t.Context(), k)
				if err != nil {
					t.Error(err)
					return
				}
				v, _ := strconv.Atoi(string(r.Value))
				_, err = s.Apply(t.Context(), k, []byte(strconv.Itoa(v+1)), r.Revision)
				switch {
				case err == nil:
					n++
				case !api.IsCode(err, api.CodeConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if r, _ := s.Get(t.Context(), k); string(r.Value) != strconv.Itoa(writers*each) {
		t.Fatalf("%d increments with the expected revision made %s", writers*each, r.Value)
	}
}

func testOneWinner(t *testing.T, s store.Store) {
	for round := range 10 {
		k := key("", strconv.Itoa(round))
		var wg sync.WaitGroup
		results := make([]error, 8)
		for i := range results {
			wg.Go(func() { _, results[i] = s.Apply(t.Context(), k, []byte(strconv.Itoa(i)), store.New) })
		}
		wg.Wait()
		won := -1
		for i, err := range results {
			switch {
			case err == nil && won < 0:
				won = i
			case !api.IsCode(err, api.CodeExists):
				t.Fatalf("round %d: writer %d got %v although writer %d won", round, i, err, won)
			}
		}
		if r, err := s.Get(t.Context(), k); err != nil || string(r.Value) != strconv.Itoa(won) {
			t.Fatalf("round %d: winner %d, kept %s, error %v", round, won, show(r), err)
		}
	}
}

func testCanceled(t *testing.T, s store.Store) {
	r := put(t, s, key("", "a"), "1", store.New)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, errGet := s.Get(ctx, r.Key)
	_, errList := s.List(ctx, store.Query{})
	_, errApply := s.Apply(ctx, r.Key, []byte("2"), r.Revision)
	_, errDelete := s.Delete(ctx, key("", "a"), r.Revision)
	for i, err := range []error{errGet, errList, errApply, errDelete} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("call %d with an ended context: %v, want context.Canceled", i, err)
		}
	}
}

func testClose(t *testing.T, s store.Store) {
	r := put(t, s, key("", "a"), "1", store.New)
	w := watch(t, s, store.Query{}, r.Revision)
	ended := make(chan error, 1)
	go func() {
		e, err, ok := w.pull()
		if ok {
			err = fmt.Errorf("the watch yielded %s, %w", showEvent(e), err)
		}
		ended <- err
	}()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(t.Context(), r.Key)
	wantCode(t, "Get of a closed store", err, api.CodeNotReady)
	_, err = s.List(t.Context(), store.Query{})
	wantCode(t, "List of a closed store", err, api.CodeNotReady)
	_, err = s.Apply(t.Context(), r.Key, []byte("2"), r.Revision)
	wantCode(t, "Apply to a closed store", err, api.CodeNotReady)
	_, err = s.Delete(t.Context(), r.Key, r.Revision)
	wantCode(t, "Delete from a closed store", err, api.CodeNotReady)
	for range s.Watch(t.Context(), store.Query{}, 0) {
		t.Fatal("a watch of a closed store yielded")
	}
}
