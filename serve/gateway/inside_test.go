package gateway_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/gateway"
)

func tenants(at netip.Addr) string {
	return map[string]string{"10.200.0.6": "default", "10.200.0.10": "other"}[at.String()]
}

// inner fills a world with what is called from inside.
func inner(w *world) {
	w.function("fn", api.RevisionSpec{}, always(peer(w.t, api.ProtocolHearth, say("fn"))))
	w.put(api.Functions, "hidden", api.Function{Spec: api.FunctionSpec{Visibility: "private"}, Status: api.FunctionStatus{LatestReadyRevision: "fn-1"}})
	to := []api.RouteTarget{{Function: "fn", Tag: "t"}}
	w.route("local", api.RouteSpec{Hosts: []string{"svc.default.svc.cluster.local", "svc.default.svc"}, Prefix: "/", Targets: to})
	w.route("post", api.RouteSpec{Host: "post.default.svc.cluster.local", Prefix: "/in", Methods: []string{"POST"}, Targets: to})
	w.route("wild", api.RouteSpec{Host: "*.wild.default.svc.cluster.local", Prefix: "/", Targets: to})
	w.route("secure", api.RouteSpec{Hosts: []string{"secure.test", "secure.default.svc.cluster.local"}, Prefix: "/", Targets: to, TLS: &api.RouteTLS{Redirect: true}})
	w.route("theirs", api.RouteSpec{Host: "svc.other.svc.cluster.local", Prefix: "/", Targets: to})
	w.route("open", api.RouteSpec{Host: "open.test", Prefix: "/", Targets: to})
}

// TestInside: names of the inside answer those who are, and to others they are
// as names nobody has.
func TestInside(t *testing.T) {
	w := newWorldWith(t, gateway.Config{Tenant: tenants})
	inner(w)
	const outside = "198.51.100.7:1234"
	ask := func(method, host, path, from string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		r.Host, r.RemoteAddr, r.RequestURI = host, from, path
		r.Header.Set("X-Request-Id", "same")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		rec := httptest.NewRecorder()
		w.g.ServeHTTP(rec, r)
		return rec
	}
	local := []string{"svc.default.svc.cluster.local", "SVC.default.svc.cluster.local.:80", "svc.default.svc", "t-svc.default.svc.cluster.local", "fn.default.svc.cluster.local", "any.wild.default.svc.cluster.local"}
	for _, host := range local {
		for _, from := range []string{"127.0.0.1:99", "127.8.9.1:99", "[::1]:99", "[::ffff:127.0.0.1]:99", "10.200.0.6:99"} {
			if rec := ask("GET", host, "/x", from); rec.Code != 200 || rec.Body.String() != "fn /x " {
				t.Errorf("%s from %s: %d %q", host, from, rec.Code, rec.Body)
			}
		}
		for _, header := range []string{"X-Forwarded-For", "Forwarded"} {
			if rec := ask("GET", host, "/x", "127.0.0.1:99", header, "for=198.51.100.7"); rec.Code != 404 {
				t.Errorf("%s through a proxy: %d %q", host, rec.Code, rec.Body)
			}
		}
	}
	if rec := ask("POST", "post.default.svc.cluster.local", "/in/x", "127.0.0.1:1"); rec.Code != 200 {
		t.Errorf("POST inside: %d", rec.Code)
	}
	if rec := ask("GET", "post.default.svc.cluster.local", "/in/x", "127.0.0.1:1"); rec.Code != 405 {
		t.Errorf("GET inside: %d", rec.Code)
	}

	for host, want := range map[string]int{"secure.test": 301, "secure.default.svc.cluster.local": 200} {
		if rec := ask("GET", host, "/x", "127.0.0.1:1"); rec.Code != want {
			t.Errorf("%s, which is for TLS: %d", host, rec.Code)
		}
	}

	// From outside nothing differs from a host nobody has, with or without a
	// route for all hosts.
	same := func(what string) {
		t.Helper()
		for _, from := range []string{outside, "10.200.0.14:5", "", "@", "[2001:db8::1]:5"} {
			for _, method := range []string{"GET", "POST", "OPTIONS", "HEAD"} {
				for _, host := range append(local, "post.default.svc.cluster.local", "hidden.default.svc.cluster.local") {
					path, nobody := "/in/x", "none.nobody.svc.cluster.local"
					got := ask(method, host, path, from, "Origin", "http://a.test", "Access-Control-Request-Method", "POST")
					want := ask(method, nobody, path, from, "Origin", "http://a.test", "Access-Control-Request-Method", "POST")
					plain := strings.TrimSuffix(strings.ToLower(strings.TrimSuffix(host, ":80")), ".")
					text := strings.ReplaceAll(got.Body.String(), plain, nobody)
					if got.Code != want.Code || text != want.Body.String() || fmt.Sprint(got.Header()) != fmt.Sprint(want.Header()) {
						t.Fatalf("%s: %s %s from %q: %d %v %q, for nobody's host %d %v %q", what, method, host, from, got.Code, got.Header(), got.Body, want.Code, want.Header(), want.Body)
					}
				}
			}
		}
	}
	same("without a route for all hosts")
	if rec := ask("GET", "svc.default.svc.cluster.local", "/", outside); rec.Code != 404 || rec.Header().Get("X-Hearth-Error") != string(api.CodeNoRoute) {
		t.Errorf("from outside: %d %q", rec.Code, rec.Body)
	}
	if rec := ask("GET", "open.test", "/", outside); rec.Code != 200 {
		t.Errorf("an open host: %d", rec.Code)
	}
	w.route("all", api.RouteSpec{Prefix: "/in", Targets: []api.RouteTarget{{Function: "fn"}}})
	same("with a route for all hosts")
	if rec := ask("GET", "svc.default.svc.cluster.local", "/in/x", outside); rec.Body.String() != "fn /x /in" {
		t.Errorf("the route for all hosts: %d %q", rec.Code, rec.Body)
	}
}

