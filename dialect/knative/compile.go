package knative

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/rollout"
	"github.com/hearth-run/hearth/core/store"
)

// View is what a Step sees: the newest objects known.
type View interface {
	Get(k store.Key) (store.Record, bool)
	// Owned are the objects whose controller has the uid; Needing those with k
	// among their Needs. Both are in order of their keys.
	Owned(uid string) []store.Record
	Needing(k store.Key) []store.Record
	// Images are the references with digests for an Outcome.Resolve with that
	// uid, or why there are none; false: not known yet.
	Images(uid string) (byReference map[string]string, err error, known bool)
	// Seen is how the calls of the revision a rollout leads to went since its step
	// began; k has that rollout, among others that part tells apart.
	Seen(k store.Key, part string, r *api.RolloutStatus) rollout.Seen
	// Replicas is how many instances of a native revision are ready, and how
	// many are wanted.
	Replicas(namespace, revision string) (ready, wanted int)
}

// Outcome is what a Step wants.
type Outcome struct {
	Put     []store.Record // made where Revision is 0, else replaced if it still has it
	Delete  []store.Record // removed if it still has that revision
	Events  []api.Event
	Resolve *api.Revision // whose images want digests
	Within  time.Duration // how long a registry is waited for
	Again   time.Duration // step once more after that; 0: only after a change
}

// Config is what a Dialect must know of where it runs.
type Config struct {
	// Domain ends the hosts of public Routes, unless config-domain names
	// another; localhost if empty.
	Domain string
	// URL is the gateway's address under a host; http://HOST if nil. SecureURL
	// is that for HTTPS; https://HOST if nil.
	URL, SecureURL func(host string) string
	// ACME says that the gateway gets certificates from an authority, for
	// external-domain-tls.
	ACME bool
}

// Dialect translates Knative's objects into native ones (compile) and what
// became of these into their status (project). It keeps nothing but the settings
// it read last.
type Dialect struct {
	c Config

	mu   sync.Mutex
	read [8]int64 // revisions of the ConfigMaps that set is made of
	set  *Settings
}

// New returns a Dialect.
func New(c Config) *Dialect {
	if c.Domain == "" {
		c.Domain = "localhost"
	}
	if c.URL == nil {
		c.URL = func(host string) string { return "http://" + host }
	}
	if c.SecureURL == nil {
		c.SecureURL = func(host string) string { return "https://" + host }
	}
	return &Dialect{c: c}
}

// Kinds are the resources with a Step.
func (d *Dialect) Kinds() []string {
	return []string{Services, Configurations, Revisions, Routes, DomainMappings, DomainClaims}
}

// Reads are the resources a Step looks at besides.
func (d *Dialect) Reads() []string {
	return []string{api.Revisions, api.Routes, api.Functions, api.ConfigMaps, CoreServices}
}

// Seeds are the namespace of Knative's settings, with ConfigMaps that say what they
// may hold: whoever administers a cluster edits and patches what is there.
func (d *Dialect) Seeds() []store.Record {
	record := func(resource, namespace, name string, o map[string]any) store.Record {
		return store.Record{Key: store.Key{Resource: resource, Namespace: namespace, Name: name}, Value: raw(o)}
	}
	out := []store.Record{record(api.Namespaces, "", settingsNamespace, map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": settingsNamespace}, "status": map[string]any{"phase": "Active"},
	})}
	for _, name := range configs() {
		out = append(out, record(api.ConfigMaps, settingsNamespace, name, map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": settingsNamespace}, "data": map[string]any{"_example": exampleOf(name)},
		}))
	}
	return out
}

// Global reports whether k is one of Knative's own settings.
func (d *Dialect) Global(k store.Key) bool {
	return k.Resource == api.ConfigMaps && k.Namespace == settingsNamespace
}

// Needs are the objects the Step of r looks at by name.
func (d *Dialect) Needs(r store.Record) (keys []store.Key) {
	ns, name := r.Key.Namespace, r.Key.Name
	at := func(resource, name string) {
		keys = append(keys, store.Key{Resource: resource, Namespace: ns, Name: name})
	}
	switch r.Key.Resource {
	case Services:
		at(Configurations, name)
		at(Routes, name)
		if o := decode[Service](r); o != nil && o.Spec.Template.Metadata.Name != "" {
			at(Revisions, o.Spec.Template.Metadata.Name)
		}
	case Configurations:
		if o := decode[Configuration](r); o != nil {
			at(Revisions, revisionName(o))
		}
	case Revisions:
		at(api.Revisions, name)
		if o := decode[Revision](r); o != nil && o.Metadata.Labels[LabelConfiguration] != "" {
			at(Configurations, o.Metadata.Labels[LabelConfiguration])
		}
	case Routes:
		o := decode[Route](r)
		if o == nil {
			return nil
		}
		for _, t := range o.Spec.Traffic {
			if t.ConfigurationName != "" {
				at(Configurations, t.ConfigurationName)
			}
			if t.RevisionName != "" {
				at(Revisions, t.RevisionName)
			}
		}
		for _, t := range o.Status.Traffic {
			at(Revisions, t.RevisionName)
		}
		at(api.Routes, nativeRoute(name))
		at(api.Functions, name)
		at(CoreServices, name)
	case DomainMappings:
		if o := decode[DomainMapping](r); o != nil {
			at(Routes, o.Spec.Ref.Name)
			at(api.Routes, nativeRoute(o.Spec.Ref.Name))
		}
		at(api.Routes, nativeDomain(name))
		keys = append(keys, store.Key{Resource: DomainClaims, Name: name})
	case DomainClaims:
		if o := decode[DomainClaim](r); o != nil {
			keys = append(keys, store.Key{Resource: DomainMappings, Namespace: o.Spec.Namespace, Name: name})
		}
	}
	return keys
}

