package reconcile

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// watch feeds the loops until ctx ends: a list, then changes from there on; a
// list again when the store no longer has the changes.
func (r *Reconciler) watch(ctx context.Context) {
	for wait := time.Duration(0); ctx.Err() == nil; wait = min(wait*2+50*time.Millisecond, 5*time.Second) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		at, err := r.list(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.log.Warn("list for reconcile", "error", err)
			}
			continue
		}
		for e, err := range r.cfg.Store.Watch(ctx, store.Query{}, at) {
			if err != nil {
				if !api.IsCode(err, api.CodeGone) {
					r.log.Warn("watch for reconcile", "error", err)
				}
				break
			}
			wait = 0
			r.see(e)
		}
	}
}

// list reads everything anew and asks for all of it to be looked at. It returns
// the revision to watch from.
func (r *Reconciler) list(ctx context.Context) (int64, error) {
	at := int64(-1)
	listed := map[store.Key]bool{}
	for _, resource := range []string{api.Revisions, api.Routes, api.Runtimes, api.Functions} {
		l, err := r.cfg.Store.List(ctx, store.Query{Resource: resource})
		if err != nil {
			return 0, err
		}
		if at < 0 {
			at = l.Revision // the first is the oldest: the rest comes twice, which is harmless
		}
		for _, rec := range l.Records {
			listed[rec.Key] = true
			r.see(store.Event{Type: store.EventPut, Record: rec, Created: true})
		}
	}
	for _, k := range r.index.retain(listed) {
		r.work.forget(k)
	}
	return at, nil
}

func (r *Reconciler) see(e store.Event) {
	k := e.Record.Key
	if e.Type == store.EventMark {
		return
	}
	gone := e.Type == store.EventDelete
	switch k.Resource {
	case api.Functions:
		r.seeFunction(k, e.Record.Value, gone)
	case api.Revisions:
		r.seeRevision(k, e.Record.Value, gone)
	case api.Routes:
		var o *api.Route
		if !gone {
			if o = decode[api.Route](r, k, e.Record.Value); o == nil {
				return
			}
			o.Metadata.Namespace, o.Metadata.Name = k.Namespace, k.Name
		}
		for _, other := range r.index.setRoute(k, o) {
			r.routes.add(other)
		}
		if !gone {
			r.routes.add(k)
		}
	case api.Runtimes:
		r.runtimes.add(k)
		for _, f := range r.index.users(k.Namespace, k.Name) {
			r.functions.add(f)
		}
	case api.Secrets, api.ConfigMaps:
		r.addRoutes(k)
		for _, f := range r.work.waiting(k.Namespace) {
			r.functions.add(f)
		}
	}
}

func (r *Reconciler) seeFunction(k store.Key, value []byte, gone bool) {
	if gone {
		r.index.dropFunction(k)
		r.work.forget(k)
		r.rollouts.forget(k)
		r.addRoutes(k)
		return
	}
	f := decode[api.Function](r, k, value)
	if f == nil {
		return
	}
	old, known := r.index.putFunction(k, f)
	now := infoOf(f)
	if !known || old.print != now.print {
		r.work.supersede(k, now.print)
		r.functions.add(k)
	}
	if now.split && (!known || !old.split || old.print != now.print || old.serving != now.serving) {
		r.traffic.add(k)
	}
	if !known || old.serving != now.serving {
		r.addRoutes(k)
		r.repairs.add(k) // it may have been deleted just before
	}
}

func (r *Reconciler) seeRevision(k store.Key, value []byte, gone bool) {
	rev := decode[api.Revision](r, k, value)
	if rev == nil {
		return
	}
	rev.Metadata.Namespace, rev.Metadata.Name = k.Namespace, k.Name
	if rev.Spec.Owner != "" { // of a foreign object, see Foreign
		r.addRoutes(k)
		return
	}
	if gone {
		r.index.dropRevision(rev)
		fk := functionKey(k.Namespace, rev.Spec.Function)
		if f, ok := r.index.function(fk); ok && (f.serving == k.Name || f.latest == k.Name) {
			r.repairs.add(fk)
			r.functions.add(fk)
		}
	} else {
		r.index.putRevision(rev)
	}
	if fk := functionKey(k.Namespace, rev.Spec.Function); r.index.splits(fk) {
		r.traffic.add(fk)
	}
	r.addRoutes(k)
}

func (r *Reconciler) addRoutes(target store.Key) {
	for _, k := range r.index.routesTo(target) {
		r.routes.add(k)
	}
}

// decode reads a stored object; nil, and a line in the log, when it is damaged.
func decode[T any](r *Reconciler, k store.Key, value []byte) *T {
	o := new(T)
	if err := json.Unmarshal(value, o); err != nil {
		r.log.Error("an object in the store is damaged", "object", k.String(), "error", err)
		return nil
	}
	return o
}

// read gets an object; nil when there is none.
func read[T any](ctx context.Context, st store.Store, k store.Key) (*T, error) {
	rec, err := st.Get(ctx, k)
	if api.IsCode(err, api.CodeNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o := new(T)
	if err := json.Unmarshal(rec.Value, o); err != nil {
		return nil, api.Errorf(api.CodeInternal, "the stored %s is damaged", k).WithCause(err)
	}
	return o, nil
}
