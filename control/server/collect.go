package server

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// tick is how often old events are looked for.
const tick = time.Minute

// retryAfter is the pause after work failed.
const retryAfter = time.Second

// Run removes what must go and is asked for by nobody: dependents of deleted
// owners, the contents of deleted namespaces, objects in namespaces that are
// gone, and old events. It keeps no state of its own, so it may be stopped at
// any moment and started again; it returns nil when ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for {
		err := s.collect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !api.IsCode(err, api.CodeGone) {
			s.log.WarnContext(ctx, "removing dependents failed; starting again", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retryAfter):
			}
		}
	}
}

// collector is the state of one pass of Run.
type collector struct {
	s *Server
	// owners and dependents index who belongs to whom, by uid.
	owners     map[store.Key][]string
	dependents map[string][]store.Key // most owners have few
	waiting    map[string]store.Key   // owners whose deletion waits for dependents
	queue      []store.Key
	queued     map[store.Key]bool
}

// collect lists everything, then follows changes, until something fails.
func (s *Server) collect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &collector{
		s: s, owners: map[store.Key][]string{}, dependents: map[string][]store.Key{},
		waiting: map[string]store.Key{}, queued: map[store.Key]bool{},
	}
	rev, err := c.start(ctx)
	if err != nil {
		return err
	}
	type change struct {
		ev  store.Event
		err error
	}
	changes := make(chan change)
	go func() {
		defer close(changes)
		for ev, err := range s.cfg.Store.Watch(ctx, store.Query{}, rev) {
			select {
			case changes <- change{ev, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	s.expire(ctx)
	for {
		if err := c.drain(ctx); err != nil {
			return err
		}
		select {
		case ch, ok := <-changes:
			switch {
			case !ok:
				return ctx.Err()
			case ch.err != nil:
				return ch.err
			}
			c.see(ch.ev.Record, ch.ev.Type == store.EventDelete, ch.ev.Created)
		case <-ticker.C:
			s.expire(ctx)
		}
	}
}

// start indexes everything there is and queues what may have work.
func (c *collector) start(ctx context.Context) (rev int64, err error) {
	q := store.Query{Limit: 500}
	for {
		l, err := c.s.cfg.Store.List(ctx, q)
		if err != nil {
			return 0, err
		}
		if rev == 0 {
			rev = l.Revision
		}
		for _, r := range l.Records {
			c.see(r, false, true)
		}
		if !l.More || len(l.Records) == 0 {
			return rev, nil
		}
		q.After, q.At = l.Records[len(l.Records)-1].Key, rev
	}
}

// see takes one record into the index and queues what follows from it.
func (c *collector) see(r store.Record, deleted, created bool) {
	if _, ok := c.s.byResource(r.Key.Resource); !ok {
		return
	}
	var head struct {
		Metadata api.Meta `json:"metadata"`
	}
	if json.Unmarshal(r.Value, &head) != nil {
		return
	}
	m := head.Metadata
	var uids []string
	for _, o := range m.OwnerReferences {
		uids = append(uids, o.UID)
	}
	if deleted {
		c.index(r.Key, nil)
		delete(c.waiting, m.UID)
		for _, d := range c.dependents[m.UID] {
			c.push(d)
		}
		for _, u := range uids {
			if k, ok := c.waiting[u]; ok {
				c.push(k)
			}
		}
		if k, ok := c.waiting["namespace/"+r.Key.Namespace]; ok {
			c.push(k)
		}
		return
	}
	changed := c.index(r.Key, uids)
	if m.DeletionTimestamp != nil || changed || created {
		c.push(r.Key)
	}
	if changed {
		for _, u := range uids {
			if k, ok := c.waiting[u]; ok {
				c.push(k)
			}
		}
	}
}

// index notes the owners of key and reports whether they changed.
func (c *collector) index(key store.Key, uids []string) bool {
	was := c.owners[key]
	if len(was) == len(uids) {
		same := true
		for i := range was {
			same = same && was[i] == uids[i]
		}
		if same {
			return false
		}
	}
	for _, u := range was {
		all := c.dependents[u]
		if i := slices.Index(all, key); i >= 0 {
			all[i] = all[len(all)-1]
			all = all[:len(all)-1]
		}
		if c.dependents[u] = all; len(all) == 0 {
			delete(c.dependents, u)
		}
	}
	delete(c.owners, key)
	if len(uids) > 0 {
		c.owners[key] = uids
	}
	for _, u := range uids {
		if all := c.dependents[u]; !slices.Contains(all, key) {
			c.dependents[u] = append(all, key)
		}
	}
	return true
}

func (c *collector) push(k store.Key) {
	if !c.queued[k] {
		c.queued[k] = true
		c.queue = append(c.queue, k)
	}
}

// drain does all queued work.
func (c *collector) drain(ctx context.Context) error {
	for len(c.queue) > 0 {
		k := c.queue[0]
		c.queue = c.queue[1:]
		delete(c.queued, k)
		if err := c.work(ctx, k); err != nil && !api.IsCode(err, api.CodeNotFound) {
			return err
		}
	}
	return ctx.Err()
}
