package reconcile

import (
	"context"
	"encoding/json"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// holdsInstances reports whether a revision has instances that are held without calls.
func holdsInstances(s *api.RevisionSpec) bool {
	return s.Scale.Min > 0 || s.Scale.Auto != nil && len(s.Scale.Auto.Reserve) > 0
}

// reserve writes on a revision that nothing leads to it, so that its instances
// are not held, or takes that back. A revision that is gone is no error.
func (r *Reconciler) reserve(ctx context.Context, k store.Key, unused bool) error {
	for {
		rec, err := r.cfg.Store.Get(ctx, k)
		if api.IsCode(err, api.CodeNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		value, err := annotated(rec.Value, api.AnnotationReserve, unused)
		if value == nil || err != nil {
			return err
		}
		_, err = r.cfg.Store.Apply(ctx, k, value, rec.Revision)
		if !api.IsCode(err, api.CodeConflict) && !api.IsCode(err, api.CodeNotFound) {
			return err
		}
	}
}

// annotated returns an object with an annotation that says "true", or without
// it; nil when it is so already. What this program does not know stays.
func annotated(value []byte, name string, set bool) ([]byte, error) {
	var object, meta map[string]json.RawMessage
	if err := json.Unmarshal(value, &object); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(object["metadata"], &meta); err != nil {
		return nil, err
	}
	annotations := map[string]string{}
	if raw, ok := meta["annotations"]; ok {
		if err := json.Unmarshal(raw, &annotations); err != nil {
			return nil, err
		}
	}
	if (annotations[name] == "true") == set {
		return nil, nil
	}
	if delete(annotations, name); set {
		annotations[name] = "true"
	}
	var err error
	if delete(meta, "annotations"); len(annotations) > 0 {
		if meta["annotations"], err = json.Marshal(annotations); err != nil {
			return nil, err
		}
	}
	if object["metadata"], err = json.Marshal(meta); err != nil {
		return nil, err
	}
	return json.Marshal(object)
}
