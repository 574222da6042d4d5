package gateway

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/serve/gateway/table"
)

// snapshot is what a request sees: it never changes.
type snapshot struct {
	routes *table.Table[*target] // by host
	paths  *table.Table[*target] // /~NAMESPACE/NAME, every function
}

// function is what is known of a Function. It lives as long as something leads
// to it and is changed in place, so that a new revision needs no new table.
type function struct {
	namespace, name string
	public          atomic.Bool
	exists          atomic.Bool
	rev             atomic.Pointer[revisionRef] // latest ready one
	split           atomic.Pointer[split]       // of its traffic; nil: all to rev
	counts          atomic.Pointer[counts]      // bound with the first call
}

// revisionRef is a place for a revision, which may be missing.
type revisionRef struct{ cur atomic.Pointer[revision] }

// revision is what a call needs to know of one.
type revision struct {
	obj      *api.Revision
	function *function
	timeout  time.Duration
	limit    int64                    // of the body
	times    *times                   // nil: none but timeout
	seen     atomic.Pointer[observed] // nil: its calls are not counted apart
}

// state is the writer's side: it turns records into snapshots. It is used by
// one goroutine.
type state struct {
	domain    string
	snap      snapshot
	routes    *table.Change[*target]
	paths     *table.Change[*target]
	revs      map[store.Key]int64 // revision seen of every record
	functions map[string]*function
	revisions map[string]*revisionRef
	entries   map[string][]*table.Entry[*target] // in routes, by route or function
	deleted   int                                // records since places were swept
	seen      *sync.Map                          // namespace/name of a revision → *observed
}

func newState(domain string, seen *sync.Map) *state {
	if domain == "" {
		domain = "localhost"
	}
	return &state{
		domain: strings.ToLower(domain), revs: map[store.Key]int64{}, functions: map[string]*function{},
		revisions: map[string]*revisionRef{}, entries: map[string][]*table.Entry[*target]{}, seen: seen,
	}
}

// begin and end enclose changes that become visible together.
func (s *state) begin() {
	s.routes, s.paths = s.snap.routes.Begin(), s.snap.paths.Begin()
}

func (s *state) end() *snapshot {
	s.snap = snapshot{s.routes.End(), s.paths.End()}
	next := s.snap
	return &next
}

// put takes a record in; it ignores other resources, and what is older than
// what it knows. The error is about the record, which is then left out.
func (s *state) put(r store.Record) error {
	if s.revs[r.Key] >= r.Revision {
		return nil
	}
	var err error
	switch r.Key.Resource {
	case api.Functions:
		var f api.Function
		if err = json.Unmarshal(r.Value, &f); err == nil {
			s.putFunction(r.Key, &f)
		}
	case api.Revisions:
		v := new(api.Revision)
		if err = json.Unmarshal(r.Value, v); err == nil {
			s.putRevision(r.Key, v)
		}
	case api.Routes:
		v := new(api.Route)
		if err = json.Unmarshal(r.Value, v); err == nil {
			err = s.putRoute(r.Key, v)
		}
	default:
		return nil
	}
	s.revs[r.Key] = r.Revision
	return err
}

// del takes a record out.
func (s *state) del(k store.Key) {
	name := k.Namespace + "/" + k.Name
	delete(s.revs, k)
	if s.deleted++; s.deleted > len(s.revs)+1000 {
		defer s.sweep()
	}
	switch k.Resource {
	case api.Functions:
		f := s.functions[name]
		if f == nil {
			return
		}
		f.exists.Store(false)
		f.public.Store(false)
		f.rev.Store(nil)
		f.split.Store(nil)
		s.withdraw("~" + name)
		s.paths.Remove(pathEntry(f, nil))
	case api.Revisions:
		if ref := s.revisions[name]; ref != nil {
			ref.cur.Store(nil)
			s.seen.Delete(name)
		}
	case api.Routes:
		s.withdraw(name)
	}
}

// sweep forgets places of what is gone and nothing leads to.
func (s *state) sweep() {
	s.deleted = 0
	functions, revisions := map[*function]bool{}, map[*revisionRef]bool{}
	for _, es := range s.entries {
		for _, e := range es {
			e.Value.split.each(func(c *choice) { functions[c.function], revisions[c.revision] = true, true })
			if x := e.Value.rules; x != nil && x.mirror != nil {
				x.mirror.to.split.each(func(c *choice) { functions[c.function], revisions[c.revision] = true, true })
			}
		}
	}
	for _, f := range s.functions {
		revisions[f.rev.Load()] = true
		if p := f.split.Load(); p != nil {
			p.each(func(c *choice) { revisions[c.revision] = true })
		}
	}
	for k, ref := range s.revisions {
		r := ref.cur.Load()
		if r != nil {
			functions[r.function] = true
		} else if !revisions[ref] {
			delete(s.revisions, k)
		}
	}
	for k, f := range s.functions {
		if !f.exists.Load() && !functions[f] {
			delete(s.functions, k)
		}
	}
}

func (s *state) function(namespace, name string) *function {
	k := namespace + "/" + name
	f := s.functions[k]
	if f == nil {
		f = &function{namespace: namespace, name: name}
		s.functions[k] = f
	}
	return f
}

