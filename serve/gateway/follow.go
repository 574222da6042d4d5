package gateway

import (
	"context"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// Follow keeps the routing table equal to the store until ctx ends. While the
// store fails, the last table goes on serving and Follow tries again, after a
// second at first and ten at most.
func (g *Gateway) Follow(ctx context.Context) {
	s := newState(g.c.Domain, &g.seen, &g.certs)
	wait := time.Second
	for ctx.Err() == nil {
		after, err := g.sync(ctx, s)
		if err == nil {
			wait = time.Second
			err = g.watch(ctx, s, after)
		}
		switch {
		case ctx.Err() != nil:
			return
		case api.IsCode(err, api.CodeGone):
			continue
		}
		g.log.Warn("the store does not answer; serving the last routing table", "error", err, "retry", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, 10*time.Second)
	}
}

// sync makes the table equal to a listing and returns where to watch from.
func (g *Gateway) sync(ctx context.Context, s *state) (int64, error) {
	after := int64(-1)
	var records []store.Record
	for _, res := range []string{api.Revisions, api.Functions, api.Routes, api.Secrets} {
		l, err := g.c.Store.List(ctx, store.Query{Resource: res})
		if err != nil {
			return 0, err
		}
		if after < 0 || l.Revision < after {
			after = l.Revision
		}
		records = append(records, l.Records...)
	}
	s.begin()
	listed := make(map[store.Key]bool, len(records))
	for _, r := range records {
		listed[r.Key] = true
		g.take(s, r)
	}
	s.retain(listed)
	g.certs.retain(listed)
	g.publish(s)
	g.applied.move(after)
	return after, nil
}

func (g *Gateway) take(s *state, r store.Record) {
	if r.Key.Resource == api.Secrets {
		g.secret(r, false)
		return
	}
	if err := s.put(r); err != nil {
		g.log.Warn("a record does not fit the routing table", "key", r.Key.String(), "error", err)
	}
}

func (g *Gateway) secret(r store.Record, gone bool) {
	if err := g.certs.see(r, gone); err != nil {
		g.log.Warn("a Secret holds no certificate that can be used", "secret", r.Key.String())
	}
}

func (g *Gateway) publish(s *state) {
	g.snap.Store(s.end())
	g.once.Do(func() { close(g.ready) })
}

// watch applies changes one by one.
func (g *Gateway) watch(ctx context.Context, s *state, after int64) error {
	for e, err := range g.c.Store.Watch(ctx, store.Query{}, after) {
		if err != nil {
			return err
		}
		switch e.Record.Key.Resource {
		case api.Functions, api.Revisions, api.Routes:
		case api.Secrets:
			if e.Type == store.EventPut || e.Type == store.EventDelete {
				g.secret(e.Record, e.Type == store.EventDelete)
			}
			g.applied.move(e.Record.Revision)
			continue
		default:
			g.applied.move(e.Record.Revision)
			continue
		}
		s.begin()
		switch e.Type {
		case store.EventPut:
			g.take(s, e.Record)
		case store.EventDelete:
			if s.newer(e.Record.Key, e.Record.Revision) {
				s.del(e.Record.Key)
			}
		}
		g.publish(s)
		g.applied.move(e.Record.Revision)
	}
	return errWatchEnded
}
