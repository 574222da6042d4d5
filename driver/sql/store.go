package sql

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// Store is a store.Store on a SQLite file.
type Store struct {
	opts Options
	file *file

	queue   chan *request
	quit    chan struct{} // closed by Close: no more writes
	stopped chan struct{} // closed when the last write is done
	once    sync.Once
	closing error

	feed feed
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the file path (also written sqlite:PATH) and makes
// it, with mode 0600, when it is missing. The caller closes it.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	checkPair(opts.Log)
	f, err := openFile(ctx, path, "FULL", storeSteps())
	if err != nil {
		return nil, err
	}
	s := &Store{opts: opts, file: f, queue: make(chan *request, groupMost), quit: make(chan struct{}), stopped: make(chan struct{})}
	c, err := newCommitter(s)
	if err != nil {
		f.close()
		return nil, cannotOpen(f.path, err)
	}
	s.feed.start(c.rev, min(opts.History, feedMost))
	go c.run()
	return s, nil
}

// Close implements store.Store. Writes that wait are done first.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.quit)
		<-s.stopped
		s.feed.close()
		s.closing = problem(s.file.close())
	})
	return s.closing
}

// ready returns the error of a call that must not go on.
func (s *Store) ready(ctx context.Context) error {
	select {
	case <-s.quit:
		return store.Closed()
	default:
		return ctx.Err()
	}
}

// failed is the error of a read: one that hit a closing store says so.
func (s *Store) failed(ctx context.Context, err error) error {
	if ready := s.ready(ctx); ready != nil {
		return ready
	}
	return problem(err)
}

const selectRecord = `SELECT c.revision, c.sealed, c.value FROM records r CROSS JOIN changes c ON c.revision = r.revision
	WHERE r.resource = ? AND r.namespace = ? AND r.name = ?`

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key store.Key) (store.Record, error) {
	if err := s.ready(ctx); err != nil {
		return store.Record{}, err
	}
	r := store.Record{Key: key}
	var sealed bool
	err := s.file.read.QueryRowContext(context.Background(), selectRecord, key.Resource, key.Namespace, key.Name).
		Scan(&r.Revision, &sealed, &r.Value)
	if err == nil {
		r.Value, err = s.plain(sealed, r.Value)
	}
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return store.Record{}, store.NotFound(key)
	case err != nil:
		return store.Record{}, s.failed(ctx, err)
	}
	return r, nil
}

// List implements store.Store. It reads the present.
func (s *Store) List(ctx context.Context, q store.Query) (store.List, error) {
	if err := s.ready(ctx); err != nil {
		return store.List{}, err
	}
	var l store.List
	err := s.file.snapshot(ctx, func(c *sql.Conn) error {
		err := c.QueryRowContext(context.Background(), selectNewest).Scan(&l.Revision)
		if err != nil {
			return err
		}
		text, args := listQuery(q)
		rows, err := c.QueryContext(context.Background(), text, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if q.Limit > 0 && len(l.Records) == q.Limit {
				l.More = true
				break
			}
			var r store.Record
			var sealed bool
			if err := rows.Scan(&r.Key.Resource, &r.Key.Namespace, &r.Key.Name, &r.Revision, &sealed, &r.Value); err != nil {
				return err
			}
			if r.Value, err = s.plain(sealed, r.Value); err != nil {
				return err
			}
			l.Records = append(l.Records, r)
		}
		return rows.Err()
	})
	if err != nil {
		return store.List{}, s.failed(ctx, err)
	}
	if q.At > 0 && q.At < l.Revision {
		l.Revision = q.At
	}
	return l, nil
}

const selectNewest = "SELECT coalesce(max(revision), 0) FROM changes"

// listQuery is q as SQL. It selects one row more than the limit.
func listQuery(q store.Query) (string, []any) {
	var b strings.Builder
	var args []any
	b.WriteString(`SELECT r.resource, r.namespace, r.name, c.revision, c.sealed, c.value
		FROM records r CROSS JOIN changes c ON c.revision = r.revision WHERE 1`)
	if q.Resource != "" {
		b.WriteString(" AND r.resource = ?")
		args = append(args, q.Resource)
	}
	if q.Namespace != "" {
		b.WriteString(" AND r.namespace = ?")
		args = append(args, q.Namespace)
	}
	if (q.After != store.Key{}) {
		b.WriteString(" AND (r.resource, r.namespace, r.name) > (?, ?, ?)")
		args = append(args, q.After.Resource, q.After.Namespace, q.After.Name)
	}
	b.WriteString(" ORDER BY r.resource, r.namespace, r.name")
	if q.Limit > 0 {
		b.WriteString(" LIMIT ?")
		args = append(args, q.Limit+1)
	}
	return b.String(), args
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, key store.Key, value []byte, expect int64) (store.Record, error) {
	return s.submit(&request{ctx: ctx, key: key, value: value, expect: expect})
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, key store.Key, expect int64) (store.Record, error) {
	return s.submit(&request{ctx: ctx, key: key, expect: expect, remove: true})
}

// submit hands a write to the committer and waits for its result.
func (s *Store) submit(r *request) (store.Record, error) {
	if err := s.ready(r.ctx); err != nil {
		return store.Record{}, err
	}
	r.done = make(chan struct{})
	select {
	case s.queue <- r:
	case <-r.ctx.Done():
		return store.Record{}, r.ctx.Err()
	case <-s.quit:
		return store.Record{}, store.Closed()
	}
	select {
	case <-r.done:
	case <-r.ctx.Done():
		return store.Record{}, r.ctx.Err()
	case <-s.stopped:
		select {
		case <-r.done:
		default:
			return store.Record{}, store.Closed()
		}
	}
	return r.record, r.err
}

// kept returns what of value lies on the disk, and whether that is sealed.
func (s *Store) kept(resource string, value []byte) ([]byte, bool, error) {
	if resource != api.Secrets || s.opts.Seal == nil {
		if value == nil {
			value = []byte{} // nil would be NULL
		}
		return value, false, nil
	}
	sealed, err := s.opts.Seal.Seal(value)
	return sealed, true, err
}

// plain returns the value of what lies on the disk.
func (s *Store) plain(sealed bool, value []byte) ([]byte, error) {
	if !sealed {
		return value, nil
	}
	if s.opts.Seal == nil {
		return nil, errSealed()
	}
	return s.opts.Seal.Open(value)
}
