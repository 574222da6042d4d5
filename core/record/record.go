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

	"github.com/hearth-run/hearth/core/engine"
)

// Store keeps calls and lines. All methods are safe for concurrent use.
type Store interface {
	// AddCall and AddLine take a record; they never block and never fail. A
	// driver that cannot keep up drops records and counts them.
	AddCall(c Call)
	AddLine(l engine.Line)

	// Calls returns the calls selected by q, newest first.
	Calls(ctx context.Context, q Query) ([]Call, error)

	// Lines yields the lines selected by q, oldest first. With q.Follow it
	// goes on with new ones as they are written, each once and without
	// polling, until ctx ends.
	Lines(ctx context.Context, q Query) iter.Seq2[engine.Line, error]

	// Flush returns when everything added before can be read.
	Flush(ctx context.Context) error

	// Close flushes and releases what the store holds.
	Close() error
}

// Query selects calls or lines. Empty fields select all.
type Query struct {
	Tenant   string
	Function string
	Revision string
	Instance string
	Request  string
	Since    time.Time
	Limit    int  // newest this many; 0: 1000
	Follow   bool // Lines only
	Errors   bool // Calls only: status 400 and above
}

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
