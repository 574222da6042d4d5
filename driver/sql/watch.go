package sql

import (
	"context"
	"database/sql"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// The newest changes are kept in memory, so that watches that keep up need not
// read the file: at most so many and so many bytes of values.
const (
	feedMost  = 1024
	feedBytes = 1 << 20
)

// feed is the newest changes, and the news that there are more. It has no holes.
type feed struct {
	mu     sync.Mutex
	closed bool
	most   int
	rev    int64 // newest published revision
	events []store.Event
	bytes  int
	news   chan struct{} // closed and replaced at every change, and by close
}

func (f *feed) start(rev int64, most int) {
	f.rev, f.most, f.news = rev, most, make(chan struct{})
}

// publish adds committed changes in order.
func (f *feed) publish(events []store.Event) {
	if len(events) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, events...)
	for _, e := range events {
		f.bytes += len(e.Record.Value)
	}
	f.rev = events[len(events)-1].Record.Revision
	cut := 0
	for ; len(f.events)-cut > f.most || f.bytes > feedBytes; cut++ {
		f.bytes -= len(f.events[cut].Record.Value)
	}
	clear(f.events[:cut]) // lets go of the values
	f.events = f.events[cut:]
	close(f.news)
	f.news = make(chan struct{})
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	close(f.news)
}

// batchMost bounds what a watch takes at a time: a consumer that is slower than
// the history is kept must learn it, not hold the past for itself.
const batchMost = 64

// A batch is some changes in order: all that q selects up to revision to.
type batch struct {
	events []store.Event
	to     int64
}

// after returns changes behind revision at, whether the feed has them, and the
// channel that is closed when there are more.
func (f *feed) after(at int64) (b batch, ok bool, news <-chan struct{}, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.to = at
	oldest := f.rev - int64(len(f.events))
	if at >= f.rev {
		return b, true, f.news, f.closed
	}
	if at < oldest {
		return b, false, f.news, f.closed
	}
	from := f.events[at-oldest:]
	from = from[:min(len(from), batchMost)]
	b.events = append(b.events, from...)
	b.to = at + int64(len(from))
	return b, true, f.news, f.closed
}

// Watch implements store.Store. It runs in the goroutine of its consumer.
func (s *Store) Watch(ctx context.Context, q store.Query, after int64) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) {
		err := s.watch(ctx, q, after, func(e store.Event) bool { return yield(e, nil) })
		if err != nil && ctx.Err() == nil && !api.IsCode(err, api.CodeNotReady) {
			yield(store.Event{}, err)
		}
	}
}

// watch is Watch with the error returned instead of yielded.
func (s *Store) watch(ctx context.Context, q store.Query, at int64, yield func(store.Event) bool) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if err := s.reached(ctx, at); err != nil {
		return err
	}
	var marks <-chan time.Time
	var timer *time.Timer
	if q.Marks > 0 {
		timer = time.NewTimer(q.Marks)
		defer timer.Stop()
		marks = timer.C
	}
	due := q.Marks > 0 // a mark is owed as soon as the watch has caught up
	for ctx.Err() == nil {
		b, ok, news, closed := s.feed.after(at)
		if closed {
			return nil
		}
		if !ok {
			var err error
			if b, err = s.past(ctx, q, at); err != nil {
				return s.failed(ctx, err)
			}
		}
		for _, e := range b.events {
			if !q.Selects(e.Record.Key) {
				continue
			}
			if ctx.Err() != nil || !yield(e) {
				return nil
			}
			if timer != nil {
				timer.Reset(q.Marks)
			}
		}
		if b.to > at {
			at = b.to // more may have come while the consumer was busy
			continue
		}
		if due {
			if !yield(store.Event{Type: store.EventMark, Record: store.Record{Revision: at}}) {
				return nil
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
	return nil
}

// reached returns CodeGone for a revision the store does not know. The file is
// asked, because a list may have seen a change the feed is about to get.
func (s *Store) reached(ctx context.Context, at int64) error {
	return s.file.snapshot(ctx, func(c *sql.Conn) error {
		floor, newest, err := bounds(c)
		if err == nil && (at < floor || at > newest) {
			return store.Gone(at, floor, newest)
		}
		return err
	})
}

// bounds returns the history's floor and the newest revision.
func bounds(c *sql.Conn) (floor, newest int64, err error) {
	err = c.QueryRowContext(context.Background(), "SELECT floor, ("+selectNewest+") FROM history").Scan(&floor, &newest)
	return floor, newest, err
}

// past reads a batch from the file.
func (s *Store) past(ctx context.Context, q store.Query, at int64) (batch, error) {
	var b batch
	err := s.file.snapshot(ctx, func(c *sql.Conn) error {
		floor, newest, err := bounds(c)
		if err != nil {
			return err
		}
		if at < floor || at > newest {
			return store.Gone(at, floor, newest)
		}
		var text strings.Builder
		args := []any{at}
		text.WriteString("SELECT revision, type, created, resource, namespace, name, sealed, value FROM changes WHERE revision > ?")
		if q.Resource != "" {
			text.WriteString(" AND resource = ?")
			args = append(args, q.Resource)
		}
		if q.Namespace != "" {
			text.WriteString(" AND namespace = ?")
			args = append(args, q.Namespace)
		}
		text.WriteString(" ORDER BY revision LIMIT ?")
		rows, err := c.QueryContext(context.Background(), text.String(), append(args, batchMost)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		b.to = newest
		for size := 0; rows.Next(); {
			var e store.Event
			var sealed bool
			r := &e.Record
			err := rows.Scan(&r.Revision, &e.Type, &e.Created, &r.Key.Resource, &r.Key.Namespace, &r.Key.Name, &sealed, &r.Value)
			if err != nil {
				return err
			}
			if r.Value, err = s.plain(sealed, r.Value); err != nil {
				return err
			}
			b.events = append(b.events, e)
			if size += len(r.Value); size > feedBytes || len(b.events) == batchMost {
				b.to = r.Revision
				break
			}
		}
		return rows.Err()
	})
	return b, err
}
