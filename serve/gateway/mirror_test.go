package gateway_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
)

func TestMirror(t *testing.T) {
	w := newWorld(t)
	type copied struct{ method, uri, host, body, id, mark, rule string }
	got := make(chan copied, 1000)
	hold := make(chan struct{})
	w.revision("m-1", "m", api.RevisionSpec{Concurrency: 1000}, always(peer(t, api.ProtocolHTTP, func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- copied{r.Method, r.RequestURI, r.Host, string(b), r.Header.Get("X-Request-Id"), r.Header.Get("X-Hearth-Mirror"), r.Header.Get("X-Rule")}
		<-hold // a mirror that never answers slows nobody
		rw.WriteHeader(500)
	})))
	defer close(hold)
	w.function("f", api.RevisionSpec{Concurrency: 100}, always(peer(t, api.ProtocolHTTP, func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(rw, n)
	})))
	w.route("r", api.RouteSpec{Host: "r.test", Prefix: "/p", Targets: []api.RouteTarget{{Function: "f"}}, Mirror: &api.Mirror{Revision: "m-1"}, RequestHeaders: &api.HeaderRules{Set: map[string]string{"x-rule": "set"}}})
	for _, size := range []int{0, 10, 200_000} {
		body := strings.Repeat("y", size)
		for _, known := range []bool{true, false} {
			var in io.Reader = strings.NewReader(body)
			if !known {
				in = io.MultiReader(in)
			}
			rq := w.request("POST", "/p/q?x=1", in)
			rq.Host = "r.test"
			r, answer := w.do(rq)
			if r.StatusCode != 200 || answer != fmt.Sprint(size) {
				t.Fatalf("%d %s", r.StatusCode, answer)
			}
			if c := receive(t, got); c.method != "POST" || c.uri != "/q?x=1" || c.host != "r.test" || c.body != body || c.id != r.Header.Get("X-Request-Id") || c.mark != "true" || c.rule != "set" {
				c.body = fmt.Sprint(len(c.body))
				t.Errorf("%d bytes: %+v", size, c)
			}
		}
	}
	// Too large to be kept, and then exactly the share that was asked for.
	rq := w.request("POST", "/p/large", io.MultiReader(strings.NewReader(strings.Repeat("z", 2<<20))))
	rq.Host = "r.test"
	if r, answer := w.do(rq); r.StatusCode != 200 || answer != fmt.Sprint(2<<20) {
		t.Errorf("%d %s", r.StatusCode, answer)
	}
	w.route("s", api.RouteSpec{Host: "s.test", Prefix: "/", Targets: []api.RouteTarget{{Function: "f"}}, Mirror: &api.Mirror{Revision: "m-1", Percent: weight(17)}})
	for range 200 {
		if status, _, _ := w.at("GET", "s.test", "/"); status != 200 {
			t.Fatal(status)
		}
	}
	for range 34 {
		if c := receive(t, got); c.uri != "/" {
			t.Errorf("%+v", c)
		}
	}
	select {
	case c := <-got:
		t.Errorf("one too many: %s %s", c.method, c.uri)
	default:
	}
}
