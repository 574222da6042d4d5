package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// versions makes revisions f-1 … f-n that answer with their names.
func (w *world) versions(n int) {
	w.t.Helper()
	for i := 1; i <= n; i++ {
		name := fmt.Sprint("f-", i)
		w.revision(name, "f", api.RevisionSpec{Concurrency: 100}, always(peer(w.t, api.ProtocolHTTP, func(rw http.ResponseWriter, r *http.Request) {
			io.WriteString(rw, name)
		})))
	}
}

func (w *world) traffic(latest string, shares ...api.TrafficShare) {
	w.t.Helper()
	w.put(api.Functions, "f", api.Function{Metadata: api.Meta{Name: "f", Namespace: "default"}, Status: api.FunctionStatus{LatestReadyRevision: latest, Traffic: shares}})
	w.wait("")
}

// shares calls host n times and counts the answers.
func (w *world) shares(n int, host string, change func(*http.Request)) map[string]int {
	w.t.Helper()
	got := map[string]int{}
	for range n {
		rq := httptest.NewRequest("GET", "http://"+host+"/", nil)
		if change != nil {
			change(rq)
		}
		rec := httptest.NewRecorder()
		w.g.ServeHTTP(rec, rq)
		got[rec.Body.String()]++
	}
	return got
}

// TestSharesAreExact makes 10 000 calls with each split.
func TestSharesAreExact(t *testing.T) {
	w := newWorld(t)
	w.versions(3)
	rev := func(n int) string { return fmt.Sprint("f-", n) }
	w.traffic("f-3", api.TrafficShare{Revision: rev(1), Percent: 89}, api.TrafficShare{Revision: rev(2), Percent: 10}, api.TrafficShare{Revision: rev(3), Percent: 1})
	w.route("r", api.RouteSpec{Host: "r.test", Prefix: "/", Targets: []api.RouteTarget{{Revision: rev(1), Weight: weight(7)}, {Revision: rev(2), Weight: weight(2)}, {Revision: rev(3)}}})
	w.route("n", api.RouteSpec{Host: "n.test", Prefix: "/", Targets: []api.RouteTarget{{Function: "f"}, {Revision: rev(3)}}})
	for host, want := range map[string]map[string]int{
		"f.localhost": {"f-1": 8900, "f-2": 1000, "f-3": 100},
		"r.test":      {"f-1": 7000, "f-2": 2000, "f-3": 1000},
		"n.test":      {"f-1": 4450, "f-2": 500, "f-3": 5050},
	} {
		if got := w.shares(10_000, host, nil); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
	// Others' calls at the same time take nothing from it.
	var wg sync.WaitGroup
	var mu sync.Mutex
	all := map[string]int{}
	for range 4 {
		wg.Go(func() {
			got := w.shares(2500, "f.localhost", nil)
			mu.Lock()
			defer mu.Unlock()
			for k, n := range got {
				all[k] += n
			}
		})
	}
	wg.Wait()
	if !maps.Equal(all, map[string]int{"f-1": 8900, "f-2": 1000, "f-3": 100}) {
		t.Errorf("four at once: %v", all)
	}
	s := w.g.Observe("default", "f-1")
	if s.Calls != 2*8900+7000+4450 || s.Errors != 0 || s.Quantile(0.5) <= 0 {
		t.Errorf("observed %d calls, %d errors", s.Calls, s.Errors)
	}
	w.traffic("f-3") // back to the newest
	if got := w.shares(100, "f.localhost", nil); got["f-3"] != 100 {
		t.Errorf("%v", got)
	}
}

// Errors that no status shows count as well.
func TestObservedErrors(t *testing.T) {
	w := newWorld(t)
	w.versions(1)
	w.revision("f-2", "f", api.RevisionSpec{Concurrency: 100}, always(peer(t, api.ProtocolHTTP, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/broken":
			io.WriteString(rw, "a part")
			http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		case "/500":
			rw.WriteHeader(500)
		case "/404":
			rw.WriteHeader(404)
		}
	})))
	w.traffic("f-2", api.TrafficShare{Revision: "f-1", Percent: 50}, api.TrafficShare{Revision: "f-2", Percent: 50}, api.TrafficShare{Revision: "f-2", Tag: "new"})
	for _, path := range []string{"/", "/404", "/500", "/broken"} {
		rq := w.request("GET", path, nil)
		rq.Host = "new-f.localhost"
		if r, err := http.DefaultClient.Do(rq); err == nil {
			io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
	}
	for deadline := time.Now().Add(patience); w.g.Observe("default", "f-2").Calls < 4 && time.Now().Before(deadline); {
		w.wait("") // the last is counted after its client has heard of it
	}
	if s := w.g.Observe("default", "f-2"); s.Calls != 4 || s.Errors != 2 {
		t.Errorf("%d calls, %d errors", s.Calls, s.Errors)
	}
}

