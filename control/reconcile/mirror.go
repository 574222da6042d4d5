package reconcile

import (
	"encoding/json"
	"slices"
	"sync"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/rollout"
	"github.com/hearth-run/hearth/core/store"
)

// mirror is the part of the store a dialect looks at, and what is known
// besides. It follows the watch, and this program's own writes at once.
type mirror struct {
	cfg       ForeignConfig
	resources []string
	held      map[string]bool
	rollouts  *rollouts

	mu      sync.RWMutex
	records map[store.Key]store.Record
	needs   map[store.Key]map[store.Key]bool // by what is needed
	owned   map[string]map[store.Key]bool    // by uid of the controller
	images  map[string]images
	gone    map[store.Key]int64 // when what is not there went, as far as it may matter
}

// maxGone bounds mirror.gone: an own write is seen moments after it was made.
const maxGone = 4096

type images struct {
	refs map[string]string
	err  error
}

func newMirror(cfg ForeignConfig) *mirror {
	m := &mirror{
		cfg: cfg, rollouts: newRollouts(cfg.Observe), held: map[string]bool{}, records: map[store.Key]store.Record{}, needs: map[store.Key]map[store.Key]bool{},
		owned: map[string]map[store.Key]bool{}, images: map[string]images{}, gone: map[store.Key]int64{},
	}
	for _, r := range slices.Concat(cfg.Dialect.Kinds(), cfg.Dialect.Reads(), []string{api.Revisions}) {
		if !m.held[r] {
			m.held[r] = true
			m.resources = append(m.resources, r)
		}
	}
	return m
}

func (m *mirror) holds(resource string) bool { return m.held[resource] }

// Get implements View.
func (m *mirror) Get(k store.Key) (store.Record, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, ok := m.records[k]
	return r, ok
}

// Owned implements View.
func (m *mirror) Owned(uid string) []store.Record {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sorted(m.owned[uid])
}

// Needing implements View.
func (m *mirror) Needing(k store.Key) []store.Record {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sorted(m.needs[k])
}

func (m *mirror) sorted(keys map[store.Key]bool) (out []store.Record) {
	for k := range keys {
		out = append(out, m.records[k])
	}
	slices.SortFunc(out, func(a, b store.Record) int { return store.Compare(a.Key, b.Key) })
	return out
}

// Images implements View.
func (m *mirror) Images(uid string) (map[string]string, error, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	i, ok := m.images[uid]
	return i.refs, i.err, ok
}

func (m *mirror) setImages(uid string, refs map[string]string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.images[uid] = images{refs, err}
}

func (m *mirror) forgetImages(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.images, uid)
}

// Seen implements View.
func (m *mirror) Seen(k store.Key, part string, r *api.RolloutStatus) rollout.Seen {
	return m.rollouts.seen(k, part, r)
}

// Replicas implements View.
func (m *mirror) Replicas(namespace, revision string) (int, int) {
	if m.cfg.Replicas == nil {
		return 0, 0
	}
	return m.cfg.Replicas(namespace, revision)
}

// put takes r in, unless what is known is as new.
func (m *mirror) put(r store.Record) (old store.Record, was, news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, was = m.records[r.Key]; was && old.Revision >= r.Revision || m.gone[r.Key] > r.Revision {
		return old, was, false
	}
	delete(m.gone, r.Key)
	if was {
		m.unlink(old)
	}
	m.records[r.Key] = r
	for _, k := range m.cfg.Dialect.Needs(r) {
		insert(m.needs, k, r.Key)
	}
	if uid := controllerOf(r.Value); uid != "" {
		insert(m.owned, uid, r.Key)
	}
	return old, was, true
}

// drop takes out what is at k, unless it is newer than at. What is older and
// comes later (an own write that is seen after someone removed it) stays out.
func (m *mirror) drop(k store.Key, at int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, was := m.records[k]
	if was && old.Revision > at {
		return false
	}
	if len(m.gone) >= maxGone {
		clear(m.gone)
	}
	m.gone[k] = at
	if !was {
		return false
	}
	m.unlink(old)
	delete(m.records, k)
	return true
}

func (m *mirror) unlink(r store.Record) {
	for _, k := range m.cfg.Dialect.Needs(r) {
		drop(m.needs, k, r.Key)
	}
	if uid := controllerOf(r.Value); uid != "" {
		drop(m.owned, uid, r.Key)
	}
}

// unlisted are the records that are not among the listed.
func (m *mirror) unlisted(listed map[store.Key]bool) (out []store.Record) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for k, r := range m.records {
		if !listed[k] {
			out = append(out, r)
		}
	}
	return out
}

func (m *mirror) keys() (out []store.Key) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for k := range m.records {
		out = append(out, k)
	}
	return out
}

// controllerOf is the uid of the object that controls another; "" for none.
func controllerOf(value []byte) string {
	var o struct {
		Metadata struct {
			OwnerReferences []api.OwnerReference `json:"ownerReferences"`
		} `json:"metadata"`
	}
	if json.Unmarshal(value, &o) != nil {
		return ""
	}
	for _, r := range o.Metadata.OwnerReferences {
		if r.Controller {
			return r.UID
		}
	}
	return ""
}

func uidOf(value []byte) string {
	var o struct {
		Metadata struct {
			UID string `json:"uid"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal(value, &o) // damaged: none
	return o.Metadata.UID
}

func nativeRevision(r store.Record) *api.Revision {
	v := new(api.Revision)
	if json.Unmarshal(r.Value, v) != nil {
		return nil
	}
	v.Metadata.Namespace, v.Metadata.Name = r.Key.Namespace, r.Key.Name
	return v
}
