package reconcile

import (
	"slices"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// index is what the loops must find by something other than a name. It follows
// the watch, and this reconciler's own writes at once.
type index struct {
	mu        sync.Mutex
	functions map[store.Key]functionInfo
	revisions map[store.Key][]revisionInfo // by function; most have one
	routes    map[store.Key]*api.Route
	byRoute   map[string]map[store.Key]bool    // api.RouteKeys
	targets   map[store.Key]map[store.Key]bool // routes by what they name: functions, revisions, Secrets
}

type functionInfo struct {
	print   string // what a build depends on in the object
	runtime string
	serving string
	latest  string
	keep    int
	maxAge  time.Duration
	split   bool     // it has traffic of its own, or had
	used    []string // revisions its traffic names
}

type revisionInfo struct {
	name    string
	number  int64
	hash    string
	owner   string // uid of the function
	created time.Time
	holds   bool // instances without calls, unless it is reserved
	reserve bool
}

func newIndex() *index {
	return &index{
		functions: map[store.Key]functionInfo{}, revisions: map[store.Key][]revisionInfo{}, routes: map[store.Key]*api.Route{},
		byRoute: map[string]map[store.Key]bool{}, targets: map[store.Key]map[store.Key]bool{},
	}
}

// retain drops what is not listed, and returns the functions among it.
func (x *index) retain(listed map[store.Key]bool) (gone []store.Key) {
	x.mu.Lock()
	var routes []store.Key
	for k := range x.functions {
		if !listed[k] {
			delete(x.functions, k)
			gone = append(gone, k)
		}
	}
	for fk, revs := range x.revisions {
		x.keepRevisions(fk, revs, func(i revisionInfo) bool { return listed[revisionKey(fk.Namespace, i.name)] })
	}
	for k := range x.routes {
		if !listed[k] {
			routes = append(routes, k)
		}
	}
	x.mu.Unlock()
	for _, k := range routes {
		x.setRoute(k, nil)
	}
	return gone
}

func functionKey(namespace, name string) store.Key {
	return store.Key{Resource: api.Functions, Namespace: namespace, Name: name}
}

func revisionKey(namespace, name string) store.Key {
	return store.Key{Resource: api.Revisions, Namespace: namespace, Name: name}
}

func infoOf(f *api.Function) functionInfo {
	i := functionInfo{
		print: printOf(f), runtime: f.Spec.Runtime, serving: f.Status.LatestReadyRevision, latest: f.Status.LatestRevision,
		keep: 10, maxAge: 720 * time.Hour,
	}
	if r := f.Spec.Revisions; r != nil {
		if r.Keep > 0 {
			i.keep = r.Keep
		}
		i.maxAge = r.MaxAge.Or(i.maxAge)
	}
	i.split = len(f.Spec.Traffic) > 0 || f.Spec.Rollout != nil || len(f.Status.Traffic) > 0 || f.Status.Rollout != nil
	for _, t := range f.Spec.Traffic {
		i.used = append(i.used, t.Revision)
	}
	for _, t := range f.Status.Traffic {
		i.used = append(i.used, t.Revision)
	}
	if s := f.Status.Rollout; s != nil {
		for _, t := range s.Shares {
			i.used = append(i.used, t.Revision)
		}
	}
	return i
}

// putFunction returns what was known of k before.
func (x *index) putFunction(k store.Key, f *api.Function) (old functionInfo, known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	old, known = x.functions[k]
	x.functions[k] = infoOf(f)
	return old, known
}

func (x *index) dropFunction(k store.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.functions, k)
}

func (x *index) function(k store.Key) (functionInfo, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i, ok := x.functions[k]
	return i, ok
}

// users are the functions of a namespace that use a runtime; all of them for "".
func (x *index) users(namespace, runtime string) (out []store.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, f := range x.functions {
		if k.Namespace == namespace && (runtime == "" || f.runtime == runtime) {
			out = append(out, k)
		}
	}
	return out
}

func (x *index) putRevision(r *api.Revision) {
	x.mu.Lock()
	defer x.mu.Unlock()
	fk := functionKey(r.Metadata.Namespace, r.Spec.Function)
	i := revisionInfo{name: r.Metadata.Name, number: r.Spec.Number, hash: r.Spec.SpecHash, owner: ownerOf(r), holds: holdsInstances(&r.Spec), reserve: r.Metadata.Annotations[api.AnnotationReserve] == "true"}
	if t := r.Metadata.CreationTimestamp; t != nil {
		i.created = t.Time
	}
	revs := x.revisions[fk]
	if at := slices.IndexFunc(revs, func(o revisionInfo) bool { return o.name == i.name }); at >= 0 {
		revs[at] = i
		return
	}
	x.revisions[fk] = append(revs[:len(revs):len(revs)], i)
}

