// Package record is the contract for keeping what happened to calls and what
// instances wrote: call records and log lines. It is history for people, not
// truth for programs: writes are batched, bounded, and may lose the last moment
// in a crash. What must never be lost goes to core/store or core/stream.
//
// Package recordtest holds the conformance suite; the memory driver is the
// specification.
package record

import (
	"context"
	"iter"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Store keeps calls and lines. All methods are safe for concurrent use.
type Store interface {
	// AddCall and AddLine take a record; they never block and never fail. A
	// driver that cannot keep up drops records and counts them, and so does one
	// that is closed.
	AddCall(c Call)
	AddLine(l engine.Line)

	// Calls returns the calls selected by q, newest first: in reverse order of
	// AddCall. What was added a moment ago may be missing; Flush first.
	Calls(ctx context.Context, q Query) ([]Call, error)

	// Lines yields the lines selected by q, oldest first: in order of AddLine.
	// With q.Follow it goes on with new ones as they are written, each once and
	// without polling, until ctx ends or the store is closed (without an error)
	// or the consumer stops. A consumer so slow that lines are forgotten before
	// it came to them misses those; it never slows writers down.
	Lines(ctx context.Context, q Query) iter.Seq2[engine.Line, error]

	// Flush returns when everything added before can be read.
	Flush(ctx context.Context) error

	// Close flushes, ends what follows and releases what the store holds.
	// Closing twice is no error. Reading is api.CodeNotReady then.
	Close() error
}

// Query selects calls or lines. Empty fields select all.
type Query struct {
	Tenant   string
	Function string
	Revision string
	Instance string
	Request  string
	Since    time.Time // this time or later
	Limit    int       // newest this many; 0: LimitDefault. With Follow: of the past
	Follow   bool      // Lines only
	Errors   bool      // Calls only: status 400 and above
}

// LimitDefault is the limit of a query without one.
const LimitDefault = 1000

// Most is the limit of q.
func (q Query) Most() int {
	if q.Limit <= 0 {
		return LimitDefault
	}
	return q.Limit
}

// SelectsCall reports whether q selects c.
func (q Query) SelectsCall(c Call) bool {
	return q.selects(c.Tenant, c.Function, c.Revision, c.Instance, c.Request, c.Time) && (!q.Errors || c.Status >= 400)
}

// SelectsLine reports whether q selects l.
func (q Query) SelectsLine(l engine.Line) bool {
	return q.selects(l.Tenant, l.Function, l.Revision, l.Instance, l.Request, l.Time)
}

func (q Query) selects(tenant, function, revision, instance, request string, at time.Time) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return is(q.Tenant, tenant) && is(q.Function, function) && is(q.Revision, revision) && is(q.Instance, instance) &&
		is(q.Request, request) && (q.Since.IsZero() || !at.Before(q.Since))
}

// Size is what a line counts for where lines are bounded by bytes: its texts
// and 64 bytes for the rest.
func Size(l engine.Line) int64 {
	return int64(64 + len(l.Tenant) + len(l.Function) + len(l.Revision) + len(l.Instance) + len(l.Request) + len(l.Stream) + len(l.Text))
}

// Closed is the error of reading from a closed store.
func Closed() *api.Error { return api.Errorf(api.CodeNotReady, "the record store is closed") }

// Call is one call of a function, written after its answer.
type Call struct {
	Time     time.Time     `json:"time"` // arrival
	Request  string        `json:"request"`
	Tenant   string        `json:"tenant"`
	Function string        `json:"function"`
	Revision string        `json:"revision"`
	Instance string        `json:"instance,omitempty"`
	Route    string        `json:"route,omitempty"` // namespace/name of the Route; empty: the function's own address
	Method   string        `json:"method"`
	Path     string        `json:"path"` // without the query
	Status   int           `json:"status"`
	Duration time.Duration `json:"duration"` // arrival to last byte
	Queued   time.Duration `json:"queued"`   // part of it spent waiting for a slot
	Cold     bool          `json:"cold"`
	In       int64         `json:"in"`              // body bytes received
	Out      int64         `json:"out"`             // body bytes sent
	Code     string        `json:"code,omitempty"`  // api.Code when hearth itself answered
	Trace    string        `json:"trace,omitempty"` // W3C trace id
}
