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
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/store"
)

// maxCached bounds the objects kept.
const maxCached = 4096

// Options are what a Binder needs besides the store.
type Options struct {
	// Tokens makes those of service accounts; nil: there are none.
	Tokens identity.Issuer
	// Machine is what there is where a container has no limit.
	Machine engine.Limits
}

// Binder resolves. It is safe for concurrent use. While Run watches the store,
// the secrets, configuration and runtimes it was asked for are kept until they
// change, so that a start need not wait for the store; without Run every call
// reads it. Nothing is kept of revisions, which are many.
type Binder struct {
	store store.Store
	o     Options

	mu      sync.Mutex
	live    bool // the watch has caught up: what is kept is true
	events  int  // seen so far
	objects map[store.Key]any
}

// New returns a Binder that reads from st.
func New(st store.Store, o Options) *Binder {
	b := &Binder{store: st, o: o}
	b.reset(false)
	return b
}

// Spec resolves r. A missing object or key is api.CodeStartFailed with a
// message that names it. The maps and slices of the Spec are shared: do not
// change them.
func (b *Binder) Spec(ctx context.Context, r *api.Revision) (engine.Spec, error) {
	return b.resolve(ctx, r, reader{b: b, ns: r.Metadata.Namespace})
}

// Check says whether everything f refers to is there, as Spec would.
func (b *Binder) Check(ctx context.Context, f *api.Function) error {
	s, in := f.Spec, reader{b: b, ns: f.Metadata.Namespace}
	r := &api.Revision{Metadata: api.Meta{Namespace: f.Metadata.Namespace}, Spec: api.RevisionSpec{
		Function: f.Metadata.Name, Runtime: s.Runtime, Env: s.Env, EnvFrom: s.EnvFrom, Secrets: s.Secrets, Config: s.Config,
	}}
	if s.Source.Image != "" {
		r.Spec.Runtime = "" // the image's own program
		in.facts = &facts{r}
	}
	_, err := b.resolve(ctx, r, in)
	return err
}

// Env resolves variables of a namespace, such as those of a build.
func (b *Binder) Env(ctx context.Context, namespace string, env []api.EnvVar) (map[string]string, error) {
	return reader{b: b, ns: namespace}.env(ctx, "", env, nil)
}

func (b *Binder) resolve(ctx context.Context, r *api.Revision, in reader) (engine.Spec, error) {
	s := r.Spec
	if len(s.Containers) > 0 {
		in.facts = &facts{r}
		pod, err := in.pod(ctx, r.Metadata.Name, &s)
		return engine.Spec{
			Tenant: in.ns, Function: s.Function, Revision: r.Metadata.Name, Pod: pod, Network: s.Network,
			Concurrency: or(s.Concurrency, api.DefaultConcurrency), Timeout: or(s.Timeout.Duration, api.DefaultTimeout), Metadata: metadata(r),
		}, err
	}
	rt, err := in.runtime(ctx, s.Runtime)
	if err != nil {
		return engine.Spec{}, err
	}
	env, err := in.env(ctx, "", s.Env, s.EnvFrom)
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

// reader reads objects of one namespace.
type reader struct {
	b     *Binder
	ns    string
	facts *facts // of the revision whose containers are resolved; nil: of none
}

// get returns an object that is not to be changed; nil when there is none.
func get[T any](ctx context.Context, in reader, resource, name string) (*T, error) {
	b, key := in.b, store.Key{Resource: resource, Namespace: in.ns, Name: name}
	b.mu.Lock()
	kept, ok := b.objects[key].(*T)
	events := b.events
	b.mu.Unlock()
	if ok {
		return kept, nil
	}
	var obj *T
	rec, err := b.store.Get(ctx, key)
	if err != nil && !api.IsCode(err, api.CodeNotFound) {
		return nil, err
	}
	if err == nil {
		obj = new(T)
		if err := json.Unmarshal(rec.Value, obj); err != nil {
			// Not err itself: it may quote what it could not read.
			return nil, api.Errorf(api.CodeInternal, "%s %q in the store cannot be read", resource, name)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live && events == b.events { // else it may have changed while it was read
		if len(b.objects) >= maxCached {
			for any := range b.objects {
				delete(b.objects, any)
				break
			}
		}
		b.objects[key] = obj
	}
	return obj, nil
}

// reset forgets everything; live says whether objects may be kept from now on.
func (b *Binder) reset(live bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live, b.objects = live, map[store.Key]any{}
	b.events++
}

// Run watches the store until ctx ends, so that objects can be kept.
func (b *Binder) Run(ctx context.Context) {
	defer b.reset(false)
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
		b.reset(true)
		for e, err := range b.store.Watch(ctx, store.Query{}, list.Revision) {
			if err != nil {
				break
			}
			wait = 0
			b.see(e)
		}
		b.reset(false)
	}
}

func (b *Binder) see(e store.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events++
	delete(b.objects, e.Record.Key)
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
