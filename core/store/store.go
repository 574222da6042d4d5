// Package store is the contract for keeping resources: get, list,
// apply-if-revision, delete, watch. A store is one ordered history of changes
// over all its resources; a revision is a position in it.
//
// The memory driver is the executable specification; package storetest holds
// the conformance suite every driver passes. A store does not look into values:
// schema, admission and metadata belong to control/server.
package store

import (
	"cmp"
	"context"
	"iter"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Store keeps resources. All methods are safe for concurrent use. A write that
// returned without error is durable: it survives the death of the process and,
// for durable drivers, loss of power.
//
// Errors are *api.Error: CodeNotFound, CodeExists, CodeConflict, CodeGone,
// CodeDisk, and CodeNotReady once the store is closed. A context that ends makes a method return ctx.Err(); whether a write
// then happened is unknown, and no write is half done.
type Store interface {
	// Get returns the newest record of key, or CodeNotFound.
	Get(ctx context.Context, key Key) (Record, error)

	// List returns the records selected by q in order of resource, namespace
	// and name (by bytes), all as of one revision, which it returns with them.
	List(ctx context.Context, q Query) (List, error)

	// Apply writes value under key if the record's revision still is expect:
	// New (0) means there is none (else CodeExists), a positive number that
	// very revision (else CodeConflict, or CodeNotFound if it is gone). Writing
	// the bytes that are already there returns the record unchanged, without a
	// new revision. The store keeps value; the caller must not change it.
	Apply(ctx context.Context, key Key, value []byte, expect int64) (Record, error)

	// Delete removes the record if its revision still is expect, and returns
	// it as it was, with the revision of the deletion.
	Delete(ctx context.Context, key Key, expect int64) (Record, error)

	// Watch yields every change of the records selected by q after revision
	// after, in order, each once; it blocks while there is none and ends when
	// ctx does (without an error), when the store is closed, or when the
	// consumer stops. If the history after that revision is no longer kept, or
	// the store never reached it, it yields one CodeGone error and ends: list
	// again. A consumer that is slower than the history is kept also
	// gets CodeGone; it never slows writers down.
	Watch(ctx context.Context, q Query, after int64) iter.Seq2[Event, error]

	// Close ends all watches and releases what the store holds. Closing twice
	// is no error.
	Close() error
}

// New as expected revision: the record must not exist.
const New int64 = 0

// Key names a record.
type Key struct {
	Resource  string // api.Kind.Resource, such as functions.hearth.run
	Namespace string // empty for kinds without namespace
	Name      string
}

// String is resource/namespace/name.
func (k Key) String() string { return k.Resource + "/" + k.Namespace + "/" + k.Name }

// Record is a value with its key and the revision of its last change.
type Record struct {
	Key      Key
	Revision int64
	Value    []byte // shared: do not change
}

// Query selects records. The zero value selects all.
type Query struct {
	Resource  string // empty: all resources
	Namespace string // empty: all namespaces
	Limit     int    // List only: at most this many; 0: all
	After     Key    // List only: continue behind this key
	// At, for List with After: the revision of the first page. Drivers that
	// cannot read the past answer with the present; keys still come once each,
	// and the page's revision is At, so that a watch from it misses nothing.
	At int64
	// Marks, for Watch: an EventMark at least this often while there is no
	// change, and one when the watch has caught up with the present. 0: none.
	Marks time.Duration
}

// Selects reports whether q selects key k.
func (q Query) Selects(k Key) bool {
	return (q.Resource == "" || q.Resource == k.Resource) && (q.Namespace == "" || q.Namespace == k.Namespace)
}

// List is the answer of Store.List.
type List struct {
	Records  []Record
	Revision int64 // of the store when it was read: watch from here
	More     bool  // the limit cut the list; continue after the last key
}

// EventType says what an event is about.
type EventType int

// The event types.
const (
	EventPut    EventType = iota + 1 // a record was made or changed
	EventDelete                      // a record was removed; Value is what it was
	EventMark                        // no change: everything up to Revision was delivered
)

// Event is one change. Its record's revision is that of the change.
type Event struct {
	Type   EventType
	Record Record // of an EventMark only Revision is set
	// Created says that an EventPut made a record that was not there.
	Created bool
}

// Compare orders keys by resource, namespace and name, the order of lists.
func Compare(a, b Key) int {
	return cmp.Or(strings.Compare(a.Resource, b.Resource), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// NotFound is the error for a missing key.
func NotFound(k Key) *api.Error {
	return api.Errorf(api.CodeNotFound, "%s %q not found", k.Resource, k.Name)
}

// Exists is the error for a key that is taken.
func Exists(k Key) *api.Error {
	return api.Errorf(api.CodeExists, "%s %q already exists", k.Resource, k.Name)
}

// Conflict is the error for a record that has another revision than expected.
func Conflict(k Key, expect, is int64) *api.Error {
	return api.Errorf(api.CodeConflict, "%s %q was changed meanwhile: expected revision %d, it has %d", k.Resource, k.Name, expect, is)
}

// Gone is the error for a watch from a revision whose history is not kept.
func Gone(after, oldest, newest int64) *api.Error {
	return api.Errorf(api.CodeGone, "no history after revision %d: kept is %d to %d", after, oldest, newest)
}

// Closed is the error of every method of a closed store.
func Closed() *api.Error { return api.Errorf(api.CodeNotReady, "the store is closed") }

// Check compares the revision a record has (0: there is none) with the one a
// write expects and returns the error the contract names, or nil.
func Check(k Key, expect, is int64) error {
	switch {
	case expect == is && is != 0, expect == New && is == 0:
		return nil
	case is == 0:
		return NotFound(k)
	case expect == New:
		return Exists(k)
	default:
		return Conflict(k, expect, is)
	}
}
