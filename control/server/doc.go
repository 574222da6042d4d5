// Package server is the HTTP API: it authenticates, validates, admits, stores
// and watches resources of every api.Kind by the conventions of Kubernetes, so
// that unmodified kubectl works against one machine.
//
// A request passes auth (who, and may they), target (which kind and object), a
// verb (read, write, delete, watch) and ends in core/store, whose revisions are
// the resource versions. Objects travel through the package as JSON maps, so
// that what a client wrote is what it reads again; the Go types of package api
// check them. A loop (Run) does what no request waits for: it removes
// dependents of deleted owners, contents of deleted namespaces, and old events.
//
// It does not act on what resources say; that is control/reconcile.
package server