func TestTags(t *testing.T) {
	w := newWorld(t)
	w.versions(3)
	w.traffic("f-3", api.TrafficShare{Revision: "f-3", Percent: 100, Latest: true}, api.TrafficShare{Revision: "f-1", Tag: "old"}, api.TrafficShare{Revision: "f-9", Tag: "gone"})
	w.route("r", api.RouteSpec{Host: "r.test", Prefix: "/", Targets: []api.RouteTarget{{Revision: "f-3"}, {Revision: "f-2", Weight: weight(0), Tag: "beta"}, {Function: "f", Weight: weight(0), Tag: "fn"}}})
	// Several targets may have one tag, as while a tag's target is rolled out.
	w.route("t", api.RouteSpec{Host: "t.test", Prefix: "/", Targets: []api.RouteTarget{{Revision: "f-1", Weight: weight(50)}, {Revision: "f-2", Weight: weight(20), Tag: "two"}, {Revision: "f-3", Weight: weight(30), Tag: "two"}}})
	if got := w.shares(100, "two-t.test", nil); got["f-2"] != 40 || got["f-3"] != 60 {
		t.Errorf("a tag of two: %v", got)
	}
	w.route("t", api.RouteSpec{Host: "t.test", Prefix: "/", Targets: []api.RouteTarget{{Revision: "f-1"}, {Revision: "f-2", Weight: weight(0), Tag: "two", TagWeight: weight(99)}, {Revision: "f-3", Weight: weight(0), Tag: "two", TagWeight: weight(1)}}})
	if got := w.shares(100, "two-t.test", nil); got["f-2"] != 99 || got["f-3"] != 1 {
		t.Errorf("a tag of two with weights of their own: %v", got)
	}
	if got := w.shares(10, "t.test", nil); got["f-1"] != 10 {
		t.Errorf("weights of a tag beside it: %v", got)
	}
	w.route("t", api.RouteSpec{Host: "t.test", Prefix: "/", Targets: []api.RouteTarget{{Revision: "f-1"}, {Revision: "f-2", Weight: weight(0), Tag: "two"}}})
	for _, tc := range []struct{ host, header, want string }{
		{"f.localhost", "", "f-3"},
		{"old-f.localhost", "", "f-1"},
		{"old-f.default.localhost", "", "f-1"},
		{"f.localhost", "old", "f-1"},
		{"f.localhost", "unknown", "f-3"},
		{"any.test/~default/f", "old", "f-1"},
		{"r.test", "", "f-3"},
		{"r.test", "beta", "f-2"},
		{"beta-r.test", "", "f-2"},
		{"fn-r.test", "", "f-3"},
		{"fn-r.test", "old", "f-1"},
		{"two-t.test", "", "f-2"},
		{"t.test", "two", "f-2"},
	} {
		for _, header := range api.TagHeaders() {
			got := w.shares(3, tc.host, func(r *http.Request) {
				if tc.header != "" {
					r.Header.Set(header, tc.header)
				}
			})
			if got[tc.want] != 3 {
				t.Errorf("%s with %s %q: %v, want %s", tc.host, header, tc.header, got, tc.want)
			}
		}
	}
	rq := httptest.NewRequest("GET", "http://gone-f.localhost/", nil)
	rec := httptest.NewRecorder()
	if w.g.ServeHTTP(rec, rq); rec.Code != 503 {
		t.Errorf("a tag whose revision is gone: %d %s", rec.Code, rec.Body)
	}
	// An address someone gave a name, and a function's own, come before a tag's.
	w.revision("o-1", "old-f", api.RevisionSpec{Concurrency: 100}, always(peer(t, api.ProtocolHTTP, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, "own") })))
	w.put(api.Functions, "old-f", api.Function{Metadata: api.Meta{Name: "old-f", Namespace: "default"}, Status: api.FunctionStatus{LatestReadyRevision: "o-1"}})
	w.put(api.Routes, "beta", api.Route{
		Metadata: api.Meta{Name: "beta", CreationTimestamp: api.NewTime(time.Now())},
		Spec:     api.RouteSpec{Host: "beta-r.test", Prefix: "/", Targets: []api.RouteTarget{{Revision: "f-1"}}},
	})
	w.wait("")
	if got := w.shares(3, "old-f.localhost", nil); got["own"] != 3 {
		t.Errorf("a function called like a tag: %v", got)
	}
	if got := w.shares(3, "beta-r.test", nil); got["f-1"] != 3 {
		t.Errorf("a route for a host like a tag's: %v", got)
	}
	w.put(api.Functions, "old-f", api.Function{Metadata: api.Meta{Name: "old-f", Namespace: "default"}, Spec: api.FunctionSpec{Visibility: "private"}})
	w.wait("")
	if got := w.shares(3, "old-f.localhost", nil); got["f-1"] != 3 {
		t.Errorf("a tag that has its host again: %v", got)
	}
	w.traffic("f-3")
	rec = httptest.NewRecorder()
	if w.g.ServeHTTP(rec, httptest.NewRequest("GET", "http://old-f.localhost/", nil)); rec.Code != 404 {
		t.Errorf("a tag taken back: %d %s", rec.Code, rec.Body)
	}
}

