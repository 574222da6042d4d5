package node

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// ballastSize is what the collector is told to see besides the objects in use.
// It begins a collection when as much again has been allocated, so a node with
// few objects would collect many times a second under load. With it there is
// room for this much garbage more, whatever the number of functions.
const ballastSize = 24 << 20

// ballast is memory that is never used: it has addresses, but no pages. It must
// stay referenced.
func ballast() []byte {
	b := make([]byte, ballastSize)
	unpage(b) // where it lies on memory used before, the allocation has touched it
	return b
}

// Garbage that load leaves behind stays until as much again has been allocated,
// which takes a node that went quiet for hours. So once it is quiet it collects,
// and gives the system back what is free.
const (
	restEvery  = 10 * time.Second
	restQuiet  = 2 << 20  // bytes allocated in that time, at most, by a quiet node
	restWorthy = 16 << 20 // bytes allocated since the last time that make it worth it
)

// rest decides when garbage goes.
type rest struct {
	last    uint64 // allocated when it was last asked
	cleaned uint64 // allocated when garbage last went
}

// due is asked every restEvery with the bytes allocated so far.
func (r *rest) due(allocated uint64) bool {
	quiet := allocated-r.last <= restQuiet
	r.last = allocated
	if !quiet || allocated-r.cleaned < restWorthy {
		return false
	}
	r.cleaned = allocated
	return true
}

// tidy gives memory back whenever the node rests, until ctx ends.
func tidy(ctx context.Context) {
	t := time.NewTicker(restEvery)
	defer t.Stop()
	r := rest{}
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if metrics.Read(s); r.due(s[0].Value.Uint64()) {
			debug.FreeOSMemory()
		}
	}
}
