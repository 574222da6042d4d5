package table

import (
	"net/url"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// rule is a pattern in the list of a host.
type rule[T any] struct {
	pattern string // /a/{}/c: variables without their names, and of a rest what precedes it
	entry   *Entry[T]
	fixed   uint16 // how many of its bytes precede the first variable
	kind    kind
	any     bool // of methods
}

func newRule[T any](segments []string, prefix bool, e *Entry[T]) rule[T] {
	k, segments := kindOf(segments, prefix)
	r := rule[T]{entry: e, kind: k, any: len(e.Spec.Methods) == 0}
	var b strings.Builder
	fixed := -1
	for _, s := range segments {
		if strings.HasPrefix(s, "{") {
			if fixed < 0 {
				fixed = b.Len()
			}
			s = "{}"
		}
		b.WriteByte('/')
		b.WriteString(s)
	}
	if r.pattern = b.String(); fixed < 0 {
		fixed = len(r.pattern)
	}
	r.fixed = uint16(min(fixed, 1<<16-1))
	if int(r.fixed) != fixed { // then everything is compared segment by segment
		r.fixed = 0
	}
	return r
}

// segments are those the rule was made of, with other names of variables.
func (r *rule[T]) segments() []string {
	var all []string
	if r.pattern != "" {
		all = strings.Split(r.pattern[1:], "/")
	}
	if r.kind == isRest {
		all = append(all, "{...}")
	}
	return all
}

// insert returns a copy of rules with r in its place, by the rule of
// api.RouteLess.
func insert[T any](rules []rule[T], r rule[T]) []rule[T] {
	i, _ := slices.BinarySearchFunc(rules, r, func(a, b rule[T]) int {
		if c := api.CompareSegments(a.segments(), b.segments()); c != 0 {
			return c
		}
		if a.kind != b.kind {
			return int(a.kind) - int(b.kind)
		}
		return compare(a.entry, b.entry)
	})
	return slices.Insert(slices.Clip(slices.Clone(rules)), i, r)
}

// rules tries the list of a host from its first on.
func (s *search[T]) rules(list []rule[T]) bool {
	for i := range list {
		r := &list[i]
		if at, ok := s.rule(r); ok && s.take(r.entry, r.any, at) {
			return true
		}
	}
	return false
}

// rule tells whether r's pattern matches the path, and how much of it where it
// is a prefix.
func (s *search[T]) rule(r *rule[T]) (cut int, ok bool) {
	at := 0
	if !s.escaped {
		if at = int(r.fixed); len(s.path) < at || s.path[:at] != r.pattern[:at] || len(s.path) > at && s.path[at] != '/' {
			return 0, false
		}
	}
	vars := 0
	for p := at; p < len(r.pattern); {
		if at == len(s.path) {
			return 0, false
		}
		want, next := segmentAt(r.pattern, p)
		got, to := segmentAt(s.path, at)
		got = s.plain(got)
		if want == "{}" {
			if got == "" {
				return 0, false
			}
			s.m.Vars[vars] = got
			vars++
		} else if got != want {
			return 0, false
		}
		p, at = next, to
	}
	switch {
	case r.kind == isPrefix:
		return at, true
	case r.kind == isExact || at == len(s.path):
		return 0, r.kind == isExact && at == len(s.path)
	}
	s.m.Vars[vars] = s.plain(s.path[at+1:])
	return 0, true
}

// segmentAt is the segment after the slash at text[at], and where it ends.
func segmentAt(text string, at int) (segment string, to int) {
	if n := strings.IndexByte(text[at+1:], '/'); n >= 0 {
		to = at + 1 + n
	} else {
		to = len(text)
	}
	return text[at+1 : to], to
}

// plain decodes a part of the path; what cannot be decoded stays as it is.
func (s *search[T]) plain(part string) string {
	if s.escaped && strings.IndexByte(part, '%') >= 0 {
		if d, err := url.PathUnescape(part); err == nil {
			return d
		}
	}
	return part
}