// TestTagHeader: a route may be deaf to headers that name a tag, or tell its
// target whether one was meant. No client can say that in its place.
func TestTagHeader(t *testing.T) {
	for _, protocol := range []string{api.ProtocolHearth, api.ProtocolHTTP, api.ProtocolH2C} {
		t.Run(protocol, func(t *testing.T) {
			w := newWorld(t)
			for _, name := range []string{"f-1", "f-2"} {
				w.revision(name, "f", api.RevisionSpec{Concurrency: 100}, always(h2Peer(t, protocol, func(rw http.ResponseWriter, r *http.Request) {
					fmt.Fprint(rw, name, r.Header["Knative-Serving-Default-Route"])
				})))
			}
			targets := []api.RouteTarget{{Revision: "f-1"}, {Revision: "f-2", Weight: weight(0), Tag: "t"}}
			for _, how := range []string{"", api.TagHeaderIgnored, api.TagHeaderTold} {
				w.route("r"+how, api.RouteSpec{Host: "r" + how + ".test", Prefix: "/", Targets: targets, TagHeader: how})
			}
			w.route("none", api.RouteSpec{Host: "none.test", Prefix: "/", Targets: targets[:1], TagHeader: api.TagHeaderTold})
			for _, tc := range []struct{ host, tag, want string }{
				{"r.test", "", "f-1[]"},
				{"r.test", "t", "f-2[]"},
				{"t-r.test", "", "f-2[]"},
				{"rignored.test", "t", "f-1[]"},
				{"t-rignored.test", "", "f-2[]"},
				{"rtold.test", "", "f-1[true]"},
				{"rtold.test", "t", "f-2[false]"},
				{"rtold.test", "unknown", "f-1[true]"},
				{"t-rtold.test", "", "f-2[false]"},
				{"none.test", "t", "f-1[true]"},
			} {
				for _, header := range api.TagHeaders() {
					got := w.shares(1, tc.host, func(r *http.Request) {
						r.Header.Set("Knative-Serving-Default-Route", "maybe")
						if tc.tag != "" {
							r.Header.Set(header, tc.tag)
						}
					})
					if got[tc.want] != 1 {
						t.Errorf("%s with %s %q: %v, want %s", tc.host, header, tc.tag, got, tc.want)
					}
				}
			}
		})
	}
}

