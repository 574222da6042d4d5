package sql

import (
	"context"
	"database/sql"
	"iter"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
)

// Lines implements record.Store. It reads the file in pieces, in the goroutine
// of its consumer: the past and the present are the same table, so that there
// is no seam between them.
func (r *Records) Lines(ctx context.Context, q record.Query) iter.Seq2[engine.Line, error] {
	return func(yield func(engine.Line, error) bool) {
		if err := r.ready(ctx); err != nil {
			if !q.Follow || ctx.Err() == nil {
				yield(engine.Line{}, err)
			}
			return
		}
		err := r.each(ctx, q, func(l engine.Line) bool { return yield(l, nil) })
		if err != nil && !(q.Follow && (ctx.Err() != nil || r.ready(ctx) != nil)) {
			yield(engine.Line{}, err)
		}
	}
}

// each is Lines with the error returned instead of yielded.
func (r *Records) each(ctx context.Context, q record.Query, yield func(engine.Line) bool) error {
	at, end, err := r.start(ctx, q)
	if err != nil {
		return r.failed(ctx, err)
	}
	for {
		r.mu.Lock()
		news := r.news // taken before reading: what is written after wakes us
		r.mu.Unlock()
		for {
			lines, to, err := r.piece(ctx, q, at)
			if err != nil {
				return r.failed(ctx, err)
			}
			for _, l := range lines {
				if !q.Follow && l.id > end {
					return nil
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if !yield(l.Line) {
					return nil
				}
			}
			if to <= at {
				break
			}
			at = to
		}
		if !q.Follow {
			return nil
		}
		select {
		case <-news:
		case <-r.quit:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// start returns the id before the first line of the past that q yields, and the
// newest id.
func (r *Records) start(ctx context.Context, q record.Query) (at, end int64, err error) {
	where, args := selection(q)
	err = r.file.snapshot(ctx, func(c *sql.Conn) error {
		bg := context.Background()
		if err := c.QueryRowContext(bg, "SELECT coalesce(max(id), 0) FROM lines").Scan(&end); err != nil {
			return err
		}
		return c.QueryRowContext(bg, "SELECT coalesce(min(id) - 1, ?) FROM (SELECT id FROM lines WHERE 1"+where+" ORDER BY id DESC LIMIT ?)",
			append(append([]any{end}, args...), q.Most())...).Scan(&at)
	})
	return at, end, err
}

// A numbered line.
type numbered struct {
	engine.Line
	id int64
}

// A piece of lines is at most so many, and about so many bytes.
const (
	pieceRows  = 256
	pieceBytes = 256 << 10
)

// piece returns the next lines behind id at that q selects, and the id up to
// which these are all.
func (r *Records) piece(ctx context.Context, q record.Query, at int64) (lines []numbered, to int64, err error) {
	where, args := selection(q)
	err = r.file.snapshot(ctx, func(c *sql.Conn) error {
		bg := context.Background()
		if err := c.QueryRowContext(bg, "SELECT coalesce(max(id), 0) FROM lines").Scan(&to); err != nil {
			return err
		}
		rows, err := c.QueryContext(bg, "SELECT id, time, tenant, function, revision, instance, request, stream, text FROM lines WHERE id > ?"+where+" ORDER BY id LIMIT ?",
			append(append([]any{at}, args...), pieceRows)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for size := 0; rows.Next(); {
			var l numbered
			var at int64
			if err := rows.Scan(&l.id, &at, &l.Tenant, &l.Function, &l.Revision, &l.Instance, &l.Request, &l.Stream, &l.Text); err != nil {
				return err
			}
			l.Time = moment(at)
			lines = append(lines, l)
			if size += len(l.Text); size > pieceBytes || len(lines) == pieceRows {
				to = l.id
				break
			}
		}
		return rows.Err()
	})
	return lines, to, err
}
