package sql

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"runtime"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// A request is a write that waits for its transaction. The committer sets
// record and err before it closes done.
type request struct {
	ctx    context.Context
	key    store.Key
	value  []byte
	expect int64
	remove bool

	done   chan struct{}
	record store.Record
	err    error
}

// A transaction takes at most so many writes and bytes of values, so that the
// first of them does not wait for too many others.
const (
	groupMost  = 512
	groupBytes = 4 << 20
)

// committer is the one goroutine that writes.
type committer struct {
	s    *Store
	conn *sql.Conn

	rev    int64 // newest committed revision
	floor  int64 // changes up to here are forgotten
	broken error // set once the disk may hold something else than was acknowledged

	get, insert, copyDelete, point, unpoint, drop *sql.Stmt
}

// newCommitter prepares the statements and reads where the history stands.
func newCommitter(s *Store) (*committer, error) {
	c := &committer{s: s, conn: s.file.write}
	bg := context.Background()
	for text, stmt := range map[string]**sql.Stmt{
		selectRecord: &c.get,
		"INSERT INTO changes (revision, type, created, resource, namespace, name, sealed, at, value) VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)": &c.insert,
		`INSERT INTO changes (revision, type, created, resource, namespace, name, sealed, at, value)
			SELECT ?, 2, 0, resource, namespace, name, sealed, ?, value FROM changes WHERE revision = ?`: &c.copyDelete,
		"INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET revision = excluded.revision": &c.point,
		"DELETE FROM records WHERE resource = ? AND namespace = ? AND name = ?":                          &c.unpoint,
		"DELETE FROM changes WHERE revision = ?":                                                         &c.drop,
	} {
		var err error
		if *stmt, err = c.conn.PrepareContext(bg, text); err != nil {
			return nil, err
		}
	}
	if err := c.conn.QueryRowContext(bg, selectNewest).Scan(&c.rev); err != nil {
		return nil, err
	}
	return c, c.conn.QueryRowContext(bg, "SELECT floor FROM history").Scan(&c.floor)
}

// run takes writes until the store is closed and nothing waits any more.
func (c *committer) run() {
	defer close(c.s.stopped)
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case r := <-c.s.queue:
			c.commit(c.group(r))
		case <-tick.C:
			c.forgetOld(time.Now())
		case <-c.s.quit:
			for {
				select {
				case r := <-c.s.queue:
					c.commit(c.group(r))
				default:
					return
				}
			}
		}
	}
}

// group returns first and the writes that wait behind it.
func (c *committer) group(first *request) []*request {
	g, size := []*request{first}, len(first.value)
	// The writers that were just answered get a chance to come back: a fuller
	// transaction is worth more than an earlier one.
	runtime.Gosched()
	for len(g) < groupMost && size < groupBytes {
		select {
		case r := <-c.s.queue:
			g = append(g, r)
			size += len(r.value)
		default:
			return g
		}
	}
	return g
}

// commit writes a group in one transaction and answers it. When that fails,
// each write gets a transaction of its own: one that cannot be done, such as a
// value too large for the space that is left, must not fail its neighbours.
func (c *committer) commit(g []*request) {
	err := c.broken
	if err == nil {
		err = c.try(g)
	}
	if err != nil && len(g) > 1 && c.broken == nil {
		for _, r := range g {
			c.commit([]*request{r})
		}
		return
	}
	for _, r := range g {
		if err != nil {
			r.record, r.err = store.Record{}, err
		}
		close(r.done)
	}
}

// try runs one transaction. When it returns nil every request has its result
// and what they changed is on the disk and in the feed.
func (c *committer) try(g []*request) error {
	bg := context.Background()
	rev, floor := c.rev, c.floor
	events := make([]store.Event, 0, len(g))
	_, err := c.conn.ExecContext(bg, "BEGIN IMMEDIATE")
	if err == nil {
		now := time.Now().Unix()
		for _, r := range g {
			var e store.Event
			if e, err = c.do(r, rev+1, now); err != nil {
				break
			}
			if e.Type != 0 {
				rev = e.Record.Revision
				events = append(events, e)
			}
		}
		// A little late, so that there is always something worth a statement.
		if keep := int64(c.s.opts.History); err == nil && rev-floor > keep+keep/8 {
			floor, err = c.forget(floor, rev-keep)
		}
		if err == nil {
			_, err = c.conn.ExecContext(bg, "COMMIT")
		}
		if err != nil {
			c.conn.ExecContext(bg, "ROLLBACK") // fails when SQLite already did it
		}
	}
	if err != nil {
		c.s.opts.Log.Error("a transaction of the state database failed", "writes", len(g), "error", err)
		out := problem(err)
		if flushFailed(err) {
			c.broken = api.AsError(out).WithHint("check the disk, then start hearth again: after a failed flush nothing more is written")
		}
		return out
	}
	c.rev, c.floor = rev, floor
	c.s.feed.publish(events)
	return nil
}

// do does one write inside the transaction, as revision rev. What the contract
// refuses is the request's own error; an error returned fails the transaction.
func (c *committer) do(r *request, rev, now int64) (store.Event, error) {
	r.record, r.err = store.Record{}, r.ctx.Err()
	if r.err != nil {
		return store.Event{}, nil // nobody waits for it
	}
	bg := context.Background()
	k := r.key
	old := store.Record{Key: k}
	var sealed bool
	err := c.get.QueryRowContext(bg, k.Resource, k.Namespace, k.Name).Scan(&old.Revision, &sealed, &old.Value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return store.Event{}, err
	}
	if r.remove && old.Revision == 0 {
		r.err = store.NotFound(k)
	} else if r.remove && r.expect != old.Revision {
		r.err = store.Conflict(k, r.expect, old.Revision)
	} else if !r.remove {
		r.err = store.Check(k, r.expect, old.Revision)
	}
	if r.err != nil {
		return store.Event{}, nil
	}
	if old.Revision != 0 {
		value, err := c.s.plain(sealed, old.Value)
		if err != nil && !r.remove {
			value, err = nil, nil // what cannot be opened can be written anew
		} else if err == nil && !r.remove && bytes.Equal(value, r.value) {
			old.Value = value
			r.record = old
			return store.Event{}, nil
		}
		old.Value = value
	}
	var e store.Event
	if r.remove {
		e = store.Event{Type: store.EventDelete, Record: store.Record{Key: k, Revision: rev, Value: old.Value}}
		if _, err := c.copyDelete.ExecContext(bg, rev, now, old.Revision); err != nil {
			return e, err
		}
		if _, err := c.unpoint.ExecContext(bg, k.Resource, k.Namespace, k.Name); err != nil {
			return e, err
		}
	} else {
		e = store.Event{Type: store.EventPut, Created: old.Revision == 0, Record: store.Record{Key: k, Revision: rev, Value: r.value}}
		value, sealed, err := c.s.kept(k.Resource, r.value)
		if err != nil {
			return e, err
		}
		if _, err := c.insert.ExecContext(bg, rev, e.Created, k.Resource, k.Namespace, k.Name, sealed, now, value); err != nil {
			return e, err
		}
		if _, err := c.point.ExecContext(bg, k.Resource, k.Namespace, k.Name, rev); err != nil {
			return e, err
		}
	}
	// Its change was forgotten but held the value; now nothing needs it.
	if old.Revision != 0 && old.Revision <= c.floor {
		if _, err := c.drop.ExecContext(bg, old.Revision); err != nil {
			return e, err
		}
	}
	r.record = e.Record
	return e, nil
}
