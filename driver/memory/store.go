package memory

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// HistoryDefault is how many changes a store keeps for watches.
const HistoryDefault = 10_000

// StoreOption changes how NewStore makes a store.
type StoreOption func(*records)

// History keeps the newest n changes for watches instead of HistoryDefault.
func History(n int) StoreOption { return func(s *records) { s.keep = n } }

// NewStore returns an empty store. Its watches run in the goroutine of their
// consumer; it starts none.
func NewStore(opts ...StoreOption) store.Store {
	s := &records{keep: HistoryDefault, now: make(map[store.Key]store.Record), news: make(chan struct{})}
	for _, o := range opts {
		o(s)
	}
	return s
}

// records implements store.Store. The history is a slice without holes: the
// change of revision r is at r-floor-1.
type records struct {
	keep int

	mu      sync.Mutex
	closed  bool
	now     map[store.Key]store.Record
	rev     int64         // newest revision
	floor   int64         // newest revision whose change is forgotten
	history []store.Event // changes floor+1 … rev
	news    chan struct{} // closed and replaced at every change, and by Close
}

// Get implements store.Store.
func (s *records) Get(ctx context.Context, key store.Key) (store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return store.Record{}, err
	}
	r, ok := s.now[key]
	if !ok {
		return store.Record{}, store.NotFound(key)
	}
	return r, nil
}

// List implements store.Store. It cannot read the past: q.At is only answered.
func (s *records) List(ctx context.Context, q store.Query) (store.List, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return store.List{}, err
	}
	l := store.List{Revision: s.rev}
	if q.At > 0 && q.At < s.rev {
		l.Revision = q.At
	}
	for k, r := range s.now {
		if q.Selects(k) && (q.After == store.Key{} || store.Compare(k, q.After) > 0) {
			l.Records = append(l.Records, r)
		}
	}
	slices.SortFunc(l.Records, func(a, b store.Record) int { return store.Compare(a.Key, b.Key) })
	if q.Limit > 0 && len(l.Records) > q.Limit {
		l.Records, l.More = l.Records[:q.Limit:q.Limit], true
	}
	return l, nil
}

// Apply implements store.Store.
func (s *records) Apply(ctx context.Context, key store.Key, value []byte, expect int64) (store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return store.Record{}, err
	}
	old, had := s.now[key]
	if err := store.Check(key, expect, old.Revision); err != nil {
		return store.Record{}, err
	}
	if had && bytes.Equal(old.Value, value) {
		return old, nil
	}
	r := store.Record{Key: key, Revision: s.rev + 1, Value: value}
	s.now[key] = r
	s.add(store.Event{Type: store.EventPut, Record: r, Created: !had})
	return r, nil
}

// Delete implements store.Store.
func (s *records) Delete(ctx context.Context, key store.Key, expect int64) (store.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return store.Record{}, err
	}
	r, had := s.now[key]
	if !had {
		return store.Record{}, store.NotFound(key)
	}
	if r.Revision != expect {
		return store.Record{}, store.Conflict(key, expect, r.Revision)
	}
	delete(s.now, key)
	r.Revision = s.rev + 1
	s.add(store.Event{Type: store.EventDelete, Record: r})
	return r, nil
}

// Watch implements store.Store.
func (s *records) Watch(ctx context.Context, q store.Query, after int64) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		var marks <-chan time.Time
		var timer *time.Timer
		if q.Marks > 0 {
			timer = time.NewTimer(q.Marks)
			defer timer.Stop()
			marks = timer.C
		}
		at, due := after, q.Marks > 0 // due: a mark is owed as soon as the watch has caught up
		for ctx.Err() == nil {
			batch, news, err := s.since(at)
			if err != nil {
				if !api.IsCode(err, api.CodeNotReady) {
					yield(store.Event{}, err)
				}
				return
			}
			for _, e := range batch {
				at = e.Record.Revision
				if !q.Selects(e.Record.Key) {
					continue
				}
				if ctx.Err() != nil || !yield(e, nil) {
					return
				}
				if timer != nil {
					timer.Reset(q.Marks)
				}
			}
			if len(batch) > 0 {
				continue // more may have come while the consumer was busy
			}
			if due {
				if !yield(store.Event{Type: store.EventMark, Record: store.Record{Revision: at}}, nil) {
					return
				}
				due = false
				timer.Reset(q.Marks)
				continue
			}
			select {
			case <-ctx.Done():
			case <-news:
			case <-marks:
				due = true
			}
		}
	}
}

// Close implements store.Store.
func (s *records) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.news)
	}
	return nil
}

// batchMost bounds what a watch takes at a time: a consumer that is slower than
// the history is kept must learn it, not hold the past for itself.
const batchMost = 64

// since returns some of the changes after revision at, and a channel that is
// closed when there are more than now.
func (s *records) since(at int64) ([]store.Event, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, store.Closed()
	}
	if at < s.floor || at > s.rev {
		return nil, nil, store.Gone(at, s.floor, s.rev)
	}
	from := s.history[at-s.floor:]
	return slices.Clone(from[:min(len(from), batchMost)]), s.news, nil
}

// add makes e the newest change. The caller holds mu.
func (s *records) add(e store.Event) {
	s.rev = e.Record.Revision
	s.history = append(s.history, e)
	if over := len(s.history) - s.keep; over > 0 {
		clear(s.history[:over]) // lets go of the values
		s.history = s.history[over:]
		s.floor += int64(over)
	}
	close(s.news)
	s.news = make(chan struct{})
}

// ready returns the error of a call that must not go on. The caller holds mu.
func (s *records) ready(ctx context.Context) error {
	if s.closed {
		return store.Closed()
	}
	return ctx.Err()
}
