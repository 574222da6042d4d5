// Package h2 speaks HTTP/2 (RFC 9113, RFC 7541): Server to clients, Client to
// instances. Both sides of a call share nothing but its goroutine.
//
//	wire.go      frames, settings, error codes
//	conn.go      what both sides have: reading, collecting writes, windows
//	stream.go    one call's half-streams: data in, data out, reset
//	fields.go    field sections in and out
//	server.go    connections of clients, their start and end
//	accept.go    frames of a client; requests are checked and made here
//	request.go   the body of a request
//	response.go  the http.ResponseWriter
//	client.go    connections to one instance; Do
//	answer.go    what comes back for Do
//
// It is faster than net/http for many small calls on one connection, as gRPC
// makes them, by what it does not do: whatever handlers have to say while one
// write is under way leaves in the next (no write per frame), a goroutine is
// woken once for all that one read brought it, and a request whose body came
// along with its head is handed over whole.
//
// The handler is an http.Handler with two duties: nothing may keep the request,
// its header or the ResponseWriter beyond ServeHTTP, and Content-Type is not
// guessed. What clients may do to a server is bounded: streams and running
// handlers, bytes of a field section and of what waits to be sent, resets,
// settings and pings that must be answered, time without progress.
package h2
