package gateway

import (
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

	record int64                 // revision of it that was seen, 0: none; of the writer, as what follows
	entry  *table.Entry[*target] // all its own addresses lead to, those of tags excepted; nil: it has none
}

// revisionRef is a place for a revision, which may be missing.
type revisionRef struct {
	cur    atomic.Pointer[revision]
	record int64 // revision of it that was seen, 0: none; of the writer
}

// state is the writer's side: it turns records into snapshots. It is used by
// one goroutine.
type state struct {
	domain    string
	snap      snapshot
	routes    *table.Change[*target]
	paths     *table.Change[*target]
	functions map[string]*function
	revisions map[string]*revisionRef
	written   map[string]*int64                  // routes someone wrote; the revision seen
	entries   map[string][]*table.Entry[*target] // in routes, by route or, for its tags, function
	root      *api.RouteSpec                     // of functions' own addresses
	present   int                                // records
	deleted   int                                // records since places were swept
	seen      *sync.Map                          // namespace/name of a revision → *observed
	certs     *certs
}

func newState(domain string, seen *sync.Map, cs *certs) *state {
	if domain == "" {
		domain = "localhost"
	}
	return &state{
		domain: strings.ToLower(domain), functions: map[string]*function{}, revisions: map[string]*revisionRef{}, written: map[string]*int64{},
		entries: map[string][]*table.Entry[*target]{}, root: &api.RouteSpec{Prefix: "/"}, seen: seen, certs: cs,
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

func (s *state) function(namespace, name string) *function {
	k := namespace + "/" + name
	f := s.functions[k]
	if f == nil {
		// k's bytes: those of a record may be part of something larger.
		f = &function{namespace: k[:len(namespace)], name: k[len(namespace)+1:]}
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

func (s *state) route(namespace, name string) {
	if k := namespace + "/" + name; s.written[k] == nil {
		s.written[k] = new(int64)
	}
}

func (s *state) putFunction(k store.Key, f *api.Function) {
	fn := s.function(k.Namespace, k.Name)
	if n := f.Status.LatestReadyRevision; n != "" {
		fn.rev.Store(s.revision(k.Namespace, n))
	} else {
		fn.rev.Store(nil)
	}
	tags := s.traffic(fn, f.Status.Traffic)
	if !fn.exists.Swap(true) {
		fn.entry = s.ownEntry(fn, fn.target())
		s.paths.PutAt(pathOf(fn), fn.entry)
	}
	if f.Spec.Visibility == "private" {
		s.hide(fn)
		return
	}
	shown := fn.public.Swap(true)
	if shown && !tags {
		return
	}
	hosts := s.hosts(fn)
	if !shown {
		for _, h := range hosts {
			s.routes.PutAt(&api.RouteSpec{Host: h, Prefix: "/"}, fn.entry)
		}
	}
	owner := "~" + k.Namespace + "/" + k.Name
	s.withdraw(owner)
	if p := fn.split.Load(); p != nil {
		for _, d := range p.tags {
			t := fn.target()
			t.tag = d.tag
			for _, h := range hosts {
				e := s.ownEntry(fn, t)
				e.Created = afterOwn
				e.Spec = &api.RouteSpec{Host: d.tag + "-" + h, Prefix: "/"}
				s.publish(owner, e)
			}
		}
	}
}

// Of two entries for one host the older comes first. Addresses nobody wrote
// down count as younger than any that someone did: first those of routes' tags,
// then functions' own, last those of functions' tags.
var (
	afterRoutes = time.Unix(1<<39, 0)
	ofFunctions = time.Unix(1<<40, 0)
	afterOwn    = time.Unix(1<<41, 0)
)

// ownEntry is what own addresses of f lead to.
func (s *state) ownEntry(f *function, t *target) *table.Entry[*target] {
	return &table.Entry[*target]{ID: "~" + f.namespace + "/" + f.name, Created: ofFunctions, Spec: s.root, Value: t}
}

// hide takes back the host names of f.
func (s *state) hide(f *function) {
	if !f.public.Swap(false) {
		return
	}
	for _, h := range s.hosts(f) {
		s.routes.RemoveAt(&api.RouteSpec{Host: h, Prefix: "/"}, f.entry)
	}
	s.withdraw("~" + f.namespace + "/" + f.name)
}

// hosts are the names f has by itself.
func (s *state) hosts(f *function) []string {
	all := []string{f.name + "." + f.namespace + "." + s.domain}
	if f.namespace == api.DefaultNamespace {
		all = append(all, f.name+"."+s.domain)
	}
	return all
}

// pathOf is the address of f in snapshot.paths.
func pathOf(f *function) *api.RouteSpec {
	return &api.RouteSpec{Prefix: "/~" + f.namespace + "/" + f.name}
}

func (f *function) target() *target {
	return &target{split: split{choices: []choice{{function: f, upto: 1}}, total: 1, stride: 1}}
}

func (s *state) putRevision(k store.Key, v *api.Revision) error {
	if v.Metadata.Namespace == "" {
		v.Metadata.Namespace = k.Namespace
	}
	ref := s.revision(k.Namespace, k.Name)
	if old := ref.cur.Load(); old != nil && old.uid == v.Metadata.UID {
		return nil // its spec never changes
	}
	r, err := newRevision(v, s.function(k.Namespace, v.Spec.Function))
	if err != nil {
		return err
	}
	ref.cur.Store(r)
	return nil
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
	created := time.Time{}
	if c := r.Metadata.CreationTimestamp; c != nil {
		created = c.Time
	}
	s.certs.put(id, k.Namespace, created, &r.Spec)
	t := s.target(id, k.Namespace, &r.Spec)
	t.made = made
	publish := func(host string, created time.Time, t *target) {
		namespace, local := api.ClusterHost(strings.ToLower(host))
		if local && namespace != k.Namespace {
			return // nobody takes another's names
		}
		spec := r.Spec
		spec.Host, spec.Hosts = host, nil
		e := &table.Entry[*target]{ID: id, Created: created, Spec: &spec, Value: t, Local: local}
		err = errors.Join(err, s.publish(id, e))
	}
	hosts := api.RouteHosts(&r.Spec)
	for _, h := range hosts {
		publish(h, created, t)
	}
	for _, d := range t.tags {
		own := &target{route: t.route, made: t.made, keep: t.keep, timeout: t.timeout, cors: t.cors, rules: t.rules, ofTag: true}
		own.split.like(d.to)
		for _, h := range hosts {
			if h = tagHost(d.tag, h); h != "" {
				publish(h, afterRoutes, own)
			}
		}
	}
	return err
}

// tagHost is where a tag of a route answers beside its host; empty: nowhere.
func tagHost(tag, host string) string {
	if host == "" || strings.HasPrefix(host, "*.") {
		return ""
	}
	return tag + "-" + host
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
