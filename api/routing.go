package api

import (
	"slices"
	"strings"
)

// RouteKey is what two routes share when they match the same requests with the
// same precedence, methods aside: host and pattern, with the names of variables
// left out.
func RouteKey(s *RouteSpec) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(s.Host))
	segments, prefix := RouteSegments(s)
	for _, seg := range segments {
		b.WriteByte('/')
		switch {
		case strings.HasSuffix(seg, "...}"):
			b.WriteString("{...}")
		case strings.HasPrefix(seg, "{"):
			b.WriteString("{}")
		default:
			b.WriteString(seg)
		}
	}
	if prefix {
		b.WriteString("/*")
	}
	return b.String()
}

// RouteSegments cuts a route's pattern into segments and says whether it is a
// prefix. A prefix's trailing slash does not count, as prefixes are matched by
// whole segments; a prefix that ends in {name...} is the path of that pattern.
func RouteSegments(s *RouteSpec) (segments []string, prefix bool) {
	p := s.Path
	if s.Prefix != "" {
		p, prefix = strings.TrimSuffix(s.Prefix, "/"), true
	}
	if p = strings.TrimPrefix(p, "/"); p == "" && prefix {
		return nil, true
	}
	segments = strings.Split(p, "/")
	if strings.HasSuffix(segments[len(segments)-1], "...}") {
		prefix = false
	}
	return segments, prefix
}

// RouteConflict reports whether a and b answer the same requests with the same
// precedence: the same RouteKey, and a method both name, or none named by
// either. One that names methods comes before one that does not, so these two do
// not conflict.
func RouteConflict(a, b *Route) bool {
	return RouteKey(&a.Spec) == RouteKey(&b.Spec) && methodsConflict(a.Spec.Methods, b.Spec.Methods)
}

func methodsConflict(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	for _, m := range a {
		if slices.Contains(b, m) {
			return true
		}
	}
	return false
}

// RouteLess reports whether a comes before b where both match a request, by the
// rule of RouteSpec. Of two equal ones the older comes first, then the smaller
// namespace and name, so that every part of the system chooses the same.
func RouteLess(a, b *Route) bool {
	if d := hostRank(a.Spec.Host) - hostRank(b.Spec.Host); d != 0 {
		return d < 0
	}
	as, ap := RouteSegments(&a.Spec)
	bs, bp := RouteSegments(&b.Spec)
	for i := range min(len(as), len(bs)) {
		if d := segmentRank(as[i]) - segmentRank(bs[i]); d != 0 {
			return d < 0
		}
	}
	if len(as) != len(bs) {
		return len(as) > len(bs)
	}
	if ap != bp {
		return bp
	}
	if am, bm := len(a.Spec.Methods) > 0, len(b.Spec.Methods) > 0; am != bm {
		return am
	}
	return routeOlder(a, b)
}

func routeOlder(a, b *Route) bool {
	at, bt := a.Metadata.CreationTimestamp, b.Metadata.CreationTimestamp
	if at != nil && bt != nil && !at.Equal(bt.Time) {
		return at.Before(bt.Time)
	}
	if a.Metadata.Namespace != b.Metadata.Namespace {
		return a.Metadata.Namespace < b.Metadata.Namespace
	}
	return a.Metadata.Name < b.Metadata.Name
}

// RouteLosers finds the routes that conflict with one that comes before them,
// and says with which. The others are admitted.
func RouteLosers(routes []*Route) map[*Route]*Route {
	losers := map[*Route]*Route{}
	byKey := map[string][]*Route{}
	for _, r := range routes {
		k := RouteKey(&r.Spec)
		byKey[k] = append(byKey[k], r)
	}
	for _, rs := range byKey {
		slices.SortFunc(rs, func(a, b *Route) int {
			if routeOlder(a, b) {
				return -1
			}
			return 1
		})
		for i, r := range rs {
			for _, w := range rs[:i] {
				if losers[w] == nil && methodsConflict(w.Spec.Methods, r.Spec.Methods) {
					losers[r] = w
					break
				}
			}
		}
	}
	return losers
}

func hostRank(h string) int {
	switch {
	case h == "":
		return 2
	case strings.HasPrefix(h, "*."):
		return 1
	}
	return 0
}

func segmentRank(s string) int {
	switch {
	case strings.HasSuffix(s, "...}"):
		return 2
	case strings.HasPrefix(s, "{"):
		return 1
	}
	return 0
}
