package server

import (
	"context"
	"encoding/json"
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
	dependents map[string]map[store.Key]struct{}
	waiting    map[string]store.Key // owners whose deletion waits for dependents
	queue      []store.Key
	queued     map[store.Key]bool
}

// collect lists everything, then follows changes, until something fails.
func (s *Server) collect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &collector{
		s: s, owners: map[store.Key][]string{}, dependents: map[string]map[store.Key]struct{}{},
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
		for d := range c.dependents[m.UID] {
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
		delete(c.dependents[u], key)
		if len(c.dependents[u]) == 0 {
			delete(c.dependents, u)
		}
	}
	delete(c.owners, key)
	if len(uids) > 0 {
		c.owners[key] = uids
	}
	for _, u := range uids {
		if c.dependents[u] == nil {
			c.dependents[u] = map[store.Key]struct{}{}
		}
		c.dependents[u][key] = struct{}{}
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

// work looks at one object and does what its state asks for.
func (c *collector) work(ctx context.Context, key store.Key) error {
	t, ok := c.s.keyTarget(key)
	if !ok {
		return nil
	}
	o, _, err := c.s.get(ctx, t)
	if err != nil {
		return err
	}
	if deleting(o) {
		return c.finish(ctx, t, o)
	}
	if t.kind.Namespaced {
		ns, _ := c.s.byResource(api.Namespaces)
		_, err := c.s.cfg.Store.Get(ctx, target{kind: ns, name: t.namespace}.key())
		if api.IsCode(err, api.CodeNotFound) {
			return c.discard(ctx, t, o, "Background")
		}
		if err != nil {
			return err
		}
	}
	return c.checkOwners(ctx, t, o)
}

// discard deletes the very object that was looked at.
func (c *collector) discard(ctx context.Context, t target, o object, policy string) error {
	opts := deleteOptions{Policy: policy}
	opts.Preconditions.UID = metaText(o, "uid")
	_, _, err := c.s.remove(ctx, t, opts)
	if api.IsCode(err, api.CodeConflict) {
		return nil // another object has the name by now
	}
	return err
}

// checkOwners deletes an object whose owners are all gone or going.
func (c *collector) checkOwners(ctx context.Context, t target, o object) error {
	refs := ownerRefs(o)
	if len(refs) == 0 {
		return nil
	}
	for _, ref := range refs {
		k, ok := api.KindOf(ref.APIVersion, ref.Kind)
		if !ok {
			return nil // of a kind kept elsewhere
		}
		ot := target{kind: k, name: ref.Name}
		if k.Namespaced {
			ot.namespace = t.namespace
		}
		owner, _, err := c.s.get(ctx, ot)
		if api.IsCode(err, api.CodeNotFound) || err == nil && ref.UID != "" && ref.UID != metaText(owner, "uid") {
			continue
		}
		if err != nil {
			return err
		}
		if !deleting(owner) || !contains(metaList(owner, "finalizers"), finalizerForeground) {
			return nil
		}
	}
	policy := "Background"
	if len(c.dependents[metaText(o, "uid")]) > 0 {
		policy = "Foreground"
	}
	return c.discard(ctx, t, o, policy)
}

func ownerRefs(o object) []api.OwnerReference {
	l, _ := meta(o)["ownerReferences"].([]any)
	out := make([]api.OwnerReference, 0, len(l))
	for _, e := range l {
		if m, ok := e.(object); ok {
			out = append(out, api.OwnerReference{
				APIVersion: text(m, "apiVersion"), Kind: text(m, "kind"), Name: text(m, "name"), UID: text(m, "uid"), BlockOwnerDeletion: m["blockOwnerDeletion"] == true,
			})
		}
	}
	return out
}

// finish does what the server's own finalizers of a deleted object ask for.
func (c *collector) finish(ctx context.Context, t target, o object) error {
	fins, uid := metaList(o, "finalizers"), metaText(o, "uid")
	switch {
	case contains(fins, finalizerContent):
		c.waiting["namespace/"+t.name] = t.key()
		left, err := c.empty(ctx, t.name)
		if err != nil || left > 0 {
			return err
		}
		delete(c.waiting, "namespace/"+t.name)
		return c.release(ctx, t, finalizerContent)
	case contains(fins, finalizerOrphan):
		for key := range c.dependents[uid] {
			if err := c.cutLoose(ctx, key, uid); err != nil && !api.IsCode(err, api.CodeNotFound) {
				return err
			}
		}
		return c.release(ctx, t, finalizerOrphan)
	case contains(fins, finalizerForeground):
		c.waiting[uid] = t.key()
		blocked := false
		for key := range c.dependents[uid] {
			dt, _ := c.s.keyTarget(key)
			d, _, err := c.s.get(ctx, dt)
			if api.IsCode(err, api.CodeNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if !deleting(d) {
				if err := c.checkOwners(ctx, dt, d); err != nil && !api.IsCode(err, api.CodeNotFound) {
					return err
				}
			}
			// Its own deletion, seen by the watch, queues the owner again.
			if _, err := c.s.cfg.Store.Get(ctx, key); err == nil {
				for _, ref := range ownerRefs(d) {
					blocked = blocked || ref.UID == uid && ref.BlockOwnerDeletion
				}
			}
		}
		if blocked {
			return nil
		}
		delete(c.waiting, uid)
		return c.release(ctx, t, finalizerForeground)
	}
	return nil
}

// empty deletes everything in a namespace and says how much is left.
func (c *collector) empty(ctx context.Context, ns string) (left int, err error) {
	for _, k := range c.s.kinds {
		if !k.Namespaced {
			continue
		}
		objs, _, _, err := c.s.list(ctx, target{kind: k, namespace: ns}, selector{}, 0, "")
		if err != nil {
			return 0, err
		}
		for _, o := range objs {
			t := target{kind: k, namespace: ns, name: metaText(o, "name")}
			if !deleting(o) {
				if err := c.discard(ctx, t, o, "Background"); err != nil && !api.IsCode(err, api.CodeNotFound) {
					return 0, err
				}
			}
			if _, err := c.s.cfg.Store.Get(ctx, t.key()); err == nil {
				left++
			}
		}
	}
	return left, nil
}

// release removes a finalizer; with the last one the object goes.
func (c *collector) release(ctx context.Context, t target, fin string) error {
	return c.amend(ctx, t, func(o object) { setList(o, "finalizers", remaining(metaList(o, "finalizers"), fin)) })
}

// cutLoose removes the references of a dependent to owner uid.
func (c *collector) cutLoose(ctx context.Context, key store.Key, uid string) error {
	t, _ := c.s.keyTarget(key)
	return c.amend(ctx, t, func(o object) {
		l, _ := meta(o)["ownerReferences"].([]any)
		kept := make([]any, 0, len(l))
		for _, e := range l {
			if m, ok := e.(object); !ok || text(m, "uid") != uid {
				kept = append(kept, e)
			}
		}
		meta(o)["ownerReferences"] = kept
		if len(kept) == 0 {
			delete(meta(o), "ownerReferences")
		}
	})
}

// amend changes an object's metadata, past admission: objects written before a
// rule was made must be removable too.
func (c *collector) amend(ctx context.Context, t target, fn func(object)) error {
	for range maxRetries {
		o, rev, err := c.s.get(ctx, t)
		if err != nil {
			return err
		}
		fn(o)
		_, err = c.s.put(ctx, t, o, rev)
		if api.IsCode(err, api.CodeConflict) {
			continue
		}
		return err
	}
	return conflict(t)
}

// expire deletes events older than their time to live.
func (s *Server) expire(ctx context.Context) {
	k, _ := s.byResource(api.Events)
	objs, _, _, err := s.list(ctx, target{kind: k}, selector{}, 0, "")
	if err != nil {
		return // the next tick tries again
	}
	for _, o := range objs {
		if time.Since(eventTime(o)) < s.cfg.EventTTL {
			continue
		}
		t := target{kind: k, namespace: metaText(o, "namespace"), name: metaText(o, "name")}
		if _, _, err := s.remove(ctx, t, deleteOptions{Policy: "Background"}); err != nil && ctx.Err() == nil && !api.IsCode(err, api.CodeNotFound) {
			s.log.WarnContext(ctx, "an old event cannot be deleted", "event", t.name, "error", err)
		}
	}
}

// eventTime is when an event last happened.
func eventTime(o object) time.Time {
	var newest time.Time
	for _, s := range []string{text(o, "lastTimestamp"), text(o, "eventTime"), text(o, "firstTimestamp"), metaText(o, "creationTimestamp")} {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil && t.After(newest) {
			newest = t
		}
	}
	return newest
}
