package node

import (
	"context"
	"sync"

	"github.com/hearth-run/hearth/core/engine"
)

// counted is an engine that counts the instances of each revision, and tells
// when their number changes.
type counted struct {
	engine.Engine
	changed func(namespace, revision string)

	mu sync.Mutex
	m  map[[2]string]replicas
}

// replicas are the instances of a revision; those that are not ready now count as
// starting.
type replicas struct{ ready, starting int }

func newCounted(e engine.Engine, changed func(namespace, revision string)) *counted {
	return &counted{Engine: e, changed: changed, m: map[[2]string]replicas{}}
}

// Start implements engine.Engine.
func (c *counted) Start(ctx context.Context, s engine.Spec) (engine.Instance, error) {
	c.add(s, 0, 1)
	in, err := c.Engine.Start(ctx, s)
	if err != nil {
		c.add(s, 0, -1)
		return nil, err
	}
	c.add(s, 1, -1)
	go c.follow(s, in)
	return in, nil
}

// Waits implements engine.Waiting.
func (c *counted) Waits(tenant, revision string) string {
	if w, ok := c.Engine.(engine.Waiting); ok {
		return w.Waits(tenant, revision)
	}
	return ""
}

// follow counts an instance until it ends; every one does, with the engine if not
// before.
func (c *counted) follow(s engine.Spec, in engine.Instance) {
	ready := true
	for {
		var changed <-chan struct{}
		if p, ok := in.(engine.Probed); ok {
			var now bool
			if now, changed = p.Ready(); now != ready {
				c.add(s, one(now)-one(ready), one(ready)-one(now))
				ready = now
			}
		}
		select {
		case <-changed:
		case <-in.Done():
			c.add(s, -one(ready), one(ready)-1)
			return
		}
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (c *counted) add(s engine.Spec, ready, starting int) {
	k := [2]string{s.Tenant, s.Revision}
	c.mu.Lock()
	r := c.m[k]
	r.ready, r.starting = r.ready+ready, r.starting+starting
	if c.m[k] = r; r == (replicas{}) {
		delete(c.m, k)
	}
	c.mu.Unlock()
	c.changed(s.Tenant, s.Revision)
}

// of is how many instances of a revision are ready, and how many are wanted.
func (c *counted) of(namespace, revision string) (ready, wanted int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.m[[2]string{namespace, revision}]
	return r.ready, r.ready + r.starting
}