func TestSticky(t *testing.T) {
	w := newWorld(t)
	w.versions(3)
	targets := func(a, b, c int) (out []api.RouteTarget) {
		for i, n := range []int{a, b, c} {
			if n >= 0 {
				out = append(out, api.RouteTarget{Revision: fmt.Sprint("f-", i+1), Weight: weight(n)})
			}
		}
		return out
	}
	cookie := func(a, b, c int) {
		w.route("c", api.RouteSpec{Host: "c.test", Prefix: "/", Targets: targets(a, b, c), Sticky: &api.Sticky{Cookie: "visit"}})
	}
	header := func(a, b, c int) {
		w.route("h", api.RouteSpec{Host: "h.test", Prefix: "/", Targets: targets(a, b, c), Sticky: &api.Sticky{Header: "x-user"}})
	}
	cookie(8, 1, 1)
	if got := w.shares(1000, "c.test", nil); got["f-1"] != 800 || got["f-2"] != 100 {
		t.Errorf("newcomers: %v", got)
	}
	visit := map[string]string{} // revision → cookie
	for len(visit) < 3 {
		rec := httptest.NewRecorder()
		w.g.ServeHTTP(rec, httptest.NewRequest("GET", "http://c.test/", nil))
		set := rec.Result().Cookies()
		if len(set) != 1 || set[0].Name != "visit" || !set[0].HttpOnly || strings.Contains(set[0].Value, "f-") {
			t.Fatalf("%v", rec.Header())
		}
		visit[rec.Body.String()] = set[0].Value
	}
	stays := func(when string) {
		t.Helper()
		for rev, value := range visit {
			if got := w.shares(20, "c.test", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "visit", Value: value}) }); got[rev] != 20 {
				t.Errorf("%s: of %s came %v", when, rev, got)
			}
		}
	}
	stays("at first")
	cookie(1, 1, 98)
	stays("with other weights")
	cookie(0, 1, 1)
	for _, value := range []string{visit["f-1"], "nonsense"} {
		rq := httptest.NewRequest("GET", "http://c.test/", nil)
		rq.AddCookie(&http.Cookie{Name: "visit", Value: value})
		rec := httptest.NewRecorder()
		if w.g.ServeHTTP(rec, rq); rec.Body.String() == "f-1" || len(rec.Result().Cookies()) != 1 {
			t.Errorf("%s %v", rec.Body, rec.Header())
		}
	}

	header(2, 1, 1)
	place := map[string]string{}
	for i := range 2000 {
		user := fmt.Sprint("user-", i)
		got := w.shares(2, "h.test", func(r *http.Request) { r.Header.Set("X-User", user) })
		if len(got) != 1 {
			t.Fatalf("%s came to %v", user, got)
		}
		place[user] = slices.Collect(maps.Keys(got))[0]
	}
	count := map[string]int{}
	for _, rev := range place {
		count[rev]++
	}
	for rev, want := range map[string]int{"f-1": 1000, "f-2": 500, "f-3": 500} { // hashed: about so
		if n := count[rev]; n < want*8/10 || n > want*12/10 {
			t.Errorf("%d of 2000 users are at %s, want about %d", n, rev, want)
		}
	}
	header(2, 0, 1)
	for user, rev := range place {
		if got := w.shares(1, "h.test", func(r *http.Request) { r.Header.Set("X-User", user) }); rev != "f-2" && got[rev] != 1 {
			t.Fatalf("%s moved from %s to %v", user, rev, got)
		}
	}
	if got := w.shares(300, "h.test", nil); got["f-1"] != 200 {
		t.Errorf("without the header: %v", got)
	}
}