func (s *state) revision(namespace, name string) *revisionRef {
	k := namespace + "/" + name
	ref := s.revisions[k]
	if ref == nil {
		ref = &revisionRef{}
		s.revisions[k] = ref
	}
	return ref
}

func (s *state) putFunction(k store.Key, f *api.Function) {
	fn := s.function(k.Namespace, k.Name)
	if n := f.Status.LatestReadyRevision; n != "" {
		fn.rev.Store(s.revision(k.Namespace, n))
	} else {
		fn.rev.Store(nil)
	}
	tags := s.traffic(fn, f.Status.Traffic)
	public := f.Spec.Visibility != "private"
	had := fn.exists.Swap(true)
	own := fn.target() // one for all its addresses
	if !had {
		s.paths.Put(pathEntry(fn, own))
	}
	if had && public == fn.public.Load() && !tags {
		return
	}
	fn.public.Store(public)
	s.withdraw("~" + k.Namespace + "/" + k.Name)
	if !public {
		return
	}
	hosts := []string{k.Name + "." + k.Namespace + "." + s.domain}
	if k.Namespace == api.DefaultNamespace {
		hosts = append(hosts, k.Name+"."+s.domain)
	}
	publish := func(h string, t *target) {
		s.publish("~"+k.Namespace+"/"+k.Name, &table.Entry[*target]{
			// A route someone wrote for this host comes first.
			ID: "~" + k.Namespace + "/" + k.Name, Created: time.Unix(1<<40, 0),
			Spec: &api.RouteSpec{Host: h, Prefix: "/"}, Value: t,
		})
	}
	for _, h := range hosts {
		publish(h, own)
	}
	if p := fn.split.Load(); p != nil {
		for _, d := range p.tags {
			t := fn.target()
			t.tag = d.tag
			for _, h := range hosts {
				publish(d.tag+"-"+h, t)
			}
		}
	}
}

func (f *function) target() *target {
	return &target{split: split{choices: []choice{{function: f, upto: 1}}, total: 1, stride: 1}}
}

func pathEntry(f *function, t *target) *table.Entry[*target] {
	return &table.Entry[*target]{
		ID:   f.namespace + "/" + f.name,
		Spec: &api.RouteSpec{Prefix: "/~" + f.namespace + "/" + f.name}, Value: t,
	}
}

func (s *state) putRevision(k store.Key, v *api.Revision) {
	if v.Metadata.Namespace == "" {
		v.Metadata.Namespace = k.Namespace
	}
	ref := s.revision(k.Namespace, k.Name)
	if old := ref.cur.Load(); old != nil && old.obj.Metadata.UID == v.Metadata.UID {
		return // its spec never changes, and the Waker knows it by its pointer
	}
	// All revisions are kept in memory, so without what no call asks for.
	v.Metadata.ManagedFields, v.Status = nil, api.RevisionStatus{}
	r := &revision{obj: v, function: s.function(k.Namespace, v.Spec.Function), timeout: v.Spec.Timeout.Duration, limit: v.Spec.BodyLimit}
	if r.timeout <= 0 {
		r.timeout = api.DefaultTimeout
	}
	if r.limit <= 0 {
		r.limit = api.DefaultBodyLimit
	}
	r.times = newTimes(v.Spec.RequestTimeout, v.Spec.ResponseStartTimeout, v.Spec.IdleTimeout)
	ref.cur.Store(r)
}

func (s *state) putRoute(k store.Key, r *api.Route) (err error) {
	id, made := k.Namespace+"/"+k.Name, ""
	if r.Metadata.Generation > 0 {
		made = r.Metadata.UID + "/" + strconv.FormatInt(r.Metadata.Generation, 10)
	}
	if old := s.entries[id]; made != "" && len(old) > 0 && old[0].Value.made == made {
		return nil // its status changed, and counters go on
	}
	s.withdraw(id)
	t := s.target(id, k.Namespace, &r.Spec)
	t.made = made
	publish := func(host string, t *target) {
		spec := r.Spec
		spec.Host, spec.Hosts = host, nil
		e := &table.Entry[*target]{ID: id, Spec: &spec, Value: t}
		if c := r.Metadata.CreationTimestamp; c != nil {
			e.Created = c.Time
		}
		err = errors.Join(err, s.publish(id, e))
	}
	hosts := api.RouteHosts(&r.Spec)
	for _, h := range hosts {
		publish(h, t)
	}
	for _, d := range t.tags {
		own := &target{route: t.route, made: t.made, keep: t.keep, timeout: t.timeout, cors: t.cors, rules: t.rules}
		own.split.alone(d)
		for _, h := range hosts {
			if h != "" && !strings.HasPrefix(h, "*.") {
				publish(d.tag+"-"+h, own)
			}
		}
	}
	return err
}

func (s *state) publish(owner string, e *table.Entry[*target]) error {
	if err := s.routes.Put(e); err != nil {
		return err
	}
	s.entries[owner] = append(s.entries[owner], e)
	return nil
}

func (s *state) withdraw(owner string) {
	for _, e := range s.entries[owner] {
		s.routes.Remove(e)
	}
	delete(s.entries, owner)
}
