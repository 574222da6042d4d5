package table

import (
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
	// Inside is set by the caller: entries that are Local count.
	Inside bool
}

// search is one look-up on its way.
type search[T any] struct {
	m       *Match[T]
	path    string
	method  string
	escaped bool            // the path has a percent sign
	allow   map[string]bool // collects methods instead of matching; nil: match
}

// Find looks up a request by host (lower case, without port), path (as it came,
// percent-encoded, without the query) and method. Without a match it returns
// false, and Allowed tells whether another method would have had one.
func (t *Table[T]) Find(host, path, method string, m *Match[T]) bool {
	m.Entry, m.Cut = nil, 0
	if t == nil || path == "" || path[0] != '/' {
		return false
	}
	s := search[T]{m: m, path: path, method: method, escaped: strings.IndexByte(path, '%') >= 0}
	return t.each(host, &s)
}

// Has tells whether a host has entries of its own, or by a wildcard.
func (t *Table[T]) Has(host string) bool {
	if t == nil || host == "" {
		return false
	}
	if t.hosts.get(host) != nil {
		return true
	}
	i := strings.IndexByte(host, '.')
	return t.wild > 0 && i > 0 && t.wildcard(host[i:]) != nil
}

// Allowed returns the methods that have a route at host and path, in order; a
// route for all methods counts as none. inside is as in Match.
func (t *Table[T]) Allowed(host, path string, inside bool) []string {
	if t == nil || path == "" || path[0] != '/' {
		return nil
	}
	s := search[T]{m: &Match[T]{Inside: inside}, path: path, escaped: true, allow: map[string]bool{}}
	t.each(host, &s)
	var all []string
	for m := range s.allow {
		all = append(all, m)
	}
	slices.Sort(all)
	return all
}

func (t *Table[T]) each(host string, s *search[T]) bool {
	if host != "" && s.site(t.hosts.get(host)) {
		return true
	}
	if t.wild > 0 {
		if i := strings.IndexByte(host, '.'); i > 0 && s.site(t.wildcard(host[i:])) {
			return true
		}
	}
	return s.site(t.hosts.get(""))
}

// wildcard finds *suffix without building the string on the heap.
func (t *Table[T]) wildcard(suffix string) *site[T] {
	var a [256]byte
	if len(suffix) >= len(a) {
		return nil
	}
	b := append(append(a[:0], '*'), suffix...)
	return t.hosts.getBytes(b)
}

func (s *search[T]) site(at *site[T]) bool {
	switch {
	case at == nil:
		return false
	case at.trie != nil:
		return s.node(at.trie, 0, 0)
	}
	return s.rules(at.rules)
}

// node matches path[at:], which is empty or begins with a slash, below n.
func (s *search[T]) node(n *node[T], at, vars int) bool {
	if at == len(s.path) {
		return s.ends(n, isExact, 0) || s.ends(n, isPrefix, at)
	}
	segment, to := segmentAt(s.path, at)
	segment = s.plain(segment)
	if child := n.literal.get(segment); child != nil && s.node(*child, to, vars) {
		return true
	}
	if n.variable != nil && segment != "" && vars < MaxVars {
		s.m.Vars[vars] = segment
		if s.node(n.variable, to, vars+1) {
			return true
		}
	}
	if len(n.ends) > 0 && vars < MaxVars {
		s.m.Vars[vars] = s.plain(s.path[at+1:])
		if s.ends(n, isRest, 0) {
			return true
		}
	}
	return s.ends(n, isPrefix, at)
}

// ends chooses among the entries of one kind by method.
func (s *search[T]) ends(n *node[T], k kind, cut int) bool {
	for _, e := range n.ends {
		if e.kind == k && s.take(e.entry, len(e.entry.Spec.Methods) == 0, cut) {
			return true
		}
	}
	return false
}

// take makes e the match if it answers the method; any says that it has no list
// of methods.
func (s *search[T]) take(e *Entry[T], any bool, cut int) bool {
	if e.Local && !s.m.Inside {
		return false
	}
	if s.allow != nil {
		for _, m := range e.Spec.Methods {
			if s.allow[m] = true; m == "GET" {
				s.allow["HEAD"] = true
			}
		}
		return false
	}
	if !any && !allows(e.Spec.Methods, s.method) {
		return false
	}
	s.m.Entry, s.m.Cut = e, cut
	return true
}

func allows(methods []string, method string) bool {
	for _, m := range methods {
		if m == method || m == "GET" && method == "HEAD" {
			return true
		}
	}
	return false
}