func TestHostsAndRedirects(t *testing.T) {
	w := newWorld(t)
	w.versions(1)
	w.traffic("f-1")
	one := []api.RouteTarget{{Function: "f"}}
	w.route("many", api.RouteSpec{Host: "a.test", Hosts: []string{"B.test", "*.c.test"}, Prefix: "/x", Targets: one})
	for host, status := range map[string]int{"a.test": 200, "b.test": 200, "z.c.test": 200, "c.test": 404} {
		if got, _, _ := w.at("GET", host, "/x/1"); got != status {
			t.Errorf("%s: %d, want %d", host, got, status)
		}
	}
	w.route("moved", api.RouteSpec{Host: "old.test", Path: "/u/{id}/{rest...}", Redirect: &api.Redirect{Status: 308, Host: "new.test", Scheme: "https", Path: "/users/{rest...}/of/{id}"}})
	w.route("host", api.RouteSpec{Host: "old.test", Prefix: "/", Redirect: &api.Redirect{Host: "new.test:8443"}})
	w.route("safe", api.RouteSpec{Host: "safe.test", Prefix: "/", Targets: one, TLS: &api.RouteTLS{Redirect: true}})
	direct := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, tc := range []struct {
		host, path string
		status     int
		want       string
	}{
		{"old.test", "/u/a%2Fb/c/d%20e?q=1", 308, "https://new.test/users/c/d%20e/of/a%2Fb?q=1"},
		{"old.test", "/other?x", 302, "http://new.test:8443/other?x"},
		{"safe.test", "/p?q", 301, "https://safe.test/p?q"},
	} {
		rq := w.request("GET", tc.path, nil)
		rq.Host = tc.host
		r, err := direct.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if got := r.Header.Get("Location"); r.StatusCode != tc.status || got != tc.want {
			t.Errorf("%s%s: %d %s, want %d %s", tc.host, tc.path, r.StatusCode, got, tc.status, tc.want)
		}
	}
}

func TestHeaderRules(t *testing.T) {
	both(t, api.RevisionSpec{}, func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Server", "x")
		h.Set("X-Seen", fmt.Sprint(r.Header["X-Set"], r.Header["X-Add"], r.Header["X-Gone"], r.Header["K-Proxy-Request"], r.Header["Knative-Serving-Revision"], r.Header["Knative-Serving-Namespace"]))
		h.Add("X-Out", "mine")
	}, func(t *testing.T, w *world) {
		w.route("r", api.RouteSpec{
			Host: "r.test", Prefix: "/", Targets: []api.RouteTarget{{Function: "f"}},
			RequestHeaders:  &api.HeaderRules{Set: map[string]string{"x-set": "s"}, Add: map[string]string{"x-add": "b"}, Remove: []string{"x-gone"}},
			ResponseHeaders: &api.HeaderRules{Set: map[string]string{"X-Frame-Options": "DENY"}, Add: map[string]string{"X-Out": "more"}, Remove: []string{"Server"}},
			Methods:         []string{"GET"},
		})
		rq := w.request("GET", "/", nil)
		rq.Host = "r.test"
		rq.Header = http.Header{"X-Set": {"client"}, "X-Add": {"a"}, "X-Gone": {"g"}, "K-Proxy-Request": {"activator"}, "Knative-Serving-Revision": {"r"}, "Knative-Serving-Namespace": {"n"}}
		r, _ := w.do(rq)
		h := r.Header
		if h.Get("X-Seen") != "[s] [a b] [] [] [] []" || h.Get("Server") != "" || h.Get("X-Frame-Options") != "DENY" || !slices.Equal(h["X-Out"], []string{"mine", "more"}) {
			t.Errorf("%v", h)
		}
	})
}

