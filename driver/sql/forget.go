package sql

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// forgetMost bounds the changes looked at in one transaction.
const forgetMost = 2000

// forget removes changes from the history up to revision to, or fewer when
// there are many, and returns the new floor. A change that holds the value of a
// record stays until the record changes. It runs inside a transaction.
func (c *committer) forget(floor, to int64) (int64, error) {
	bg := context.Background()
	to = min(to, floor+forgetMost)
	_, err := c.conn.ExecContext(bg, `DELETE FROM changes WHERE revision > ? AND revision <= ? AND NOT EXISTS (
		SELECT 1 FROM records r WHERE r.revision = changes.revision AND r.resource = changes.resource
			AND r.namespace = changes.namespace AND r.name = changes.name)`, floor, to)
	if err == nil {
		_, err = c.conn.ExecContext(bg, "UPDATE history SET floor = ?", to)
	}
	return to, err
}

// forgetOld forgets changes older than the limit, but for the newest: it says
// which revision is next after a restart.
func (c *committer) forgetOld(now time.Time) {
	if c.s.opts.HistoryAge < 0 || c.broken != nil {
		return
	}
	bg := context.Background()
	for {
		var to int64
		err := c.conn.QueryRowContext(bg, `SELECT revision FROM changes WHERE revision > ? AND at >= ? ORDER BY revision LIMIT 1`,
			c.floor, now.Add(-c.s.opts.HistoryAge).Unix()).Scan(&to)
		if errors.Is(err, sql.ErrNoRows) {
			to, err = c.rev, nil
		}
		to--
		if err == nil && to <= c.floor {
			return
		}
		floor := c.floor
		if err == nil {
			_, err = c.conn.ExecContext(bg, "BEGIN IMMEDIATE")
		}
		if err == nil {
			floor, err = c.forget(floor, to)
			if err == nil {
				_, err = c.conn.ExecContext(bg, "COMMIT")
			}
			if err != nil {
				c.conn.ExecContext(bg, "ROLLBACK")
			}
		}
		if err != nil {
			c.s.opts.Log.Error("old changes could not be forgotten", "error", err)
			return
		}
		c.floor = floor
	}
}
