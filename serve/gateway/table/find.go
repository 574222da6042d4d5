package table

import (
	"net/url"
	"slices"
	"strings"
)

// Match is where a request leads. It is filled by Find and may be used again.
type Match[T any] struct {
	Entry *Entry[T]
	// Vars are the values of the entry's variables, in order; Names has their
	// names. They are decoded.
	Vars [MaxVars]string
	// Cut is how many bytes of the path the prefix covers; 0 for a path.
	Cut int
}

// search is one look-up on its way through the tries.
type search[T any] struct {
	m      *Match[T]
	path   string
	method string
	allow  map[string]bool // collects methods instead of matching; nil: match
}

// Find looks up a request by host (lower case, without port), path (as it came,
// percent-encoded, without the query) and method. Without a match it returns
// false, and Allowed tells whether another method would have had one.
func (t *Table[T]) Find(host, path, method string, m *Match[T]) bool {
	m.Entry, m.Cut = nil, 0
	if t == nil || path == "" || path[0] != '/' {
		return false
	}
	s := search[T]{m: m, path: path, method: method}
	return t.each(host, &s)
}

// Allowed returns the methods that have a route at host and path, in order; a
// route for all methods counts as none.
func (t *Table[T]) Allowed(host, path string) []string {
	if t == nil || path == "" || path[0] != '/' {
		return nil
	}
	s := search[T]{m: &Match[T]{}, path: path, allow: map[string]bool{}}
	t.each(host, &s)
	var all []string
	for m := range s.allow {
		all = append(all, m)
	}
	slices.Sort(all)
	return all
}

func (t *Table[T]) each(host string, s *search[T]) bool {
	if n, ok := t.hosts.get(host); ok && host != "" && s.node(n, 0, 0) {
		return true
	}
	if t.wild > 0 {
		if i := strings.IndexByte(host, '.'); i > 0 {
			if n, ok := t.wildcard(host[i:]); ok && s.node(n, 0, 0) {
				return true
			}
		}
	}
	n, ok := t.hosts.get("")
	return ok && s.node(n, 0, 0)
}

// wildcard finds *suffix without building the string on the heap.
func (t *Table[T]) wildcard(suffix string) (*node[T], bool) {
	var a [256]byte
	if len(suffix) >= len(a) {
		return nil, false
	}
	b := append(append(a[:0], '*'), suffix...)
	return t.hosts.getBytes(b)
}

// node matches path[at:], which is empty or begins with a slash, below n.
func (s *search[T]) node(n *node[T], at, vars int) bool {
	if at == len(s.path) {
		return s.end(n.exact, 0) || s.end(n.prefix, at)
	}
	from := at + 1
	to := strings.IndexByte(s.path[from:], '/')
	if to < 0 {
		to = len(s.path)
	} else {
		to += from
	}
	segment := s.path[from:to]
	if strings.IndexByte(segment, '%') >= 0 {
		if d, err := url.PathUnescape(segment); err == nil {
			segment = d
		}
	}
	if child, ok := n.literal.get(segment); ok && s.node(child, to, vars) {
		return true
	}
	if n.variable != nil && segment != "" && vars < MaxVars {
		s.m.Vars[vars] = segment
		if s.node(n.variable, to, vars+1) {
			return true
		}
	}
	if len(n.rest) > 0 && vars < MaxVars {
		rest := s.path[from:]
		if strings.IndexByte(rest, '%') >= 0 {
			if d, err := url.PathUnescape(rest); err == nil {
				rest = d
			}
		}
		s.m.Vars[vars] = rest
		if s.end(n.rest, 0) {
			return true
		}
	}
	return s.end(n.prefix, at)
}

// end chooses among entries of one pattern by method.
func (s *search[T]) end(list []*Entry[T], cut int) bool {
	for _, e := range list {
		if s.allow != nil {
			for _, m := range e.methods {
				if s.allow[m] = true; m == "GET" {
					s.allow["HEAD"] = true
				}
			}
			continue
		}
		if !allows(e.methods, s.method) {
			continue
		}
		s.m.Entry, s.m.Cut = e, cut
		return true
	}
	return false
}

func allows(methods []string, method string) bool {
	if len(methods) == 0 {
		return true
	}
	for _, m := range methods {
		if m == method || m == "GET" && method == "HEAD" {
			return true
		}
	}
	return false
}
