package reconcile

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// write brings one object of an Outcome into the store.
func (f *Foreign) write(ctx context.Context, r store.Record) error {
	var old []byte
	if r.Revision != store.New {
		live, there := f.mirror.Get(r.Key)
		if !there || live.Revision != r.Revision {
			return store.Conflict(r.Key, r.Revision, live.Revision)
		}
		old = live.Value
	}
	value, err := admitted(old, r.Value, time.Now())
	if err != nil {
		return api.Errorf(api.CodeInternal, "%s cannot be written", r.Key).WithCause(err)
	}
	if value == nil {
		return nil
	}
	rec, err := f.cfg.Store.Apply(ctx, r.Key, value, r.Revision)
	if err != nil {
		return err
	}
	f.see(store.EventPut, rec)
	return nil
}

// admitted fills in what the server fills in for clients: identity and creation
// of a new object, a higher generation where the spec changed. nil: value says
// what old says.
func admitted(old, value []byte, now time.Time) ([]byte, error) {
	var was, is map[string]json.RawMessage
	if err := json.Unmarshal(value, &is); err != nil {
		return nil, err
	}
	var meta map[string]json.RawMessage
	if err := json.Unmarshal(is["metadata"], &meta); err != nil {
		return nil, err
	}
	generation := int64(1)
	switch old {
	case nil:
		meta["uid"] = raw(newUID())
		meta["creationTimestamp"] = raw(api.NewTime(now))
	default:
		if equalJSON(old, value) {
			return nil, nil
		}
		if err := json.Unmarshal(old, &was); err != nil {
			return nil, err
		}
		var o struct {
			Generation int64 `json:"generation"`
		}
		if err := json.Unmarshal(was["metadata"], &o); err != nil {
			return nil, err
		}
		if generation = o.Generation; !equalJSON(was["spec"], is["spec"]) {
			generation++
		}
	}
	if generation > 0 && (is["spec"] != nil || old != nil) {
		meta["generation"] = raw(generation)
	}
	is["metadata"] = raw(meta)
	return json.Marshal(is)
}

// raw is v as JSON; v always can be.
func raw(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("JSON of " + err.Error())
	}
	return b
}

// equalJSON compares values, not bytes.
func equalJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return len(a) > 0 && len(b) > 0 && json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
