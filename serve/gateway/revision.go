package gateway

import (
	"encoding/json"
	"sync/atomic"
	"time"
	"weak"

	"github.com/hearth-run/hearth/api"
)

// revision is what a call needs to know of one. All revisions are in memory and
// few are being called, so the object for the Waker is kept as text and made
// while it is wanted.
type revision struct {
	name, uid   string
	function    *function
	timeout     time.Duration
	limit       int64                    // of the body
	times       *times                   // nil: none but timeout
	seen        atomic.Pointer[observed] // nil: its calls are not counted apart
	concurrency int

	text []byte
	made atomic.Pointer[weak.Pointer[api.Revision]]
}

func newRevision(v *api.Revision, f *function) (*revision, error) {
	// Without what no call asks for.
	v.Metadata.ManagedFields, v.Status = nil, api.RevisionStatus{}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	r := &revision{
		name: v.Metadata.Name, uid: v.Metadata.UID, function: f, concurrency: v.Spec.Concurrency, text: text,
		timeout: v.Spec.Timeout.Duration, limit: v.Spec.BodyLimit, times: newTimes(v.Spec.RequestTimeout, v.Spec.ResponseStartTimeout, v.Spec.IdleTimeout),
	}
	if r.timeout <= 0 {
		r.timeout = api.DefaultTimeout
	}
	if r.limit <= 0 {
		r.limit = api.DefaultBodyLimit
	}
	return r, nil
}

// object is the revision, not to be changed. The Waker holds on to it while
// there are instances, so calls of a revision in use find it made.
func (r *revision) object() *api.Revision {
	if w := r.made.Load(); w != nil {
		if v := w.Value(); v != nil {
			return v
		}
	}
	v := new(api.Revision)
	if err := json.Unmarshal(r.text, v); err != nil {
		panic(err) // we wrote it
	}
	w := weak.Make(v)
	r.made.Store(&w)
	return v
}
