package sql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/durable"
	"modernc.org/sqlite"
)

// A file is an open SQLite database: one connection that writes and a few that
// read.
type file struct {
	path    string
	writeDB *sql.DB
	write   *sql.Conn
	read    *sql.DB
}

// The page caches, in KiB for each connection, and how many may read at once.
// Together they bound what SQLite holds in memory to a few MiB.
const (
	cacheWrite = 1024
	cacheRead  = 512
	readers    = 4
)

// openFile opens path, which may be written as sqlite:PATH, makes it when it is
// missing (mode 0600) and brings its tables to the newest version.
func openFile(ctx context.Context, path, synchronous string, steps []string) (*file, error) {
	path = strings.TrimPrefix(path, "sqlite:")
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "%q names no file", path).WithCause(err)
	}
	// SQLite gives its -wal and -shm files the mode of the database.
	f, err := os.OpenFile(abs, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, cannotOpen(abs, err)
	}
	f.Close()
	d := &file{path: abs}
	d.writeDB = sql.OpenDB(connector{dsn(abs, "journal_mode(WAL)", "synchronous("+synchronous+")",
		"fullfsync(1)", // macOS: a plain fsync does not reach the disk
		fmt.Sprintf("cache_size(-%d)", cacheWrite), "journal_size_limit(8388608)")})
	d.writeDB.SetMaxOpenConns(1)
	d.read = sql.OpenDB(connector{dsn(abs, "query_only(1)", fmt.Sprintf("cache_size(-%d)", cacheRead))})
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	d.read.SetConnMaxIdleTime(time.Minute)
	if d.write, err = d.writeDB.Conn(ctx); err == nil {
		err = migrate(ctx, d.write, steps)
	}
	if err == nil {
		err = durable.SyncFolder(filepath.Dir(abs)) // the new files' names must survive too
	}
	if err != nil {
		d.close()
		return nil, cannotOpen(abs, err)
	}
	return d, nil
}

// close closes all connections.
func (f *file) close() error {
	err := f.read.Close()
	if f.write != nil {
		err = errors.Join(err, f.write.Close())
	}
	return errors.Join(err, f.writeDB.Close())
}

// snapshot runs read on a connection whose queries all see one state.
func (f *file) snapshot(ctx context.Context, read func(*sql.Conn) error) error {
	c, err := f.read.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	// The queries get no context: one that can end costs a goroutine each.
	bg := context.Background()
	if _, err := c.ExecContext(bg, "BEGIN"); err != nil {
		return err
	}
	defer c.ExecContext(bg, "COMMIT")
	return read(c)
}

func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

// connector opens connections without the global registry of database/sql.
type connector struct{ dsn string }

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.Driver().Open(c.dsn) }
func (c connector) Driver() driver.Driver                        { return &sqlite.Driver{} }

// The primary result codes of SQLite this package tells apart, and the two
// extended ones that say a flush failed.
const (
	codeReadOnly = 8
	codeIO       = 10
	codeCorrupt  = 11
	codeFull     = 13
	codeCantOpen = 14
	codeNotDB    = 26

	codeFlush       = 1034
	codeFlushFolder = 1290
)

// problem turns an error of SQLite into one of ours. Errors of contexts and
// our own pass.
func problem(err error) error {
	var e *sqlite.Error
	var own *api.Error
	switch {
	case err == nil, errors.As(err, &own), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case !errors.As(err, &e):
		return api.Errorf(api.CodeInternal, "the state database failed").WithCause(err)
	}
	switch e.Code() & 0xff {
	case codeFull:
		return api.Errorf(api.CodeDisk, "no space left for the state database").WithCause(err)
	case codeIO, codeReadOnly, codeCantOpen:
		return api.Errorf(api.CodeDisk, "the disk refused the state database").WithCause(err).
			WithHint("check the disk that holds the state folder: space, permissions and kernel messages")
	case codeCorrupt, codeNotDB:
		return api.Errorf(api.CodeDisk, "the state database is damaged").WithCause(err).
			WithHint("put the state folder back from a backup")
	}
	return api.Errorf(api.CodeInternal, "the state database failed").WithCause(err)
}

// flushFailed reports whether the kernel could not flush: nobody knows what is
// on the disk then, and a second flush would say all is well.
func flushFailed(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == codeFlush || e.Code() == codeFlushFolder)
}

func cannotOpen(path string, err error) error {
	var own *api.Error
	if errors.As(err, &own) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		return api.Errorf(api.CodeDisk, "cannot open the state database %s: %w", path, p.Err)
	}
	e := *api.AsError(problem(err))
	e.Message = "cannot open " + path + ": " + e.Message
	return &e
}
