package storetest

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
	"pgregory.net/rapid"
)

// Compare runs random operations on a store of open and on one of reference and
// fails when their answers differ. A reference that returns nil stands for the
// suite's own model, which is a map and a list. Both must return empty stores;
// Compare closes them.
func Compare(t *testing.T, reference, open func(t testing.TB) store.Store) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{t: t, ctx: t.Context(), is: open(t)}
		defer m.is.Close()
		if ref := reference(t); ref != nil {
			m.want = ref
			defer ref.Close()
		} else {
			m.want = &model{now: map[store.Key]store.Record{}}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"apply": m.apply, "change": m.change, "delete": m.remove, "get": m.get, "list": m.list, "pages": m.pages, "watch": m.watch,
		})
	})
}

// verbs is the part of a store the model has.
type verbs interface {
	Get(context.Context, store.Key) (store.Record, error)
	List(context.Context, store.Query) (store.List, error)
	Apply(context.Context, store.Key, []byte, int64) (store.Record, error)
	Delete(context.Context, store.Key, int64) (store.Record, error)
}

// machine drives both sides. log is what happened, in order of revision.
type machine struct {
	t    *testing.T
	ctx  context.Context
	is   store.Store
	want verbs
	log  []store.Event
	rev  int64
}

func drawKey(t *rapid.T) store.Key {
	return store.Key{
		Resource:  rapid.SampledFrom([]string{"things", "secrets"}).Draw(t, "resource"),
		Namespace: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "namespace"),
		Name:      rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name"),
	}
}

func drawQuery(t *rapid.T) store.Query {
	return store.Query{
		Resource:  rapid.SampledFrom([]string{"", "things", "secrets", "none"}).Draw(t, "resource"),
		Namespace: rapid.SampledFrom([]string{"", "a", "b", "none"}).Draw(t, "namespace"),
	}
}

// agree fails when two answers differ, errors by their code.
func agree(t *rapid.T, what string, got store.Record, gotErr error, want store.Record, wantErr error) {
	if code(gotErr) != code(wantErr) || !same(got, want) {
		t.Fatalf("%s: got %s, %v; want %s, %v", what, show(got), gotErr, show(want), wantErr)
	}
}

func code(err error) api.Code {
	if err == nil {
		return ""
	}
	return api.AsError(err).Code
}

// apply writes with any expectation, most of them wrong.
func (m *machine) apply(t *rapid.T) {
	m.write(t, drawKey(t), rapid.Int64Range(-1, m.rev+1).Draw(t, "expect"))
}

// change writes with the right expectation.
func (m *machine) change(t *rapid.T) {
	k := drawKey(t)
	r, _ := m.want.Get(m.ctx, k)
	m.write(t, k, r.Revision)
}

func (m *machine) write(t *rapid.T, k store.Key, expect int64) {
	value := rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "value")
	old, _ := m.want.Get(m.ctx, k)
	want, wantErr := m.want.Apply(m.ctx, k, []byte(value), expect)
	got, err := m.is.Apply(m.ctx, k, []byte(value), expect)
	agree(t, "Apply", got, err, want, wantErr)
	if err == nil && got.Revision != old.Revision {
		m.log = append(m.log, store.Event{Type: store.EventPut, Record: want, Created: old.Revision == 0})
		m.rev = want.Revision
	}
}

func (m *machine) remove(t *rapid.T) {
	k := drawKey(t)
	r, _ := m.want.Get(m.ctx, k)
	expect := rapid.SampledFrom([]int64{r.Revision, r.Revision, r.Revision + 1, 0}).Draw(t, "expect")
	want, wantErr := m.want.Delete(m.ctx, k, expect)
	got, err := m.is.Delete(m.ctx, k, expect)
	agree(t, "Delete", got, err, want, wantErr)
	if err == nil {
		m.log = append(m.log, store.Event{Type: store.EventDelete, Record: want})
		m.rev = want.Revision
	}
}

func (m *machine) get(t *rapid.T) {
	k := drawKey(t)
	want, wantErr := m.want.Get(m.ctx, k)
	got, err := m.is.Get(m.ctx, k)
	agree(t, "Get", got, err, want, wantErr)
}