// TestHostRule: the instance sees one Host, the route's, whatever it speaks; so
// does that of a copy.
func TestHostRule(t *testing.T) {
	for _, protocol := range []string{api.ProtocolHearth, api.ProtocolHTTP, api.ProtocolH2C} {
		t.Run(protocol, func(t *testing.T) {
			seen := make(chan string, 1)
			w := newWorld(t)
			w.function("f", api.RevisionSpec{}, always(h2Peer(t, protocol, func(rw http.ResponseWriter, r *http.Request) {
				fmt.Fprintln(rw, r.Host, r.Header["Host"], r.Header["X-Forwarded-Host"])
			})))
			w.function("m", api.RevisionSpec{}, always(h2Peer(t, protocol, func(_ http.ResponseWriter, r *http.Request) {
				seen <- r.Host
			})))
			w.route("r", api.RouteSpec{
				Host: "r.test", Prefix: "/", Targets: []api.RouteTarget{{Function: "f"}}, Mirror: &api.Mirror{Function: "m"},
				RequestHeaders: &api.HeaderRules{Set: map[string]string{"host": "inner.test:81"}},
			})
			if status, body, _ := w.at("GET", "r.test", "/"); status != 200 || body != "inner.test:81 [] [r.test]\n" {
				t.Errorf("%d %s", status, body)
			}
			if got := receive(t, seen); got != "inner.test:81" {
				t.Errorf("the copy has the host %s", got)
			}
			if status, body, _ := w.at("GET", "f.localhost", "/"); status != 200 || body != "f.localhost [] [f.localhost]\n" {
				t.Errorf("without the rule: %d %s", status, body)
			}
		})
	}
}

func TestRateLimitAnswers(t *testing.T) {
	w := newWorld(t)
	w.versions(1)
	w.traffic("f-1")
	w.route("r", api.RouteSpec{
		Host: "r.test", Prefix: "/", Targets: []api.RouteTarget{{Function: "f"}},
		RateLimit: &api.RateLimit{Requests: 2, Per: &api.Duration{Duration: time.Hour}, By: "header:X-Key"},
	})
	for i, want := range []int{200, 200, 429} {
		rq := w.request("GET", "/", nil)
		rq.Host = "r.test"
		rq.Header.Set("X-Key", "a")
		r, body := w.do(rq)
		if r.StatusCode != want {
			t.Errorf("call %d: %d %s", i, r.StatusCode, body)
		}
		if s := r.Header.Get("Retry-After"); want == 429 && (len(s) != 4 || r.Header.Get("X-Hearth-Error") != "rate_limited") {
			t.Errorf("Retry-After is %q", s)
		}
	}
	if got, _, _ := w.at("GET", "r.test", "/"); got != 200 {
		t.Errorf("another caller: %d", got)
	}
}

func TestRetryRule(t *testing.T) {
	var calls atomic.Int64
	fails := func(status int, times int64) *instance {
		return peer(t, api.ProtocolHTTP, func(rw http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			if calls.Add(1) <= times {
				rw.WriteHeader(status)
			}
			fmt.Fprintf(rw, "%s%s", r.Method, b)
		})
	}
	w := newWorld(t)
	for i, tc := range []struct {
		method, body string
		status       int
		times        int64
		rule         api.Retry
		want         int
		calls        int64
	}{
		{"GET", "", 503, 2, api.Retry{}, 200, 3},
		{"GET", "", 503, 3, api.Retry{}, 503, 3},
		{"GET", "", 502, 4, api.Retry{Attempts: 4, On: []string{"502"}}, 200, 5},
		{"GET", "", 504, 1, api.Retry{On: []string{"502"}}, 504, 1},
		{"GET", "", 500, 1, api.Retry{}, 500, 1},
		{"POST", "", 503, 1, api.Retry{}, 503, 1},
		{"PUT", "body", 503, 1, api.Retry{}, 200, 2},
		{"PUT", strings.Repeat("x", 100_000), 503, 1, api.Retry{}, 503, 1},
	} {
		calls.Store(0)
		name := fmt.Sprint("g", i)
		in := fails(tc.status, tc.times)
		w.function(name, api.RevisionSpec{Concurrency: 10}, always(in))
		w.route(name, api.RouteSpec{Host: name + ".test", Prefix: "/", Targets: []api.RouteTarget{{Function: name}}, Retry: &tc.rule})
		rq := w.request(tc.method, "/", strings.NewReader(tc.body))
		rq.Host = name + ".test"
		r, body := w.do(rq)
		if r.StatusCode != tc.want || calls.Load() != tc.calls || body != tc.method+tc.body {
			t.Errorf("%d: %d after %d calls, want %d after %d: %.100s", i, r.StatusCode, calls.Load(), tc.want, tc.calls, body)
		}
	}
	// An instance that is not there, and one that cannot be started.
	gone := peer(t, api.ProtocolHTTP, say("gone"))
	gone.stop()
	well := peer(t, api.ProtocolHTTP, say("well"))
	n := 0
	w.function("x", api.RevisionSpec{}, func() (engine.Instance, error) {
		switch n++; n {
		case 1:
			return gone, nil
		case 2:
			return nil, api.Errorf(api.CodeStartFailed, "no")
		}
		return well, nil
	})
	w.route("x", api.RouteSpec{Host: "x.test", Prefix: "/", Targets: []api.RouteTarget{{Function: "x"}}, Retry: &api.Retry{}})
	if status, body, _ := w.at("GET", "x.test", "/"); status != 200 || !strings.HasPrefix(body, "well") {
		t.Errorf("%d %s", status, body)
	}
	w.settled()
}

