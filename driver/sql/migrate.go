package sql

import (
	"context"
	"database/sql"
	"time"

	"github.com/hearth-run/hearth/api"
)

// storeSteps make the tables of a store. Steps are only ever added: each runs
// once in the life of a file.
func storeSteps() []string {
	return []string{`
CREATE TABLE changes (
	revision  INTEGER PRIMARY KEY,
	type      INTEGER NOT NULL, -- store.EventType
	created   INTEGER NOT NULL, -- 1: the record was not there before
	resource  TEXT NOT NULL,
	namespace TEXT NOT NULL,
	name      TEXT NOT NULL,
	sealed    INTEGER NOT NULL, -- 1: value is sealed
	at        INTEGER NOT NULL, -- Unix seconds
	value     BLOB NOT NULL
);
CREATE TABLE records (
	resource  TEXT NOT NULL,
	namespace TEXT NOT NULL,
	name      TEXT NOT NULL,
	revision  INTEGER NOT NULL, -- of the change that holds the value
	PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE history (
	one   INTEGER PRIMARY KEY CHECK (one = 1),
	floor INTEGER NOT NULL -- changes up to here are forgotten, but for those that hold values
);
INSERT INTO history VALUES (1, 0);`}
}

// recordSteps make the tables of records.
func recordSteps() []string {
	return []string{`
CREATE TABLE batches (           -- of calls: a row for each would cost a call a tenth of its time
	last  INTEGER PRIMARY KEY, -- id of the last call; ids have no holes
	until INTEGER NOT NULL,    -- time of the latest call
	data  BLOB NOT NULL        -- see batch.go
);
CREATE TABLE lines (
	id INTEGER PRIMARY KEY, time INTEGER NOT NULL,
	tenant TEXT NOT NULL, function TEXT NOT NULL, revision TEXT NOT NULL, instance TEXT NOT NULL,
	request TEXT NOT NULL, stream TEXT NOT NULL, size INTEGER NOT NULL, text TEXT NOT NULL
);
CREATE INDEX lines_function ON lines (tenant, function);
CREATE TABLE totals (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	call       INTEGER NOT NULL, -- newest id of a call
	line       INTEGER NOT NULL, -- newest id of lines
	line_bytes INTEGER NOT NULL  -- of all lines, by record.Size
);
INSERT INTO totals VALUES (1, 0, 0, 0);`}
}

// migrate brings the tables to the version of the last step, each step in a
// transaction. A file of a newer version is left alone.
func migrate(ctx context.Context, c *sql.Conn, steps []string) error {
	if _, err := c.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, at TEXT NOT NULL)"); err != nil {
		return err
	}
	var version int
	if err := c.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM migrations").Scan(&version); err != nil {
		return err
	}
	if version > len(steps) {
		return api.Errorf(api.CodeUnsupported, "the state was written by a newer hearth (version %d, this one knows %d)", version, len(steps)).
			WithHint("use the newer hearth again, or another state folder with --state FOLDER")
	}
	for i, step := range steps[version:] {
		tx, err := c.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err = tx.Exec(step); err == nil {
			_, err = tx.Exec("INSERT INTO migrations VALUES (?, ?)", version+i+1, time.Now().UTC().Format(time.RFC3339))
		}
		if err != nil {
			tx.Rollback()
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}
