// Package client is the Go client of Hearth's API: resources of any kind, blobs,
// logs, calls, and calling functions. The command line and the console speak
// the same HTTP; nothing here is private to them.
//
// Every error is an *api.Error: one the server sent comes back with its code,
// message, hint and detail; a server that cannot be reached is
// api.CodeUnreachable. A Client is safe for concurrent use.
package client
