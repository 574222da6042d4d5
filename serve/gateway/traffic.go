package gateway

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/record"
)

// traffic makes f's split what its status says and reports whether its tags
// changed.
func (s *state) traffic(f *function, shares []api.TrafficShare) (tags bool) {
	old := f.split.Load()
	if len(shares) == 0 {
		f.split.Store(nil)
		return old != nil && len(old.tags) > 0
	}
	next := &split{}
	list := make([]share, len(shares))
	for i, d := range shares {
		list[i] = share{revision: s.revision(f.namespace, d.Revision), weight: max(d.Percent, 0), tag: d.Tag}
	}
	next.set(list)
	s.watch(f.namespace, next)
	if old != nil && old.equal(next) {
		return false // the turns go on
	}
	f.split.Store(next)
	sameTag := func(a, b tagged) bool { return a.tag == b.tag }
	return old == nil && len(next.tags) > 0 || old != nil && !slices.EqualFunc(old.tags, next.tags, sameTag)
}

func (s *split) equal(o *split) bool {
	return slices.Equal(s.choices, o.choices) && slices.EqualFunc(s.tags, o.tags, func(a, b tagged) bool {
		return a.tag == b.tag && a.to.equal(b.to)
	})
}

// each calls f with every place s leads to.
func (s *split) each(f func(*choice)) {
	for i := range s.choices {
		f(&s.choices[i])
	}
	for _, t := range s.tags {
		t.to.each(f)
	}
}

// like makes s, which is empty, share as o does.
func (s *split) like(o *split) { s.choices, s.total, s.stride = o.choices, o.total, o.stride }

// observed counts the calls of one revision.
type observed struct {
	calls, errors atomic.Uint64
	durations     [record.DurationBuckets]atomic.Uint64
}

func (o *observed) done(status int, fault bool, took time.Duration) {
	o.calls.Add(1)
	if fault || status >= 500 {
		o.errors.Add(1)
	}
	o.durations[record.DurationBucket(took)].Add(1)
}

// Observe tells how the calls of a revision went since it was first one of
// several its function's traffic goes to; nothing of others, and of those before
// a restart.
func (g *Gateway) Observe(namespace, name string) (s record.Summary) {
	v, ok := g.seen.Load(namespace + "/" + name)
	if !ok {
		return s
	}
	o := v.(*observed)
	s.Calls, s.Errors = o.calls.Load(), o.errors.Load()
	for i := range o.durations {
		s.Durations[i] = o.durations[i].Load()
	}
	return s
}
