package gateway

import (
	"time"

	"github.com/hearth-run/hearth/api"
)

// target is what a route leads to.
type target struct {
	route   string // namespace/name; empty: a function's own address
	made    string // of which version of the route; empty: unknown
	keep    bool   // pass the path on with its prefix
	timeout time.Duration
	cors    *cors
	rules   *rules // nil: none
	tag     string // this address is for that target of the function alone
	ofTag   bool   // this address is for one tag of the route
	split
}

func (s *state) target(id, namespace string, spec *api.RouteSpec) *target {
	t := &target{route: id, keep: spec.KeepPrefix, timeout: spec.Timeout.Or(0), cors: newCORS(spec.CORS), rules: s.rules(namespace, spec)}
	shares := make([]share, len(spec.Targets))
	for i, d := range spec.Targets {
		shares[i].weight, shares[i].tag, shares[i].ofTag = 1, d.Tag, d.TagWeight
		if d.Weight != nil {
			shares[i].weight = max(*d.Weight, 0)
		}
		if d.Function != "" {
			shares[i].function = s.function(namespace, d.Function)
		} else {
			shares[i].revision = s.revision(namespace, d.Revision)
		}
	}
	t.split.set(shares)
	s.watch(namespace, &t.split)
	return t
}

// watch has the calls of the revisions a split leads to counted apart, where they
// are several: a rollout may want to know how they do.
func (s *state) watch(namespace string, in *split) {
	if len(in.choices) < 2 {
		return
	}
	for i := range in.choices {
		ref := in.choices[i].revision
		if ref == nil { // a function's own
			continue
		}
		if r := ref.cur.Load(); r != nil && r.seen.Load() == nil {
			o := &observed{}
			s.seen.Store(namespace+"/"+r.name, o)
			r.seen.Store(o)
		}
	}
}

// choose finds the revision that answers c. It returns nil when none is ready,
// and then the function that was meant, where it is known.
func (t *target) choose(c *call) (*revision, *function) {
	c.tagged = false
	return t.split.choose(c)
}
