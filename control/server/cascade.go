package server

import (
	"context"
	"slices"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

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
		k, ok := api.KindIn(c.s.kinds, ref.APIVersion, ref.Kind)
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
		if !deleting(owner) || !slices.Contains(metaList(owner, "finalizers"), finalizerForeground) {
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
	case slices.Contains(fins, finalizerContent):
		c.waiting["namespace/"+t.name] = t.key()
		left, err := c.empty(ctx, t.name)
		if err != nil || left > 0 {
			return err
		}
		delete(c.waiting, "namespace/"+t.name)
		return c.release(ctx, t, finalizerContent)
	case slices.Contains(fins, finalizerOrphan):
		for _, key := range c.dependents[uid] {
			if err := c.cutLoose(ctx, key, uid); err != nil && !api.IsCode(err, api.CodeNotFound) {
				return err
			}
		}
		return c.release(ctx, t, finalizerOrphan)
	case slices.Contains(fins, finalizerForeground):
		c.waiting[uid] = t.key()
		blocked := false
		for _, key := range c.dependents[uid] {
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
