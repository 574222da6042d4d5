package sql

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
)

// writer is the one goroutine that writes records.
type writer struct {
	r    *Records
	conn *sql.Conn

	call, line int64 // newest ids; they have no holes
	lineBytes  int64 // kept in the file
	refused    bool  // the last transaction failed

	spareCalls []record.Call // empty, to be filled next
	spareLines []engine.Line

	insertCalls, insertLine, total *sql.Stmt
	data                           []byte // scratch
}

// newWriter prepares the statements and reads where the tables stand.
func newWriter(r *Records) (*writer, error) {
	w := &writer{r: r, conn: r.file.write}
	bg := context.Background()
	for text, stmt := range map[string]**sql.Stmt{
		"INSERT INTO batches (last, until, data) VALUES (?, ?, ?)":                                                                              &w.insertCalls,
		"INSERT INTO lines (id, time, tenant, function, revision, instance, request, stream, size, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)": &w.insertLine,
		"UPDATE totals SET call = ?, line = ?, line_bytes = ?":                                                                                  &w.total,
	} {
		var err error
		if *stmt, err = w.conn.PrepareContext(bg, text); err != nil {
			return nil, err
		}
	}
	return w, w.conn.QueryRowContext(bg, "SELECT call, line, line_bytes FROM totals").Scan(&w.call, &w.line, &w.lineBytes)
}

// run writes what waits until the store is closed. While nothing is added it
// sleeps without a timer.
func (w *writer) run() {
	defer close(w.r.stopped)
	timer := time.NewTimer(batchTime)
	defer timer.Stop()
	for {
		var flush chan struct{}
		quit := false
		select {
		case <-w.r.wake:
			timer.Reset(batchTime)
			select {
			case <-timer.C:
			case <-w.r.full:
			case flush = <-w.r.flushes:
			case <-w.r.quit:
				quit = true
			}
		case <-w.r.full:
		case flush = <-w.r.flushes:
		case <-w.r.quit:
			quit = true
		}
		w.write()
		if flush != nil {
			close(flush)
		}
		if quit {
			return
		}
	}
}

// write takes what waits and writes it. What the disk refuses is dropped: it
// must not hold memory until there is space again.
func (w *writer) write() {
	r := w.r
	r.mu.Lock()
	calls, lines := r.calls, r.lines
	r.calls, r.lines, r.lineBytes = w.spareCalls, w.spareLines, 0
	r.mu.Unlock()
	if len(calls)+len(lines) > 0 {
		if err := w.try(calls, lines); err != nil {
			r.dropped.Add(int64(len(calls) + len(lines)))
			if !w.refused {
				r.opts.Log.Error("records are dropped", "calls", len(calls), "lines", len(lines), "error", err)
			}
			w.refused = true
		} else {
			w.refused = false
		}
	}
	w.spareCalls, w.spareLines = emptied(calls), emptied(lines)
	if len(lines) > 0 {
		r.mu.Lock()
		close(r.news)
		r.news = make(chan struct{})
		r.mu.Unlock()
	}
}

// emptied returns s for the next use, unless a burst made it large.
func emptied[T any](s []T) []T {
	if cap(s) > 2*batchRows {
		return nil
	}
	clear(s)
	return s[:0]
}

// try writes calls and lines in one transaction, and forgets the oldest.
func (w *writer) try(calls []record.Call, lines []engine.Line) error {
	bg := context.Background()
	call, line, bytes := w.call, w.line, w.lineBytes
	_, err := w.conn.ExecContext(bg, "BEGIN IMMEDIATE")
	for some := range slices.Chunk(calls, batchCalls) {
		if err != nil {
			break
		}
		var until int64
		for i := range some {
			until = max(until, stamp(some[i].Time))
		}
		call += int64(len(some))
		w.data = appendCalls(w.data[:0], some)
		_, err = w.insertCalls.ExecContext(bg, call, until, w.data)
	}
	for i := 0; err == nil && i < len(lines); i++ {
		l := &lines[i]
		line++
		size := record.Size(*l)
		bytes += size
		_, err = w.insertLine.ExecContext(bg, line, stamp(l.Time), l.Tenant, l.Function, l.Revision, l.Instance, l.Request, l.Stream, size, l.Text)
	}
	if err == nil && len(calls) > 0 {
		_, err = w.conn.ExecContext(bg, "DELETE FROM batches WHERE last <= ?", call-int64(w.r.opts.Calls))
	}
	if over := bytes - w.r.opts.LineBytes; err == nil && over > 0 {
		var freed int64
		freed, err = w.forgetLines(over)
		bytes -= freed
	}
	if err == nil {
		_, err = w.total.ExecContext(bg, call, line, bytes)
	}
	if err == nil {
		_, err = w.conn.ExecContext(bg, "COMMIT")
	}
	if err != nil {
		w.conn.ExecContext(bg, "ROLLBACK") // fails when SQLite already did it
		return err
	}
	w.call, w.line, w.lineBytes = call, line, bytes
	return nil
}

// forgetLines removes the oldest lines, of at least over bytes, and returns how
// many bytes that were.
func (w *writer) forgetLines(over int64) (int64, error) {
	bg := context.Background()
	rows, err := w.conn.QueryContext(bg, "SELECT id, size FROM lines ORDER BY id")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var id, size, freed int64
	for freed < over && rows.Next() {
		if err := rows.Scan(&id, &size); err != nil {
			return 0, err
		}
		freed += size
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	rows.Close()
	_, err = w.conn.ExecContext(bg, "DELETE FROM lines WHERE id <= ?", id)
	return freed, err
}
