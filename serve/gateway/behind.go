package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/core/store"
)

// catchUpTime bounds how long anyone waits for the table to know what the store
// knows, so that nobody hangs where the store does.
const catchUpTime = 200 * time.Millisecond

// progress is how far the table follows the store.
type progress struct {
	revision atomic.Int64
	mu       sync.Mutex
	moved    chan struct{} // closed by the next move; nil: nobody waits
}

func (p *progress) move(revision int64) {
	p.revision.Store(revision)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// reach returns when p is at revision, or ctx has ended, or after catchUpTime.
func (p *progress) reach(ctx context.Context, revision int64) {
	if p.revision.Load() >= revision {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	for {
		p.mu.Lock()
		if p.revision.Load() >= revision {
			p.mu.Unlock()
			return
		}
		if p.moved == nil {
			p.moved = make(chan struct{})
		}
		moved := p.moved
		p.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}

// catchUp returns when the table knows what the store knew at the call, so that
// who has just seen a function ready finds it here. Only requests that lead
// nowhere ask, and few at a time: the others go on without.
func (g *Gateway) catchUp(ctx context.Context) {
	select {
	case g.asking <- struct{}{}:
		defer func() { <-g.asking }()
	default:
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	if l, err := g.c.Store.List(ctx, store.Query{Resource: "none", Limit: 1}); err == nil {
		g.applied.reach(ctx, l.Revision)
	}
}

// Shown waits until calls are routed by all that was stored up to revision, for
// a moment at most.
func (g *Gateway) Shown(ctx context.Context, revision int64) { g.applied.reach(ctx, revision) }
