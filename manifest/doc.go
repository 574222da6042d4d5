// Package manifest reads resources from text: YAML or JSON, several documents
// to a file, whole folders, standard input. Every document comes out as JSON
// together with the line each of its fields stood on, so that whatever is wrong
// with it can be told as file:line.
//
// It knows the kinds of package api and nothing else. Others' manifests become
// ours in dialect; what the server accepts is decided by control/server, which
// checks again.
package manifest
