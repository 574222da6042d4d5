package table

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
)

func build(t testing.TB, specs ...api.RouteSpec) *Table[int] {
	t.Helper()
	var tab *Table[int]
	c := tab.Begin()
	for i := range specs {
		if err := c.Put(&Entry[int]{ID: fmt.Sprintf("ns/%03d", i), Spec: &specs[i], Value: i}); err != nil {
			t.Fatal(err)
		}
	}
	return c.End()
}

// TestPrecedence: of the routes that match a request, the first of the list.
func TestPrecedence(t *testing.T) {
	specs := []api.RouteSpec{
		{Host: "a.test", Path: "/x/y"},
		{Host: "a.test", Path: "/x/{id}", Methods: []string{"GET"}},
		{Host: "a.test", Path: "/x/{id}"},
		{Host: "a.test", Prefix: "/x/{id}"},
		{Host: "a.test", Path: "/x/{rest...}"},
		{Host: "a.test", Prefix: "/x"},
		{Host: "a.test", Path: "/"},
		{Host: "a.test", Prefix: "/"},
		{Host: "*.test", Path: "/only/wild"},
		{Host: "*.test", Prefix: "/x/y/z"},
		{Prefix: "/any"},
		{Path: "/x/y"},
	}
	testPrecedence(t, specs)
	// The same where each host has too many patterns for a list.
	for i := range few {
		for _, host := range []string{"a.test", "*.test", ""} {
			specs = append(specs, api.RouteSpec{Host: host, Path: fmt.Sprintf("/x/y/{z}/more/%d", i)})
		}
	}
	testPrecedence(t, specs)
}

func testPrecedence(t *testing.T, specs []api.RouteSpec) {
	t.Helper()
	tab := build(t, specs...)
	for _, tc := range []struct {
		method, host, path string
		want, cut          int
		vars               []string
	}{
		{"GET", "a.test", "/x/y", 0, 0, nil},
		{"GET", "a.test", "/x/z", 1, 0, []string{"z"}},
		{"HEAD", "a.test", "/x/z", 1, 0, []string{"z"}},
		{"PUT", "a.test", "/x/z", 2, 0, []string{"z"}},
		{"GET", "a.test", "/x/z/1", 3, 4, []string{"z"}},
		{"GET", "a.test", "/x/", 4, 0, []string{""}},
		{"GET", "a.test", "/x//b", 4, 0, []string{"/b"}},
		{"GET", "a.test", "/x", 5, 2, nil},
		{"GET", "a.test", "/", 6, 0, nil},
		{"GET", "a.test", "/xy", 7, 0, nil},
		{"GET", "a.test", "/only/wild", 7, 0, nil},
		{"GET", "b.test", "/only/wild", 8, 0, nil},
		{"GET", "b.test", "/x/y/z/1", 9, 6, nil},
		{"GET", "c.b.test", "/only/wild", -1, 0, nil},
		{"GET", "b.test", "/any/1", 10, 4, nil},
		{"GET", "", "/x/y", 11, 0, nil},
		{"GET", "other", "/x/%79", 11, 0, nil},
		{"GET", "a.test", "/x/a%2Fb", 1, 0, []string{"a/b"}},
		{"GET", "other", "/none", -1, 0, nil},
		{"GET", "other", "", -1, 0, nil},
		{"OPTIONS", "other", "*", -1, 0, nil},
	} {
		var m Match[int]
		got := -1
		if tab.Find(tc.host, tc.path, tc.method, &m) {
			got = m.Entry.Value
		}
		if got != tc.want || m.Cut != tc.cut {
			t.Errorf("%s %s%s: route %d, cut %d, want %d, %d", tc.method, tc.host, tc.path, got, m.Cut, tc.want, tc.cut)
			continue
		}
		if got >= 0 && !slices.Equal(m.Vars[:len(m.Entry.Names())], tc.vars) {
			t.Errorf("%s: variables %q, want %q", tc.path, m.Vars[:len(m.Entry.Names())], tc.vars)
		}
	}
}

