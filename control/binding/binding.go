// Package binding turns a revision and what it refers to into an engine's Spec:
// secrets and config become environment variables and files, the runtime's name
// becomes a command and a protocol, silence becomes defaults.
//
// It only ever reads objects of the revision's own namespace. Values appear in
// the Spec and nowhere else: no error and no log has them.
package binding

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/store"
)

// maxCached bounds the specs kept ready.
const maxCached = 10_000

// Binder resolves. It is safe for concurrent use. While Run watches the store,
// resolved specs are kept and given out again until something they were made
// from changes; without Run every call reads the store.
type Binder struct {
	store store.Store

	mu    sync.Mutex
	live  bool // the watch has caught up: what is kept is true
	specs map[store.Key]*bound
	users map[store.Key]map[*bound]struct{} // by what they were made from
}

// bound is a spec with what it was made from.
type bound struct {
	rev   store.Key
	uid   string
	spec  engine.Spec
	from  []store.Key
	stale bool
}

// New returns a Binder that reads from st.
func New(st store.Store) *Binder {
	b := &Binder{store: st}
	b.reset(false)
	return b
}

// Spec resolves r. A missing object or key is api.CodeStartFailed with a
// message that names it. The maps and slices of the Spec are shared: do not
// change them.
func (b *Binder) Spec(ctx context.Context, r *api.Revision) (engine.Spec, error) {
	key := store.Key{Resource: api.Revisions, Namespace: r.Metadata.Namespace, Name: r.Metadata.Name}
	b.mu.Lock()
	if c := b.specs[key]; c != nil && c.uid == r.Metadata.UID {
		b.mu.Unlock()
		return c.spec, nil
	}
	b.mu.Unlock()

	c := &bound{rev: key, uid: r.Metadata.UID}
	spec, err := b.resolve(ctx, r, reader{b: b, ns: r.Metadata.Namespace, of: c})
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || c.stale || !b.live {
		b.drop(c)
		return spec, err
	}
	if len(b.specs) >= maxCached {
		for _, any := range b.specs {
			b.drop(any)
			break
		}
	}
	if old := b.specs[key]; old != nil {
		b.drop(old)
	}
	c.spec = spec
	b.specs[key] = c
	return spec, nil
}

// Check says whether everything f refers to is there, as Spec would.
func (b *Binder) Check(ctx context.Context, f *api.Function) error {
	s := f.Spec
	if s.Source.Image != "" {
		s.Runtime = "" // the image's own program
	}
	_, err := b.resolve(ctx, &api.Revision{Metadata: api.Meta{Namespace: f.Metadata.Namespace}, Spec: api.RevisionSpec{
		Function: f.Metadata.Name, Runtime: s.Runtime, Env: s.Env, EnvFrom: s.EnvFrom, Secrets: s.Secrets, Config: s.Config,
	}}, reader{b: b, ns: f.Metadata.Namespace})
	return err
}

// Env resolves variables of a namespace, such as those of a build.
func (b *Binder) Env(ctx context.Context, namespace string, env []api.EnvVar) (map[string]string, error) {
	return reader{b: b, ns: namespace}.env(ctx, env, nil)
}