// TestInsideCost: who calls is found out without memory.
func TestInsideCost(t *testing.T) {
	g := gateway.New(gateway.Config{Tenant: func(netip.Addr) string { return "" }})
	for from, want := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "198.51.100.7:1": false, "[2001:db8::1]:1": false} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = from
		if n := testing.AllocsPerRun(100, func() {
			if g.Inside(r) != want {
				t.Error(from)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", from, n)
		}
	}
}

// TestNear: at the address that instances call, short names are complete.
func TestNear(t *testing.T) {
	w := newWorldServed(t, gateway.Config{Tenant: func(netip.Addr) string { return "default" }}, func(ctx context.Context, g *gateway.Gateway, l net.Listener) error {
		return g.ServeNear(ctx, l)
	})
	inner(w)
	w.route("all", api.RouteSpec{Prefix: "/all", Targets: []api.RouteTarget{{Function: "fn"}}})
	for host, want := range map[string]int{
		"svc": 200, "svc.default": 200, "svc.default.svc": 200, "svc.default.svc.cluster.local": 200, "t-svc": 200, "fn": 200, "fn.default:80": 200,
		"open.test": 200, "fn.localhost": 200, "hidden": 404, "hidden.default": 404, "svc.other": 404, "svc.other.svc.cluster.local": 404, "svc.default.svc.cluster": 404, "none": 404, "fn.a.b": 404,
	} {
		if status, body, _ := w.at("GET", host, "/x"); status != want || status == 200 && body != "fn /x " {
			t.Errorf("%s: %d %q", host, status, body)
		}
	}
	// Longer bodies and other protocols go another way through the servers.
	r := w.request("POST", "/x", strings.NewReader(strings.Repeat("x", 1<<20)))
	r.Host = "svc"
	if res, body := w.do(r); res.StatusCode != 200 {
		t.Errorf("a long body: %d %s", res.StatusCode, body)
	}
	h2c := &http.Transport{Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	defer h2c.CloseIdleConnections()
	r = w.request("GET", "/x", nil)
	r.Host = "svc"
	res, err := h2c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	if res.Body.Close(); res.StatusCode != 200 || res.ProtoMajor != 2 {
		t.Errorf("HTTP/2: %s %d", res.Proto, res.StatusCode)
	}
}

func TestResolves(t *testing.T) {
	w := newWorld(t)
	if w.g.Resolves("fn.default.svc.cluster.local") {
		t.Error("an empty table knows a name")
	}
	inner(w)
	for name, want := range map[string]bool{
		"svc.default.svc.cluster.local": true, "t-svc.default.svc.cluster.local": true, "fn.default.svc.cluster.local": true, "x.wild.default.svc.cluster.local": true, "svc.other.svc.cluster.local": false,
		"hidden.default.svc.cluster.local": false, "fn.svc.cluster.local": false, "default.svc.cluster.local": false, "svc.default.svc": false,
		"open.test": false, "x.fn.default.svc.cluster.local": false, ".svc.cluster.local": false, "fn/x.default.svc.cluster.local": false, "": false,
	} {
		if got := w.g.Resolves(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { w.g.Resolves("svc.default.svc.cluster.local") }); n > 0 {
		t.Errorf("a look-up allocates %v times", n)
	}
}
