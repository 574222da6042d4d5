// Package sql keeps resources and records in SQLite files: Open is the store of
// a node (every acknowledged write is on the disk), OpenRecords its history of
// calls and lines (batched, bounded, may lose the last moment). One process
// opens a file at a time; node holds the lock on the state folder.
//
// A store has one goroutine that writes. It takes all writes that wait into one
// transaction (group commit), so that many writers share one flush of the disk.
// Readers have connections of their own and always see a committed state.
// Values live once, in the table of changes; a record points to its last
// change, and a watch reads the same table. Nothing but a small page cache and
// the newest changes is kept in memory.
package sql