func TestAllowed(t *testing.T) {
	tab := build(t, api.RouteSpec{Path: "/a", Methods: []string{"GET"}}, api.RouteSpec{Host: "h", Path: "/a", Methods: []string{"PUT", "POST"}})
	if got := tab.Allowed("h", "/a", false); !slices.Equal(got, []string{"GET", "HEAD", "POST", "PUT"}) {
		t.Errorf("%v", got)
	}
	if got := tab.Allowed("h", "/b", false); got != nil {
		t.Errorf("%v", got)
	}
}

// TestLocal: whoever is not inside gets what there would be without entries that
// are Local, in a host's list as in its trie.
func TestLocal(t *testing.T) {
	for _, others := range []int{0, 2 * few} {
		put := func(c *Change[int], id int, local bool, s api.RouteSpec) {
			if err := c.Put(&Entry[int]{ID: fmt.Sprint("default/", id), Spec: &s, Value: id, Local: local}); err != nil {
				t.Fatal(err)
			}
		}
		var with, without *Table[int]
		for _, at := range []**Table[int]{&with, &without} {
			c := (*at).Begin()
			for i := range others {
				put(c, 100+i, false, api.RouteSpec{Host: "h.svc", Path: fmt.Sprint("/open/", i)})
			}
			put(c, 1, false, api.RouteSpec{Host: "h.svc", Prefix: "/a"})
			put(c, 2, false, api.RouteSpec{Prefix: "/a/b", Methods: []string{"PUT"}})
			if at == &with {
				put(c, 3, true, api.RouteSpec{Host: "h.svc", Prefix: "/a/b"})
				put(c, 4, true, api.RouteSpec{Host: "*.svc", Path: "/w", Methods: []string{"POST"}})
			}
			*at = c.End()
		}
		for _, host := range []string{"h.svc", "x.svc", "x.test"} {
			for _, path := range []string{"/a", "/a/b/c", "/w", "/open/3", "/"} {
				for _, method := range []string{"GET", "PUT", "POST"} {
					var a, b Match[int]
					if ok := with.Find(host, path, method, &a); ok != without.Find(host, path, method, &b) || ok && (a.Entry.Value != b.Entry.Value || a.Cut != b.Cut) {
						t.Errorf("%s %s%s: %+v, without what is local %+v", method, host, path, a.Entry, b.Entry)
					}
				}
				if got, want := with.Allowed(host, path, false), without.Allowed(host, path, false); !slices.Equal(got, want) {
					t.Errorf("%s%s allows %v, without what is local %v", host, path, got, want)
				}
			}
		}
		m := Match[int]{Inside: true}
		if !with.Find("h.svc", "/a/b/c", "GET", &m) || m.Entry.Value != 3 || !with.Find("x.svc", "/w", "POST", &m) || m.Entry.Value != 4 {
			t.Errorf("inside: %+v", m.Entry)
		}
		if got := with.Allowed("x.svc", "/w", true); !slices.Equal(got, []string{"POST"}) {
			t.Errorf("inside: allowed %v", got)
		}
		if !with.Has("h.svc") || !with.Has("y.svc") || with.Has("x.test") || with.Has("") || without.Has("y.svc") || (*Table[int])(nil).Has("h.svc") {
			t.Error("Has")
		}
	}
}

// naive says whether spec matches, by the rule and nothing else.
func naive(s *api.RouteSpec, host, path, method string) bool {
	switch {
	case s.Host == "":
	case strings.HasPrefix(s.Host, "*."):
		_, rest, ok := strings.Cut(host, ".")
		if !ok || strings.HasPrefix(host, ".") || rest != s.Host[2:] {
			return false
		}
	case s.Host != host:
		return false
	}
	if len(s.Methods) > 0 && !slices.Contains(s.Methods, method) && !(method == "HEAD" && slices.Contains(s.Methods, "GET")) {
		return false
	}
	pattern, prefix := api.RouteSegments(s)
	got := strings.Split(path[1:], "/")
	for i, p := range pattern {
		if strings.HasSuffix(p, "...}") {
			return len(got) > i
		}
		if i >= len(got) || strings.HasPrefix(p, "{") && got[i] == "" || !strings.HasPrefix(p, "{") && got[i] != p {
			return false
		}
	}
	return prefix || len(got) == len(pattern)
}

