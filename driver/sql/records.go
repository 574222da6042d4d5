package sql

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
)

// Records is a record.Store on a SQLite file. What is added waits in a bounded
// buffer until one goroutine writes it, with all that came meanwhile, in one
// transaction.
type Records struct {
	opts Options
	file *file

	mu        sync.Mutex
	closed    bool
	calls     []record.Call // waiting
	lines     []engine.Line // waiting
	lineBytes int64         // of lines
	news      chan struct{} // closed and replaced when lines were written, and by Close

	dropped atomic.Int64
	wake    chan struct{}      // something waits
	full    chan struct{}      // much waits
	flushes chan chan struct{} // each is closed when what waited before is written
	quit    chan struct{}      // closed by Close
	stopped chan struct{}      // closed when the last write is done
	once    sync.Once
	closing error
}

var _ record.Store = (*Records)(nil)

// What waits is written after batchTime, or once there are batchRows of it.
// More than waitRows calls, or lines, or waitBytes of lines are dropped.
const (
	batchTime = 100 * time.Millisecond
	batchRows = 1000
	waitRows  = 8192
	waitBytes = 4 << 20
)

// OpenRecords opens the records in the file path (also written sqlite:PATH) and
// makes it, with mode 0600, when it is missing. The caller closes it.
func OpenRecords(ctx context.Context, path string, opts Options) (*Records, error) {
	opts = opts.withDefaults()
	f, err := openFile(ctx, path, "NORMAL", recordSteps())
	if err != nil {
		return nil, err
	}
	r := &Records{
		opts: opts, file: f, news: make(chan struct{}), wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
		flushes: make(chan chan struct{}), quit: make(chan struct{}), stopped: make(chan struct{}),
	}
	w, err := newWriter(r)
	if err != nil {
		f.close()
		return nil, cannotOpen(f.path, err)
	}
	go w.run()
	return r, nil
}

// AddCall implements record.Store. It copies c into the buffer and goes.
func (r *Records) AddCall(c record.Call) {
	r.mu.Lock()
	if r.closed || len(r.calls) >= waitRows {
		r.mu.Unlock()
		r.dropped.Add(1)
		return
	}
	r.calls = append(r.calls, c)
	n := len(r.calls)
	r.mu.Unlock()
	r.ring(n)
}

// AddLine implements record.Store.
func (r *Records) AddLine(l engine.Line) {
	size := record.Size(l)
	r.mu.Lock()
	if r.closed || len(r.lines) >= waitRows || r.lineBytes+size > waitBytes {
		r.mu.Unlock()
		r.dropped.Add(1)
		return
	}
	r.lines = append(r.lines, l)
	r.lineBytes += size
	n := len(r.lines)
	r.mu.Unlock()
	r.ring(n)
}

// ring tells the writer that n rows wait.
func (r *Records) ring(n int) {
	if n == 1 {
		signal(r.wake)
	} else if n%batchRows == 0 {
		signal(r.full)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dropped returns how many calls and lines were dropped since Open, because
// they came faster than they could be written or the disk refused them.
func (r *Records) Dropped() int64 { return r.dropped.Load() }

// Flush implements record.Store.
func (r *Records) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan struct{})
	select {
	case r.flushes <- done:
	case <-ctx.Done():
		return ctx.Err()
	case <-r.stopped:
		return record.Closed()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close implements record.Store.
func (r *Records) Close() error {
	r.once.Do(func() {
		r.mu.Lock()
		r.closed = true // from here on everything added is dropped
		r.mu.Unlock()
		close(r.quit)
		<-r.stopped
		r.mu.Lock()
		close(r.news)
		r.mu.Unlock()
		r.closing = problem(r.file.close())
	})
	return r.closing
}

// ready returns the error of a read that must not go on.
func (r *Records) ready(ctx context.Context) error {
	select {
	case <-r.quit:
		return record.Closed()
	default:
		return ctx.Err()
	}
}

// failed is the error of a read: one that hit a closing store says so.
func (r *Records) failed(ctx context.Context, err error) error {
	if ready := r.ready(ctx); ready != nil {
		return ready
	}
	return problem(err)
}

// Calls implements record.Store.
func (r *Records) Calls(ctx context.Context, q record.Query) ([]record.Call, error) {
	if err := r.ready(ctx); err != nil {
		return nil, err
	}
	var calls []record.Call
	err := r.file.snapshot(ctx, func(c *sql.Conn) error {
		rows, err := c.QueryContext(context.Background(), "SELECT last, (SELECT call FROM totals), data FROM batches WHERE until >= ? ORDER BY last DESC", stamp(q.Since))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() && ctx.Err() == nil {
			var last, newest int64
			var data sql.RawBytes
			if err := rows.Scan(&last, &newest, &data); err != nil {
				return err
			}
			some, err := parseCalls(data)
			if err != nil {
				return err
			}
			for i := len(some) - 1; i >= 0; i, last = i-1, last-1 {
				if last <= newest-int64(r.opts.Calls) || len(calls) == q.Most() {
					return nil
				}
				if q.SelectsCall(some[i]) {
					calls = append(calls, some[i])
				}
			}
		}
		return rows.Err()
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	return calls, nil
}

// selection is q as conditions, but for its limit.
func selection(q record.Query) (string, []any) {
	var b strings.Builder
	var args []any
	for _, f := range []struct{ column, value string }{
		{"tenant", q.Tenant}, {"function", q.Function}, {"revision", q.Revision}, {"instance", q.Instance}, {"request", q.Request},
	} {
		if f.value != "" {
			b.WriteString(" AND " + f.column + " = ?")
			args = append(args, f.value)
		}
	}
	if !q.Since.IsZero() {
		b.WriteString(" AND time >= ?")
		args = append(args, stamp(q.Since))
	}
	return b.String(), args
}

// stamp is a time as the file keeps it: Unix nanoseconds; 0 is no time.
func stamp(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func moment(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