// keepRevisions leaves the revisions of fk for which keep holds.
func (x *index) keepRevisions(fk store.Key, revs []revisionInfo, keep func(revisionInfo) bool) {
	revs = slices.DeleteFunc(revs, func(i revisionInfo) bool { return !keep(i) })
	if len(revs) == 0 {
		delete(x.revisions, fk)
	} else {
		x.revisions[fk] = revs
	}
}

func (x *index) dropRevision(r *api.Revision) {
	x.mu.Lock()
	defer x.mu.Unlock()
	fk := functionKey(r.Metadata.Namespace, r.Spec.Function)
	x.keepRevisions(fk, x.revisions[fk], func(i revisionInfo) bool { return i.name != r.Metadata.Name })
}

// revisionsOf lists a function's revisions, newest first.
func (x *index) revisionsOf(fk store.Key) []revisionInfo {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := slices.Clone(x.revisions[fk])
	slices.SortFunc(out, func(a, b revisionInfo) int { return int(b.number - a.number) })
	return out
}

func ownerOf(r *api.Revision) string {
	for _, o := range r.Metadata.OwnerReferences {
		if o.Kind == "Function" {
			return o.UID
		}
	}
	return ""
}

// setRoute puts a route, or removes it when r is nil, and returns the routes
// whose admission that may change, without itself.
func (x *index) setRoute(k store.Key, r *api.Route) []store.Key {
	x.mu.Lock()
	defer x.mu.Unlock()
	touched := map[store.Key]bool{}
	if old := x.routes[k]; old != nil {
		for _, rk := range api.RouteKeys(&old.Spec) {
			drop(x.byRoute, rk, k)
			for o := range x.byRoute[rk] {
				touched[o] = true
			}
		}
		for _, t := range targetKeys(old) {
			drop(x.targets, t, k)
		}
		delete(x.routes, k)
	}
	if r != nil {
		for _, rk := range api.RouteKeys(&r.Spec) {
			for o := range x.byRoute[rk] {
				touched[o] = true
			}
			insert(x.byRoute, rk, k)
		}
		for _, t := range targetKeys(r) {
			insert(x.targets, t, k)
		}
		x.routes[k] = r
	}
	delete(touched, k)
	var out []store.Key
	for o := range touched {
		out = append(out, o)
	}
	return out
}

func insert[A, B comparable](m map[A]map[B]bool, a A, b B) {
	if m[a] == nil {
		m[a] = map[B]bool{}
	}
	m[a][b] = true
}

func drop[A, B comparable, V any](m map[A]map[B]V, a A, b B) {
	delete(m[a], b)
	if len(m[a]) == 0 {
		delete(m, a)
	}
}

func targetKeys(r *api.Route) (out []store.Key) {
	for _, t := range r.Spec.Targets {
		if t.Function != "" {
			out = append(out, functionKey(r.Metadata.Namespace, t.Function))
		} else {
			out = append(out, revisionKey(r.Metadata.Namespace, t.Revision))
		}
	}
	if m := r.Spec.Mirror; m != nil && m.Function != "" {
		out = append(out, functionKey(r.Metadata.Namespace, m.Function))
	} else if m != nil {
		out = append(out, revisionKey(r.Metadata.Namespace, m.Revision))
	}
	if t := r.Spec.TLS; t != nil && t.Secret != "" {
		out = append(out, secretKey(r.Metadata.Namespace, t.Secret))
	}
	return out
}

// routesTo lists the routes with a target k.
func (x *index) routesTo(k store.Key) (out []store.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for r := range x.targets[k] {
		out = append(out, r)
	}
	return out
}

// rivals are the routes, that of k among them, that have a key of it.
func (x *index) rivals(k store.Key) (self *api.Route, all []*api.Route) {
	x.mu.Lock()
	defer x.mu.Unlock()
	self = x.routes[k]
	if self == nil {
		return nil, nil
	}
	keys := map[store.Key]bool{}
	for _, rk := range api.RouteKeys(&self.Spec) {
		for o := range x.byRoute[rk] {
			keys[o] = true
		}
	}
	for o := range keys {
		all = append(all, x.routes[o])
	}
	return self, all
}

// functionKeys lists all functions.
func (x *index) functionKeys() (out []store.Key) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range x.functions {
		out = append(out, k)
	}
	return out
}

// splits reports whether the function at k has traffic of its own.
func (x *index) splits(k store.Key) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.functions[k].split
}