// TestAgainstNaive puts and removes routes and compares every look-up with a
// search through all of them, ordered by api.RouteLess.
func TestAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts := []string{"a.t", "", "b.t", "*.t", "t"}
		// On few hosts there are lists and tries, and changes from one to the other.
		hosts = hosts[:rapid.IntRange(1, len(hosts)).Draw(t, "hosts")]
		segment := rapid.SampledFrom([]string{"a", "b", "{x}", "a"})
		pattern := func() string {
			n := rapid.IntRange(0, 3).Draw(t, "n")
			var b strings.Builder
			for i := range n {
				s := segment.Draw(t, "segment")
				if s == "{x}" {
					s = fmt.Sprintf("{v%d}", i)
				}
				b.WriteString("/" + s)
			}
			switch {
			case rapid.IntRange(0, 5).Draw(t, "tail") == 0:
				b.WriteString("/{rest...}")
			case n == 0 || rapid.IntRange(0, 5).Draw(t, "slash") == 0:
				b.WriteString("/")
			}
			return b.String()
		}
		var tab *Table[*api.Route]
		live := map[string]*Entry[*api.Route]{}
		for i := range rapid.IntRange(1, 60).Draw(t, "changes") {
			c := tab.Begin()
			for range rapid.IntRange(1, 3).Draw(t, "together") {
				id := fmt.Sprintf("ns/%d", rapid.IntRange(0, 3*few).Draw(t, "id"))
				if old := live[id]; old != nil {
					c.Remove(old)
					delete(live, id)
					if rapid.Bool().Draw(t, "only remove") {
						continue
					}
				}
				r := &api.Route{Metadata: api.Meta{Namespace: "ns", Name: id[3:], CreationTimestamp: api.NewTime(time.Unix(int64(i), 0))}}
				r.Spec.Host = rapid.SampledFrom(hosts).Draw(t, "host")
				if p := pattern(); rapid.Bool().Draw(t, "prefix") {
					r.Spec.Prefix = p
				} else {
					r.Spec.Path = p
				}
				r.Spec.Methods = rapid.SampledFrom([][]string{nil, {"GET"}, {"PUT"}, {"GET", "PUT"}}).Draw(t, "methods")
				e := &Entry[*api.Route]{ID: id, Created: r.Metadata.CreationTimestamp.Time, Spec: &r.Spec, Value: r}
				if err := c.Put(e); err != nil {
					t.Fatal(err)
				}
				live[id] = e
			}
			before := tab
			tab = c.End()
			_ = before
			for range 4 {
				host := rapid.SampledFrom([]string{"a.t", "b.t", "c.t", "t", "x"}).Draw(t, "asked host")
				path := "/" + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", ""}), 0, 4).Draw(t, "path"), "/")
				method := rapid.SampledFrom([]string{"GET", "PUT", "HEAD", "POST"}).Draw(t, "method")
				var want *api.Route
				for _, e := range live {
					if naive(e.Spec, host, path, method) && (want == nil || api.RouteLess(e.Value, want)) {
						want = e.Value
					}
				}
				var m Match[*api.Route]
				var got *api.Route
				if tab.Find(host, path, method, &m) {
					got = m.Entry.Value
				}
				if got != want {
					t.Fatalf("%s %s%s: got %+v, want %+v", method, host, path, got, want)
				}
			}
		}
		c := tab.Begin()
		for _, e := range live {
			c.Remove(e)
		}
		if end := c.End(); end.hosts.n != 0 || end.wild != 0 {
			t.Fatalf("%d hosts are left of nothing", end.hosts.n)
		}
	})
}