// Touches are the objects whose Step depends on r though they do not name it:
// its controller, and the revisions a Route leads to or asks for.
func (d *Dialect) Touches(r store.Record) (keys []store.Key) {
	var o struct {
		Metadata api.Meta `json:"metadata"`
	}
	if json.Unmarshal(r.Value, &o) != nil {
		return nil
	}
	for _, ref := range o.Metadata.OwnerReferences {
		if k := ownerKind(ref); ref.Controller && k != "" {
			keys = append(keys, store.Key{Resource: k, Namespace: r.Key.Namespace, Name: ref.Name})
		}
	}
	if r.Key.Resource != Routes {
		return keys
	}
	if rt := decode[Route](r); rt != nil {
		for _, t := range append(slices.Clone(rt.Status.Traffic), rt.Spec.Traffic...) {
			if t.RevisionName != "" {
				keys = append(keys, store.Key{Resource: Revisions, Namespace: r.Key.Namespace, Name: t.RevisionName})
			}
		}
	}
	return keys
}

// ownerKind is the resource of an owner that has a Step; "" for others.
func ownerKind(ref api.OwnerReference) string {
	switch ref.APIVersion + "/" + ref.Kind {
	case APIVersion + "/Service":
		return Services
	case APIVersion + "/Configuration":
		return Configurations
	case APIVersion + "/Revision":
		return Revisions
	case APIVersion + "/Route":
		return Routes
	case APIVersionDomain + "/DomainMapping":
		return DomainMappings
	}
	return ""
}

// Step says what ought to be, seen from the object at k.
func (d *Dialect) Step(v View, k store.Key, now time.Time) Outcome {
	r, there := v.Get(k)
	if !there {
		return Outcome{}
	}
	self, err := open(r)
	if err != nil || self.m.DeletionTimestamp != nil {
		return Outcome{}
	}
	s := &step{d: d, v: v, k: k, now: now, self: self, set: d.settings(v)}
	switch k.Resource {
	case Services:
		s.service(decode[Service](r))
	case Configurations:
		s.configuration(decode[Configuration](r))
	case Revisions:
		s.revision(decode[Revision](r))
	case Routes:
		s.route(decode[Route](r))
	case DomainMappings:
		s.domainMapping(decode[DomainMapping](r))
	case DomainClaims:
		s.domainClaim(decode[DomainClaim](r))
	}
	s.put(self)
	return s.out
}

// step is one Step on its way.
type step struct {
	d    *Dialect
	v    View
	k    store.Key
	now  time.Time
	self *draft // written last
	set  Settings
	out  Outcome
}

// key names an object beside the one that is stepped.
func (s *step) key(resource, name string) store.Key {
	return store.Key{Resource: resource, Namespace: s.k.Namespace, Name: name}
}

// again asks for another step after at most wait.
func (s *step) again(wait time.Duration) {
	if wait = max(wait, time.Millisecond); s.out.Again == 0 || wait < s.out.Again {
		s.out.Again = wait
	}
}

// event records something about the object that is stepped.
func (s *step) event(kind, reason, format string, args ...any) {
	var o struct {
		api.TypeMeta
	}
	_ = json.Unmarshal(s.self.rec.Value, &o) // open read it
	s.out.Events = append(s.out.Events, api.Event{
		InvolvedObject: api.ObjectReference{APIVersion: o.APIVersion, Kind: o.Kind, Namespace: s.k.Namespace, Name: s.k.Name, UID: s.self.m.UID},
		Type:           kind, Reason: reason, Message: fmt.Sprintf(format, args...),
	})
}

// put adds d to what is written, if it differs from what is there.
func (s *step) put(d *draft) {
	if value, changed := d.value(); changed {
		s.out.Put = append(s.out.Put, store.Record{Key: d.rec.Key, Revision: d.rec.Revision, Value: value})
	}
}

// owner is a reference to the object that is stepped, as controller.
func (s *step) owner(apiVersion, kind string) []api.OwnerReference {
	return []api.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: s.k.Name, UID: s.self.m.UID, Controller: true, BlockOwnerDeletion: true}}
}

// get finds an object beside the one that is stepped; nil when there is none.
func get[T any](s *step, resource, name string) (*T, *draft) {
	r, there := s.v.Get(s.key(resource, name))
	if !there {
		return nil, nil
	}
	o := decode[T](r)
	d, err := open(r)
	if o == nil || err != nil {
		return nil, nil
	}
	return o, d
}

// decode reads a record; nil when it cannot be read.
func decode[T any](r store.Record) *T {
	o := new(T)
	if json.Unmarshal(r.Value, o) != nil {
		return nil
	}
	return o
}

func ptr[T any](v T) *T { return &v }

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
