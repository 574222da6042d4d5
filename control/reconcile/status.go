package reconcile

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// writeStatus changes the status of the object at k: change gets the object as
// it is now and its status to set. Nothing else of the object is touched, and
// nothing is written when the status stays the same or when change returns
// false. A write that crossed another is done again on what is there then. An
// object that is gone is no error.
func writeStatus[T, S any](ctx context.Context, st store.Store, k store.Key, status func(*T) *S, change func(*T) bool) error {
	for {
		rec, err := st.Get(ctx, k)
		if api.IsCode(err, api.CodeNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		value, err := newStatus(rec.Value, status, change)
		if err != nil {
			return api.Errorf(api.CodeInternal, "the stored %s is damaged", k).WithCause(err)
		}
		if value == nil {
			return nil
		}
		_, err = st.Apply(ctx, k, value, rec.Revision)
		if !api.IsCode(err, api.CodeConflict) && !api.IsCode(err, api.CodeNotFound) {
			return err
		}
	}
}

// newStatus returns value with its new status, nil when it needs none.
func newStatus[T, S any](value []byte, status func(*T) *S, change func(*T) bool) ([]byte, error) {
	obj := new(T)
	if err := json.Unmarshal(value, obj); err != nil {
		return nil, err
	}
	before, err := json.Marshal(status(obj))
	if err != nil {
		return nil, err
	}
	if !change(obj) {
		return nil, nil
	}
	after, err := json.Marshal(status(obj))
	if err != nil || bytes.Equal(before, after) {
		return nil, err
	}
	// Field by field, so that what this program does not know stays.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(value, &fields); err != nil {
		return nil, err
	}
	fields["status"] = after
	return json.Marshal(fields)
}

func (r *Reconciler) functionStatus(ctx context.Context, k store.Key, change func(*api.Function) bool) error {
	return writeStatus(ctx, r.cfg.Store, k, func(f *api.Function) *api.FunctionStatus { return &f.Status }, change)
}

func (r *Reconciler) revisionStatus(ctx context.Context, k store.Key, change func(*api.Revision) bool) error {
	return writeStatus(ctx, r.cfg.Store, k, func(v *api.Revision) *api.RevisionStatus { return &v.Status }, change)
}
