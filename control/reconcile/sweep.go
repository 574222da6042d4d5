package reconcile

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/store"
)

// eventAge is how long events are kept after they were last seen.
const eventAge = 24 * time.Hour

// prune removes a function's revisions that are too many or too old. Those that
// serve stay: the newest, the newest that works, what its traffic and what a
// route names. Instances of the others are not held.
func (r *Reconciler) prune(ctx context.Context, k store.Key, f *api.Function) error {
	if f == nil {
		var err error
		if f, err = read[api.Function](ctx, r.cfg.Store, k); f == nil || err != nil {
			return err
		}
	}
	info := infoOf(f)
	unused := 0
	for _, i := range r.index.revisionsOf(k) {
		rk := revisionKey(k.Namespace, i.name)
		used := i.name == info.serving || i.name == info.latest || slices.Contains(info.used, i.name) || len(r.index.routesTo(rk)) > 0
		if i.holds && i.reserve == used {
			if err := r.reserve(ctx, rk, !used); err != nil {
				return err
			}
		}
		if used {
			continue
		}
		old := !i.created.IsZero() && time.Since(i.created) > info.maxAge
		if unused++; unused <= info.keep && !old {
			continue
		}
		if err := r.retire(ctx, rk); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) retire(ctx context.Context, k store.Key) error {
	rec, err := r.cfg.Store.Get(ctx, k)
	if err == nil {
		rec, err = r.cfg.Store.Delete(ctx, k, rec.Revision)
	}
	if api.IsCode(err, api.CodeNotFound) || api.IsCode(err, api.CodeConflict) {
		return nil // gone, or someone just gave it a use; the next sweep looks again
	}
	if err != nil {
		return err
	}
	rev := decode[api.Revision](r, k, rec.Value)
	if rev == nil {
		return nil
	}
	rev.Metadata.Namespace, rev.Metadata.Name = k.Namespace, k.Name
	r.index.dropRevision(rev)
	if r.cfg.Retire != nil {
		r.cfg.Retire(rev)
	}
	return nil
}

func (r *Reconciler) sweepLoop(ctx context.Context) {
	t := time.NewTicker(r.cfg.Sweep)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("sweep", "error", err)
		}
	}
}

// sweep removes old revisions, old events and unused blobs.
func (r *Reconciler) sweep(ctx context.Context) error {
	for _, k := range r.index.functionKeys() {
		if err := r.prune(ctx, k, nil); err != nil {
			return err
		}
	}
	if err := r.sweepEvents(ctx); err != nil {
		return err
	}
	if r.cfg.Blobs == nil {
		return nil
	}
	return r.sweepBlobs(ctx)
}

func (r *Reconciler) sweepEvents(ctx context.Context) error {
	l, err := r.cfg.Store.List(ctx, store.Query{Resource: api.Events})
	if err != nil {
		return err
	}
	for _, rec := range l.Records {
		var e api.Event
		if json.Unmarshal(rec.Value, &e) != nil {
			continue
		}
		last := e.LastTimestamp
		for _, t := range []*api.Time{e.EventTime, e.Metadata.CreationTimestamp} {
			if last == nil {
				last = t
			}
		}
		if last == nil || time.Since(last.Time) < eventAge {
			continue
		}
		_, err := r.cfg.Store.Delete(ctx, rec.Key, rec.Revision)
		if err != nil && !api.IsCode(err, api.CodeConflict) && !api.IsCode(err, api.CodeNotFound) {
			return err
		}
	}
	return nil
}

// sweepBlobs removes blobs that nothing has named for the whole grace. The time
// counts from when a sweep first found one unused, so a restart gives it a full
// grace again, and an upload has that long to get its function.
func (r *Reconciler) sweepBlobs(ctx context.Context) error {
	used, err := r.usedBlobs(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	there := map[blob.Digest]bool{}
	var old []blob.Digest
	for info, err := range r.cfg.Blobs.All(ctx) {
		if err != nil {
			return err
		}
		d := info.Digest
		there[d] = true
		if used[d] {
			delete(r.swept, d)
			continue
		}
		since, known := r.swept[d]
		if !known {
			r.swept[d] = now
		} else if now.Sub(since) >= r.cfg.Grace {
			old = append(old, d)
		}
	}
	for d := range r.swept {
		if !there[d] {
			delete(r.swept, d)
		}
	}
	if len(old) == 0 {
		return nil
	}
	// Once more: an object may have come while the blobs were listed.
	if used, err = r.usedBlobs(ctx); err != nil {
		return err
	}
	for _, d := range old {
		if used[d] {
			continue
		}
		if r.cfg.Forget != nil {
			if err := r.cfg.Forget(ctx, string(d)); err != nil {
				r.log.Warn("forget artifact", "artifact", d, "error", err)
			}
		}
		if err := r.cfg.Blobs.Delete(ctx, d); err != nil {
			return err
		}
		delete(r.swept, d)
	}
	return nil
}

// usedBlobs are the digests that objects name, and those to keep besides.
func (r *Reconciler) usedBlobs(ctx context.Context) (map[blob.Digest]bool, error) {
	used := map[blob.Digest]bool{}
	functions, err := r.cfg.Store.List(ctx, store.Query{Resource: api.Functions})
	if err != nil {
		return nil, err
	}
	for _, rec := range functions.Records {
		var f api.Function
		if err := json.Unmarshal(rec.Value, &f); err != nil {
			return nil, api.Errorf(api.CodeInternal, "%s is damaged; nothing is swept", rec.Key) // what it names is unknown
		}
		if a := f.Spec.Source.Archive; a != nil {
			used[blob.Digest(a.Blob)] = true
		}
		if b := f.Status.Build; b != nil {
			used[blob.Digest(b.Artifact)], used[blob.Digest(b.Log)] = true, true
		}
	}
	revisions, err := r.cfg.Store.List(ctx, store.Query{Resource: api.Revisions})
	if err != nil {
		return nil, err
	}
	for _, rec := range revisions.Records {
		var v api.Revision
		if err := json.Unmarshal(rec.Value, &v); err != nil {
			return nil, api.Errorf(api.CodeInternal, "%s is damaged; nothing is swept", rec.Key)
		}
		used[blob.Digest(v.Spec.Artifact)] = true
	}
	if r.cfg.Kept != nil {
		kept, err := r.cfg.Kept(ctx)
		if err != nil {
			return nil, err
		}
		for _, d := range kept {
			used[blob.Digest(d)] = true
		}
	}
	return used, nil
}
