package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// Recorder writes Events, which kubectl describe shows. The same thing said of
// the same object again counts up instead of making another one. Events are
// help, not truth: one that cannot be written is dropped.
type Recorder struct {
	store     store.Store
	component string
}

// NewRecorder returns a Recorder that signs with component.
func NewRecorder(st store.Store, component string) *Recorder {
	return &Recorder{store: st, component: component}
}

// Normal records that something went as it should.
func (r *Recorder) Normal(ctx context.Context, o api.ObjectReference, reason, format string, args ...any) {
	r.record(ctx, o, "Normal", reason, fmt.Sprintf(format, args...))
}

// Warning records that something did not.
func (r *Recorder) Warning(ctx context.Context, o api.ObjectReference, reason, format string, args ...any) {
	r.record(ctx, o, "Warning", reason, fmt.Sprintf(format, args...))
}

func (r *Recorder) record(ctx context.Context, o api.ObjectReference, kind, reason, message string) {
	sum := sha256.Sum256([]byte(o.Kind + "\x00" + o.UID + "\x00" + reason + "\x00" + message))
	k := store.Key{Resource: api.Events, Namespace: o.Namespace, Name: o.Name + "." + hex.EncodeToString(sum[:8])}
	for range 5 {
		now := api.NewTime(time.Now())
		e := api.Event{
			TypeMeta:       api.TypeMeta{APIVersion: "v1", Kind: "Event"},
			Metadata:       api.Meta{Name: k.Name, Namespace: k.Namespace, UID: newUID(), CreationTimestamp: now},
			InvolvedObject: o, Reason: reason, Message: message, Type: kind, FirstTimestamp: now,
			Source: api.EventSource{Component: r.component}, ReportingController: r.component,
		}
		revision := store.New
		rec, err := r.store.Get(ctx, k)
		if err == nil {
			revision = rec.Revision
			var old api.Event
			if json.Unmarshal(rec.Value, &old) == nil {
				e = old
			}
		} else if !api.IsCode(err, api.CodeNotFound) {
			return
		}
		e.Count++
		e.LastTimestamp = now
		value, err := json.Marshal(e)
		if err != nil {
			return
		}
		_, err = r.store.Apply(ctx, k, value, revision)
		if !api.IsCode(err, api.CodeConflict) && !api.IsCode(err, api.CodeExists) && !api.IsCode(err, api.CodeNotFound) {
			return
		}
	}
}

// reference points at one of our own objects.
func reference(kind string, m *api.Meta) api.ObjectReference {
	return api.ObjectReference{APIVersion: api.GroupVersion, Kind: kind, Namespace: m.Namespace, Name: m.Name, UID: m.UID}
}