// An entry can be in several places, and leaves each alone.
func TestPutAt(t *testing.T) {
	e := &Entry[int]{ID: "ns/f", Spec: &api.RouteSpec{Prefix: "/", Methods: []string{"GET"}}, Value: 1}
	at := []*api.RouteSpec{{Host: "A.test", Prefix: "/"}, {Host: "b.test", Prefix: "/"}, {Host: "b.test", Prefix: "/x"}}
	var none *Table[int]
	c := none.Begin()
	for _, s := range at {
		if err := c.PutAt(s, e); err != nil {
			t.Fatal(err)
		}
	}
	found := func(tab *Table[int]) (all string) {
		var m Match[int]
		for _, q := range []string{"a.test", "b.test"} {
			if tab.Find(q, "/x/y", "GET", &m) && m.Entry == e {
				all += fmt.Sprint(q, m.Cut, " ")
			}
			if tab.Find(q, "/x/y", "PUT", &m) {
				t.Errorf("%s: the entry's methods are not heeded", q)
			}
		}
		return all
	}
	full := c.End()
	c = full.Begin()
	c.RemoveAt(at[2], e)
	less := c.End()
	c = less.Begin()
	c.RemoveAt(at[0], e)
	c.RemoveAt(at[0], e) // twice is no error
	c.RemoveAt(at[1], &Entry[int]{ID: "ns/g", Spec: e.Spec})
	for i, want := range []string{"a.test0 b.test2 ", "a.test0 b.test0 ", "b.test0 "} {
		if got := found([]*Table[int]{full, less, c.End()}[i]); got != want {
			t.Errorf("after %d removals: %q, want %q", i, got, want)
		}
	}
}

// An old table stays what it was while new ones are made from it.
func TestOldTablesDoNotChange(t *testing.T) {
	specs := make([]api.RouteSpec, 500)
	for i := range specs {
		specs[i] = api.RouteSpec{Host: "h", Path: fmt.Sprintf("/p%d/{x}", i)}
	}
	old := build(t, specs...)
	c := old.Begin()
	for i := range specs {
		c.Remove(&Entry[int]{ID: fmt.Sprintf("ns/%03d", i), Spec: &specs[i]})
	}
	empty := c.End()
	var m Match[int]
	for i := range specs {
		if p := fmt.Sprintf("/p%d/1", i); !old.Find("h", p, "GET", &m) || m.Entry.Value != i || empty.Find("h", p, "GET", &m) {
			t.Fatalf("%s is wrong", p)
		}
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	tab := build(t, api.RouteSpec{Host: "*.x.test", Path: "/a/{b}/{c...}"})
	var m Match[int]
	if n := testing.AllocsPerRun(100, func() {
		if !tab.Find("h.x.test", "/a/1/2/3", "GET", &m) {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		specs := make([]api.RouteSpec, n)
		hosts, paths := make([]string, n), make([]string, n)
		for i := range specs {
			hosts[i] = fmt.Sprintf("h%d.example.com", i/3)
			specs[i] = api.RouteSpec{Host: hosts[i], Path: fmt.Sprintf("/v1/items%d/{id}", i%3)}
			paths[i] = fmt.Sprintf("/v1/items%d/12345", i%3)
		}
		begin := time.Now()
		tab := build(b, specs...)
		took := time.Since(begin)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			var m Match[int]
			for i := 0; b.Loop(); i++ {
				k := i * 7919 % n
				if !tab.Find(hosts[k], paths[k], "GET", &m) {
					b.Fatal("no match")
				}
			}
			b.ReportMetric(float64(took.Milliseconds()), "build-ms")
		})
		b.Run(fmt.Sprintf("change-%d", n), func(b *testing.B) {
			e := &Entry[int]{ID: "ns/new", Spec: &api.RouteSpec{Host: "new.example.com", Path: "/v1/{id}"}}
			for b.Loop() {
				c := tab.Begin()
				c.Put(e)
				tab = c.End()
				c = tab.Begin()
				c.Remove(e)
				tab = c.End()
			}
		})
	}
}