func (m *machine) list(t *rapid.T) {
	q := drawQuery(t)
	q.Limit = rapid.IntRange(0, 4).Draw(t, "limit")
	if rapid.Bool().Draw(t, "continue") {
		q.After = drawKey(t)
		q.At = rapid.Int64Range(0, m.rev).Draw(t, "at")
	}
	want, _ := m.want.List(m.ctx, q)
	got, err := m.is.List(m.ctx, q)
	if err != nil || got.Revision != want.Revision || got.More != want.More || !slices.EqualFunc(got.Records, want.Records, same) {
		t.Fatalf("List(%+v) = %+v, %v; want %+v", q, got, err, want)
	}
}

// pages reads in pages what list reads at once.
func (m *machine) pages(t *rapid.T) {
	q := drawQuery(t)
	want, _ := m.want.List(m.ctx, q)
	q.Limit = rapid.IntRange(1, 5).Draw(t, "limit")
	var got []store.Record
	for {
		l, err := m.is.List(m.ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, l.Records...)
		if !l.More {
			break
		}
		q.After, q.At = l.Records[len(l.Records)-1].Key, l.Revision
	}
	if !slices.EqualFunc(got, want.Records, same) {
		t.Fatalf("pages of %+v hold %v, want %v", q, got, want.Records)
	}
}

// watch reads the history after some revision up to the mark.
func (m *machine) watch(t *rapid.T) {
	q := drawQuery(t)
	after := rapid.Int64Range(0, m.rev).Draw(t, "after")
	var want []store.Event
	for _, e := range m.log {
		if e.Record.Revision > after && q.Selects(e.Record.Key) {
			want = append(want, e)
		}
	}
	want = append(want, mark(m.rev))
	q.Marks = time.Hour
	ctx, cancel := context.WithTimeout(m.ctx, patience)
	defer cancel()
	var got []store.Event
	for e, err := range m.is.Watch(ctx, q, after) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
		if e.Type == store.EventMark {
			break
		}
	}
	if !slices.EqualFunc(got, want, sameEvent) {
		t.Fatalf("Watch(%+v) after %d: %s", q, after, firstDifference(got, want))
	}
}

// model is the contract in its shortest form.
type model struct {
	now map[store.Key]store.Record
	rev int64
}

func (m *model) Get(_ context.Context, k store.Key) (store.Record, error) {
	r, ok := m.now[k]
	if !ok {
		return r, store.NotFound(k)
	}
	return r, nil
}

func (m *model) List(_ context.Context, q store.Query) (store.List, error) {
	l := store.List{Revision: m.rev}
	if q.At > 0 {
		l.Revision = q.At
	}
	for k, r := range m.now {
		if q.Selects(k) && (q.After == store.Key{} || store.Compare(k, q.After) > 0) {
			l.Records = append(l.Records, r)
		}
	}
	slices.SortFunc(l.Records, func(a, b store.Record) int { return store.Compare(a.Key, b.Key) })
	if q.Limit > 0 && len(l.Records) > q.Limit {
		l.Records, l.More = l.Records[:q.Limit], true
	}
	return l, nil
}

func (m *model) Apply(_ context.Context, k store.Key, value []byte, expect int64) (store.Record, error) {
	old, had := m.now[k]
	if err := store.Check(k, expect, old.Revision); err != nil {
		return store.Record{}, err
	}
	if had && bytes.Equal(old.Value, value) {
		return old, nil
	}
	m.rev++
	r := store.Record{Key: k, Revision: m.rev, Value: value}
	m.now[k] = r
	return r, nil
}

func (m *model) Delete(_ context.Context, k store.Key, expect int64) (store.Record, error) {
	r, had := m.now[k]
	switch {
	case !had:
		return store.Record{}, store.NotFound(k)
	case r.Revision != expect:
		return store.Record{}, store.Conflict(k, expect, r.Revision)
	}
	delete(m.now, k)
	m.rev++
	r.Revision = m.rev
	return r, nil
}
