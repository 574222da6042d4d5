package table

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/hearth-run/hearth/api"
)

// MaxVars is the most variables one pattern may have.
const MaxVars = 16

// Entry is what a pattern leads to.
type Entry[T any] struct {
	ID      string // unique: namespace/name
	Created time.Time
	Spec    *api.RouteSpec
	Local   bool // only for searches that are Inside
	Value   T

	names []string // of the variables, in order
}

// Names are the names of the pattern's variables, in order.
func (e *Entry[T]) Names() []string { return e.names }

// Table is an immutable set of entries. The zero value and nil are empty.
type Table[T any] struct {
	hosts smap[site[T]] // exact hosts; "*.x" under "*.x"; any host under ""
	wild  int           // wildcard hosts
}

// site is the patterns of one host: a list where they are few, which is all in
// one place, else a trie of their segments.
type site[T any] struct {
	rules []rule[T] // what comes first is first; never changed in place
	trie  *node[T]  // nil: rules are all there is
}

// few is how many patterns of a host are a list.
const few = 8

// Change is a set of changes that become one new Table.
type Change[T any] struct {
	t     Table[T]
	token *token
}

// Begin starts a change of t, which stays as it is.
func (t *Table[T]) Begin() *Change[T] {
	c := &Change[T]{token: new(token)}
	if t != nil {
		c.t = *t
	}
	return c
}

// End returns the changed table. The change must not be used afterwards.
func (c *Change[T]) End() *Table[T] {
	t := c.t
	c.token = new(token)
	return &t
}

// Put adds e. The caller removes an entry of the same ID and pattern first. It
// fails when the pattern has more than MaxVars variables.
func (c *Change[T]) Put(e *Entry[T]) error { return c.PutAt(e.Spec, e) }

// PutAt is Put with host, path and prefix of at instead of e's own, so that an
// entry can be in several places; their variables must have the same names.
func (c *Change[T]) PutAt(at *api.RouteSpec, e *Entry[T]) error {
	segments, prefix := api.RouteSegments(at)
	var names []string
	for _, s := range segments {
		if strings.HasPrefix(s, "{") {
			names = append(names, strings.TrimSuffix(strings.Trim(s, "{}"), "..."))
		}
	}
	if len(names) > MaxVars {
		return fmt.Errorf("a pattern has at most %d variables, not %d", MaxVars, len(names))
	}
	if !slices.Equal(e.names, names) { // else others may be reading it
		e.names = names
	}
	host := strings.ToLower(at.Host)
	var s site[T]
	old := c.t.hosts.get(host)
	if old != nil {
		s = *old
	} else if strings.HasPrefix(host, "*.") {
		c.t.wild++
	}
	switch {
	case s.trie != nil:
		s.trie = s.trie.put(c.token, segments, prefix, e)
	case len(s.rules) < few:
		s.rules = insert(s.rules, newRule(segments, prefix, e))
	default:
		for _, r := range s.rules {
			s.trie = s.trie.put(c.token, r.segments(), r.kind == isPrefix, r.entry)
		}
		s = site[T]{trie: s.trie.put(c.token, segments, prefix, e)}
	}
	if s.trie == nil {
		host = s.gather(host)
	}
	c.t.hosts = c.t.hosts.put(c.token, host, s)
	return nil
}

// Remove takes out the entry with the ID and pattern of e.
func (c *Change[T]) Remove(e *Entry[T]) { c.RemoveAt(e.Spec, e) }

// RemoveAt takes out what PutAt put.
func (c *Change[T]) RemoveAt(at *api.RouteSpec, e *Entry[T]) {
	segments, prefix := api.RouteSegments(at)
	host := strings.ToLower(at.Host)
	old := c.t.hosts.get(host)
	if old == nil {
		return
	}
	s := *old
	if s.trie != nil {
		s.trie = s.trie.remove(c.token, segments, prefix, e.ID)
	} else {
		gone := newRule(segments, prefix, e)
		s.rules = slices.DeleteFunc(slices.Clone(s.rules), func(r rule[T]) bool {
			return r.entry.ID == e.ID && r.kind == gone.kind && r.pattern == gone.pattern
		})
	}
	if s.trie != nil || len(s.rules) > 0 {
		if s.trie == nil {
			host = s.gather(host)
		}
		c.t.hosts = c.t.hosts.put(c.token, host, s)
		return
	}
	c.t.hosts = c.t.hosts.del(c.token, host)
	if strings.HasPrefix(host, "*.") {
		c.t.wild--
	}
}

