// Package drain keeps the connections of a server, so that it can end well: it
// takes no more of them, tells those it has, and waits until the last is gone.
package drain

import (
	"context"
	"sync"
	"sync/atomic"
)

// Group is the connections of a server. Its zero value is ready for use; all
// methods are safe for concurrent use.
type Group[C comparable] struct {
	closing atomic.Bool
	mu      sync.Mutex
	conns   map[C]struct{}
	empty   chan struct{} // closed when closing and none is left; nil until someone waits
}

// Add takes a connection in; false: the server is ending, and it belongs to the
// caller still.
func (g *Group[C]) Add(c C) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing.Load() {
		return false
	}
	if g.conns == nil {
		g.conns = map[C]struct{}{}
	}
	g.conns[c] = struct{}{}
	return true
}

// Remove says that a connection has ended, or is someone else's now.
func (g *Group[C]) Remove(c C) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.conns[c]; !ok {
		return
	}
	delete(g.conns, c)
	if g.empty != nil && len(g.conns) == 0 {
		close(g.empty)
		g.empty = nil
	}
}

// Closing reports whether Shutdown or Close was called.
func (g *Group[C]) Closing() bool { return g.closing.Load() }

// Each calls f with every connection. None comes or goes meanwhile.
func (g *Group[C]) Each(f func(C)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		f(c)
	}
}

// Shutdown calls leave as Each does, and waits until every connection was
// removed, or ctx ends.
func (g *Group[C]) Shutdown(ctx context.Context, leave func(C)) error {
	g.closing.Store(true)
	g.Each(leave)
	g.mu.Lock()
	if len(g.conns) == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close calls end as Each does, and waits for nothing.
func (g *Group[C]) Close(end func(C)) {
	g.closing.Store(true)
	g.Each(end)
}