func TestTimeouts(t *testing.T) {
	ended := make(chan struct{}, 10)
	handler := func(rw http.ResponseWriter, r *http.Request) {
		defer func() { ended <- struct{}{} }()
		if r.URL.Path == "/silent" {
			<-r.Context().Done()
			return
		}
		rw.Header().Set("Content-Type", "text/event-stream")
		for { // until the gateway ends it
			if _, err := io.WriteString(rw, "data: x\n\n"); err != nil {
				return
			}
			http.NewResponseController(rw).Flush()
			if r.URL.Path == "/stalls" {
				<-r.Context().Done()
				return
			}
			select {
			case <-r.Context().Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	short := &api.Duration{Duration: time.Second} // enough for an answer to begin
	for _, protocol := range []string{api.ProtocolHTTP, api.ProtocolH2C, api.ProtocolHearth} {
		t.Run(protocol, func(t *testing.T) {
			w := newWorld(t)
			w.function("f", api.RevisionSpec{Concurrency: 100}, always(h2Peer(t, protocol, handler)))
			for name, times := range map[string]api.Timeouts{"whole": {Request: short}, "start": {ResponseStart: short}, "idle": {Idle: short}} {
				w.route(name, api.RouteSpec{Host: name + ".test", Prefix: "/", Targets: []api.RouteTarget{{Function: "f"}}, Timeouts: &times})
			}
			cases := []struct {
				host, path string
				status     int
			}{
				{"whole.test", "/silent", 504}, {"start.test", "/silent", 504}, {"idle.test", "/silent", 504},
				{"whole.test", "/streams", 200}, {"idle.test", "/stalls", 200},
			}
			var wg sync.WaitGroup
			for _, tc := range cases {
				rq := w.request("GET", tc.path, nil)
				rq.Host = tc.host
				wg.Go(func() {
					r, err := http.DefaultClient.Do(rq)
					if err != nil {
						t.Error(err)
						return
					}
					b, err := io.ReadAll(r.Body)
					r.Body.Close()
					if r.StatusCode != tc.status || tc.status == 200 && (err == nil || !bytes.HasPrefix(b, []byte("data: x"))) {
						t.Errorf("%s%s: %d %.30q %v", tc.host, tc.path, r.StatusCode, b, err)
					}
				})
			}
			wg.Wait()
			for range cases {
				receive(t, ended)
			}
		})
	}
	// A revision may have its own.
	w := newWorld(t)
	w.function("f", api.RevisionSpec{ResponseStartTimeout: short}, always(peer(t, api.ProtocolHTTP, handler)))
	if status, _, _ := w.at("GET", "f.localhost", "/silent"); status != 504 {
		t.Error(status)
	}
	receive(t, ended)
}