// gather puts the patterns of the list and the host's name, which a look-up
// reads together, side by side in memory, in a copy of the list that has no
// room to spare. It returns the name there.
func (s *site[T]) gather(host string) string {
	var b strings.Builder
	n := len(host)
	for i := range s.rules {
		n += len(s.rules[i].pattern)
	}
	b.Grow(n)
	b.WriteString(host)
	for i := range s.rules {
		b.WriteString(s.rules[i].pattern)
	}
	text, at := b.String(), len(host)
	s.rules = append(make([]rule[T], 0, len(s.rules)), s.rules...)
	for i := range s.rules {
		r := &s.rules[i]
		r.pattern, at = text[at:at+len(r.pattern)], at+len(r.pattern)
	}
	return text[:len(host)]
}

// node is a place in a trie: the segments that lead to it are matched.
type node[T any] struct {
	own      *token
	literal  smap[*node[T]]
	variable *node[T]
	ends     []end[T] // by kind, then what comes first
}

// end is an entry whose pattern ends at a node.
type end[T any] struct {
	kind  kind
	entry *Entry[T]
}

// kind is what may follow where a pattern ends.
type kind uint8

const (
	isExact  kind = iota // nothing
	isRest               // {name...}
	isPrefix             // nothing, or more segments
)

func kindOf(segments []string, prefix bool) (kind, []string) {
	if prefix {
		return isPrefix, segments
	}
	if n := len(segments) - 1; n >= 0 && strings.HasSuffix(segments[n], "...}") {
		return isRest, segments[:n]
	}
	return isExact, segments
}

func (n *node[T]) put(t *token, segments []string, prefix bool, e *Entry[T]) *node[T] {
	k, segments := kindOf(segments, prefix)
	return n.edit(t, segments, func(ends []end[T]) []end[T] {
		it := end[T]{k, e}
		i, _ := slices.BinarySearchFunc(ends, it, func(a, b end[T]) int {
			if a.kind != b.kind {
				return int(a.kind) - int(b.kind)
			}
			return compare(a.entry, b.entry)
		})
		return slices.Insert(slices.Clip(slices.Clone(ends)), i, it)
	})
}

func (n *node[T]) remove(t *token, segments []string, prefix bool, id string) *node[T] {
	k, segments := kindOf(segments, prefix)
	return n.edit(t, segments, func(ends []end[T]) []end[T] {
		return slices.DeleteFunc(slices.Clone(ends), func(o end[T]) bool { return o.kind == k && o.entry.ID == id })
	})
}

// edit returns n, changed by f where segments end; nil when nothing is left.
func (n *node[T]) edit(t *token, segments []string, f func([]end[T]) []end[T]) *node[T] {
	switch {
	case n == nil:
		n = &node[T]{own: t}
	case n.own != t:
		c := *n
		c.own = t
		n = &c
	}
	switch {
	case len(segments) == 0:
		n.ends = f(n.ends)
	case strings.HasPrefix(segments[0], "{"):
		n.variable = n.variable.edit(t, segments[1:], f)
	default:
		var old *node[T]
		if c := n.literal.get(segments[0]); c != nil {
			old = *c
		}
		if child := old.edit(t, segments[1:], f); child == nil {
			n.literal = n.literal.del(t, segments[0])
		} else {
			// Equal segments of all routes share their bytes: less memory,
			// and more of it in the processor's cache.
			n.literal = n.literal.put(t, unique.Make(segments[0]).Value(), child)
		}
	}
	if n.literal.n == 0 && n.variable == nil && len(n.ends) == 0 {
		return nil
	}
	return n
}

// compare orders entries of one pattern as api.RouteLess does.
func compare[T any](a, b *Entry[T]) int {
	if am, bm := len(a.Spec.Methods) > 0, len(b.Spec.Methods) > 0; am != bm {
		if am {
			return -1
		}
		return 1
	}
	if c := a.Created.Compare(b.Created); c != 0 {
		return c
	}
	an, ao, _ := strings.Cut(a.ID, "/")
	bn, bo, _ := strings.Cut(b.ID, "/")
	if c := strings.Compare(an, bn); c != 0 {
		return c
	}
	return strings.Compare(ao, bo)
}
