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

// Entry is a pattern and what it leads to.
type Entry[T any] struct {
	ID      string // unique: namespace/name
	Created time.Time
	Spec    *api.RouteSpec
	Value   T

	methods []string // Spec's, where a look-up finds them sooner
	names   []string // of the variables, in order
}

// Names are the names of the pattern's variables, in order.
func (e *Entry[T]) Names() []string { return e.names }

// Table is an immutable set of entries. The zero value and nil are empty.
type Table[T any] struct {
	hosts smap[*node[T]] // exact hosts; "*.x" under "*.x"; any host under ""
	wild  int            // wildcard hosts
}

// node is a place in a trie: the segments that lead to it are matched.
type node[T any] struct {
	own      *token
	literal  smap[*node[T]]
	variable *node[T]
	exact    []*Entry[T] // the path ends here
	rest     []*Entry[T] // {name...} follows
	prefix   []*Entry[T]
}

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
func (c *Change[T]) Put(e *Entry[T]) error {
	segments, prefix := api.RouteSegments(e.Spec)
	e.methods, e.names = e.Spec.Methods, nil
	for _, s := range segments {
		if strings.HasPrefix(s, "{") {
			e.names = append(e.names, strings.TrimSuffix(strings.Trim(s, "{}"), "..."))
		}
	}
	if len(e.names) > MaxVars {
		return fmt.Errorf("a pattern has at most %d variables, not %d", MaxVars, len(e.names))
	}
	c.edit(e, segments, prefix, func(list []*Entry[T]) []*Entry[T] {
		i, _ := slices.BinarySearchFunc(list, e, compare)
		return slices.Insert(slices.Clip(slices.Clone(list)), i, e)
	})
	return nil
}

// Remove takes out the entry with the ID and pattern of e.
func (c *Change[T]) Remove(e *Entry[T]) {
	segments, prefix := api.RouteSegments(e.Spec)
	c.edit(e, segments, prefix, func(list []*Entry[T]) []*Entry[T] {
		return slices.DeleteFunc(slices.Clone(list), func(o *Entry[T]) bool { return o.ID == e.ID })
	})
}

func (c *Change[T]) edit(e *Entry[T], segments []string, prefix bool, f func([]*Entry[T]) []*Entry[T]) {
	host := strings.ToLower(e.Spec.Host)
	old, had := c.t.hosts.get(host)
	root := old.edit(c.token, segments, prefix, f)
	switch wild := strings.HasPrefix(host, "*."); {
	case root == nil:
		c.t.hosts = c.t.hosts.del(c.token, host)
		if wild && had {
			c.t.wild--
		}
	default:
		c.t.hosts = c.t.hosts.put(c.token, host, root)
		if wild && !had {
			c.t.wild++
		}
	}
}

// edit returns n, changed by f where segments end; nil when nothing is left.
func (n *node[T]) edit(t *token, segments []string, prefix bool, f func([]*Entry[T]) []*Entry[T]) *node[T] {
	switch {
	case n == nil:
		n = &node[T]{own: t}
	case n.own != t:
		c := *n
		c.own = t
		n = &c
	}
	switch {
	case len(segments) == 0 && prefix:
		n.prefix = f(n.prefix)
	case len(segments) == 0:
		n.exact = f(n.exact)
	case strings.HasSuffix(segments[0], "...}"):
		n.rest = f(n.rest)
	case strings.HasPrefix(segments[0], "{"):
		n.variable = n.variable.edit(t, segments[1:], prefix, f)
	default:
		old, _ := n.literal.get(segments[0])
		if child := old.edit(t, segments[1:], prefix, f); child == nil {
			n.literal = n.literal.del(t, segments[0])
		} else {
			// Equal segments of all routes share their bytes: less memory,
			// and more of it in the processor's cache.
			n.literal = n.literal.put(t, unique.Make(segments[0]).Value(), child)
		}
	}
	if n.literal.n == 0 && n.variable == nil && len(n.exact)+len(n.rest)+len(n.prefix) == 0 {
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
