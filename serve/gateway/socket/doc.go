// Package socket makes reading and writing a connection's socket cheaper for
// the Go scheduler, on systems where that is known to be safe, and changes
// nothing else about it.
//
// The standard library tells the scheduler about every read and write, since
// system calls may block. Those on sockets do not: they are non-blocking and the
// poller does the waiting. Where processors are scarce the telling costs more
// than the call itself. A thread that is put aside inside a call, which is what
// happens when a write wakes the receiver on the same processor, loses its
// place to another thread that must be woken first, and a sleeping monitor
// thread is woken by the next one.
package socket
