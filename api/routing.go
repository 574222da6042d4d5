package api

import (
	"slices"
	"strings"
)

// RouteHosts are the hosts of a route, in lower case and each once; one empty
// one where it answers at any host.
func RouteHosts(s *RouteSpec) []string {
	if len(s.Hosts) == 0 {
		return []string{strings.ToLower(s.Host)}
	}
	hosts := make([]string, 0, len(s.Hosts)+1)
	for _, h := range append([]string{s.Host}, s.Hosts...) {
		if h = strings.ToLower(h); h != "" && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// RouteKeys are what a route shares with those that match the same requests
// with the same precedence, methods aside: for each of its hosts, the host and
// the pattern with the names of variables left out.
func RouteKeys(s *RouteSpec) []string {
	var b strings.Builder
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
	keys := RouteHosts(s)
	for i := range keys {
		keys[i] += b.String()
	}
	return keys
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
// rule of RouteSpec; each has the one host in Host. Of two equal ones the older
// comes first, then the smaller namespace and name, so that every part of the
// system chooses the same.
func RouteLess(a, b *Route) bool {
	if d := hostRank(a.Spec.Host) - hostRank(b.Spec.Host); d != 0 {
		return d < 0
	}
	as, ap := RouteSegments(&a.Spec)
	bs, bp := RouteSegments(&b.Spec)
	if d := CompareSegments(as, bs); d != 0 {
		return d < 0
	}
	if ap != bp {
		return bp
	}
	if am, bm := len(a.Spec.Methods) > 0, len(b.Spec.Methods) > 0; am != bm {
		return am
	}
	return routeOlder(a, b)
}

// CompareSegments orders the segments of two patterns by what they are, not by
// which: negative when a comes before b. It is a part of RouteLess.
func CompareSegments(a, b []string) int {
	for i := range min(len(a), len(b)) {
		if d := segmentRank(a[i]) - segmentRank(b[i]); d != 0 {
			return d
		}
	}
	return len(b) - len(a)
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

// RouteLosers finds the routes that conflict with one that comes before them at
// any of their hosts, and says with which: the same key, and a method both name,
// or none named by either. (One that names methods comes before one that does
// not, so these two do not conflict.) The others are admitted.
func RouteLosers(routes []*Route) map[*Route]*Route {
	losers, admitted := map[*Route]*Route{}, map[string][]*Route{}
	sorted := slices.Clone(routes)
	slices.SortFunc(sorted, func(a, b *Route) int {
		if routeOlder(a, b) {
			return -1
		}
		return 1
	})
	for _, r := range sorted {
	keys:
		for _, k := range RouteKeys(&r.Spec) {
			for _, w := range admitted[k] {
				if methodsConflict(w.Spec.Methods, r.Spec.Methods) {
					if losers[r] == nil {
						losers[r] = w
					}
					continue keys
				}
			}
			admitted[k] = append(admitted[k], r)
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