func (b *Binder) resolve(ctx context.Context, r *api.Revision, in reader) (engine.Spec, error) {
	s := r.Spec
	if len(s.Containers) > 0 {
		pod, err := in.pod(ctx, &s)
		return engine.Spec{
			Tenant: in.ns, Function: s.Function, Revision: r.Metadata.Name, Pod: pod, Network: s.Network,
			Concurrency: or(s.Concurrency, api.DefaultConcurrency), Timeout: or(s.Timeout.Duration, api.DefaultTimeout), Metadata: metadata(r),
		}, err
	}
	rt, err := in.runtime(ctx, s.Runtime)
	if err != nil {
		return engine.Spec{}, err
	}
	env, err := in.env(ctx, s.Env, s.EnvFrom)
	if err != nil {
		return engine.Spec{}, err
	}
	files, err := in.files(ctx, s.Secrets, s.Config)
	if err != nil {
		return engine.Spec{}, err
	}
	var port api.ServePort
	if s.Port != nil {
		port = *s.Port
	}
	cpu, _ := s.Limits.CPU.Milli() // admission refused malformed ones
	return engine.Spec{
		Tenant: in.ns, Function: s.Function, Revision: r.Metadata.Name,
		Runtime: rt.Runtime, Artifact: s.Artifact, Handler: s.Handler, Command: s.Command, Env: env, Files: files,
		Limits: engine.Limits{
			MemoryBytes: s.Limits.Memory.Bytes(api.DefaultMemory),
			CPUMilli:    cpu,
			Processes:   or(s.Limits.Processes, api.DefaultProcesses),
			DiskBytes:   s.Limits.Disk.Bytes(api.DefaultDisk),
		},
		Network:     network(s.Network, rt),
		Port:        port.Number,
		H2C:         port.Protocol == api.ProtocolH2C,
		Concurrency: or(s.Concurrency, api.DefaultConcurrency),
		Timeout:     or(s.Timeout.Duration, api.DefaultTimeout),
		Metadata:    metadata(r),
	}, nil
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// metadata is what Fission's loaders get as FunctionMetadata.
func metadata(r *api.Revision) map[string]any {
	m := map[string]any{"name": r.Spec.Function, "namespace": r.Metadata.Namespace, "generation": r.Spec.Number}
	for _, o := range r.Metadata.OwnerReferences {
		if o.Kind == "Function" && o.Name == r.Spec.Function {
			m["uid"] = o.UID
		}
	}
	if t := r.Metadata.CreationTimestamp; t != nil {
		m["creationTimestamp"] = t.UTC().Format(time.RFC3339)
	}
	return m
}

// reader reads objects of one namespace and notes which ones.
type reader struct {
	b  *Binder
	ns string
	of *bound // nil: nothing is noted
}

// get reads an object into obj; false when there is none.
func (in reader) get(ctx context.Context, resource, name string, obj any) (bool, error) {
	key := store.Key{Resource: resource, Namespace: in.ns, Name: name}
	if in.of != nil {
		in.b.note(key, in.of) // before reading: a change in between makes it stale
	}
	rec, err := in.b.store.Get(ctx, key)
	if api.IsCode(err, api.CodeNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(rec.Value, obj); err != nil {
		// Not err itself: it may quote what it could not read.
		return false, api.Errorf(api.CodeInternal, "%s %q in the store cannot be read", resource, name)
	}
	return true, nil
}

func (b *Binder) note(key store.Key, c *bound) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(c.from, key) {
		return
	}
	c.from = append(c.from, key)
	if b.users[key] == nil {
		b.users[key] = map[*bound]struct{}{}
	}
	b.users[key][c] = struct{}{}
}

// drop forgets c. The caller holds b.mu.
func (b *Binder) drop(c *bound) {
	c.stale = true
	if b.specs[c.rev] == c {
		delete(b.specs, c.rev)
	}
	for _, k := range c.from {
		delete(b.users[k], c)
		if len(b.users[k]) == 0 {
			delete(b.users, k)
		}
	}
}

// reset forgets everything; live says whether new specs may be kept.
func (b *Binder) reset(live bool) {
	for _, c := range b.specs {
		c.stale = true
	}
	for _, cs := range b.users {
		for c := range cs {
			c.stale = true
		}
	}
	b.live, b.specs, b.users = live, map[store.Key]*bound{}, map[store.Key]map[*bound]struct{}{}
}

// Run watches the store until ctx ends, so that resolved specs can be kept.
func (b *Binder) Run(ctx context.Context) {
	defer func() {
		b.mu.Lock()
		b.reset(false)
		b.mu.Unlock()
	}()
	for wait := time.Duration(0); ctx.Err() == nil; wait = min(wait*2+50*time.Millisecond, 5*time.Second) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		list, err := b.store.List(ctx, store.Query{Resource: api.Secrets, Limit: 1}) // for the revision
		if err != nil {
			continue
		}
		b.mu.Lock()
		b.reset(true)
		b.mu.Unlock()
		for e, err := range b.store.Watch(ctx, store.Query{}, list.Revision) {
			if err != nil {
				break
			}
			wait = 0
			b.see(e)
		}
		b.mu.Lock()
		b.reset(false)
		b.mu.Unlock()
	}
}

func (b *Binder) see(e store.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Type == store.EventDelete && e.Record.Key.Resource == api.Revisions {
		if c := b.specs[e.Record.Key]; c != nil {
			b.drop(c)
		}
		return
	}
	for c := range maps.Clone(b.users[e.Record.Key]) {
		b.drop(c)
	}
}

// missing is the error for what is not there.
func missing(kind, ns, name, key string) error {
	what := fmt.Sprintf("%s %q", kind, name)
	hint := fmt.Sprintf("kubectl create %s %s -n %s --from-literal=%s=VALUE", strings.ToLower(kind), name, ns, or(key, "KEY"))
	if kind == "Secret" {
		hint = fmt.Sprintf("kubectl create secret generic %s -n %s --from-literal=%s=VALUE", name, ns, or(key, "KEY"))
	}
	if key != "" {
		return api.Errorf(api.CodeStartFailed, "key %q of %s is not there", key, what).WithHint("%s, or add the key to it", hint)
	}
	return api.Errorf(api.CodeStartFailed, "%s is not there", what).WithHint("%s", hint)
}
