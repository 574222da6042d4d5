package gateway

import (
	"context"
	"time"

	"github.com/hearth-run/hearth/core/store"
)

// catchUpTime bounds how long a request that leads nowhere waits for the table.
const catchUpTime = 200 * time.Millisecond

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
	l, err := g.c.Store.List(ctx, store.Query{Resource: "none", Limit: 1})
	if err != nil || g.applied.Load() >= l.Revision {
		return
	}
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for g.applied.Load() < l.Revision {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// showTime is how long Shown waits at most.
const showTime = 250 * time.Millisecond

// Shown waits until calls are routed by all that was stored up to revision; a
// quarter of a second at most, so that nobody hangs where the store does.
func (g *Gateway) Shown(ctx context.Context, revision int64) {
	for begun := time.Now(); g.applied.Load() < revision && ctx.Err() == nil && time.Since(begun) < showTime; {
		time.Sleep(200 * time.Microsecond) // rare, and over at the first look as a rule
	}
}
