package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/serve/gateway"
)

func say(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", s, r.RequestURI, r.Header.Get("X-Forwarded-Prefix"))
	}
}

func (w *world) route(name string, s api.RouteSpec) {
	w.put(api.Routes, name, api.Route{Metadata: api.Meta{Name: name, Namespace: "default"}, Spec: s})
	w.wait("")
}

func (w *world) at(method, host, path string) (int, string, http.Header) {
	w.t.Helper()
	rq := w.request(method, path, nil)
	rq.Host = host
	r, b := w.do(rq)
	return r.StatusCode, b, r.Header
}

func weight(n int) *int { return &n }

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	w.function("a", api.RevisionSpec{}, always(peer(t, api.ProtocolHearth, say("a"))))
	w.put(api.Revisions, "p-1", api.Revision{Metadata: api.Meta{Name: "p-1", Namespace: "default"}, Spec: api.RevisionSpec{Function: "p"}})
	w.waker.by["p-1"] = always(peer(t, api.ProtocolHearth, say("p")))
	w.put(api.Functions, "p", api.Function{Spec: api.FunctionSpec{Visibility: "private"}, Status: api.FunctionStatus{LatestReadyRevision: "p-1"}})
	w.put(api.Functions, "new", api.Function{})
	one := []api.RouteTarget{{Function: "a"}}
	w.route("r", api.RouteSpec{Host: "x.test", Prefix: "/v1/{id}", Methods: []string{"GET"}, Targets: one})
	w.route("k", api.RouteSpec{Host: "x.test", Prefix: "/keep", KeepPrefix: true, Targets: one})
	w.route("p", api.RouteSpec{Host: "x.test", Path: "/p", Targets: []api.RouteTarget{{Function: "p"}}})
	w.route("rev", api.RouteSpec{Host: "x.test", Path: "/rev", Targets: []api.RouteTarget{{Revision: "p-1"}}})
	w.route("none", api.RouteSpec{Host: "x.test", Path: "/none", Targets: []api.RouteTarget{{Function: "missing"}}})
	for _, tc := range []struct {
		method, host, path string
		status             int
		want               string
	}{
		{"GET", "a.localhost", "/x?q=1", 200, "a /x?q=1 "},
		{"GET", "A.Localhost:8080", "/", 200, "a / "},
		{"GET", "a.default.localhost", "/", 200, "a / "},
		{"GET", "any.test", "/~default/a/x?q", 200, "a /x?q /~default/a"},
		{"GET", "any.test", "/~default/a", 200, "a / /~default/a"},
		{"GET", "any.test", "/~default/a?q", 200, "a /?q /~default/a"},
		{"GET", "any.test", "/~default/ab", 404, "no_route"},
		{"GET", "p.localhost", "/", 404, "no_route"},
		{"GET", "any.test", "/~default/p/", 404, "no_route"},
		{"GET", "x.test", "/p", 200, "p /p "},
		{"GET", "x.test", "/rev", 200, "p /rev "},
		{"GET", "x.test", "/v1/7/more", 200, "a /more /v1/7"},
		{"HEAD", "x.test", "/v1/7/more", 200, ""},
		{"POST", "x.test", "/v1/7/more", 405, "no_route"},
		{"GET", "x.test", "/keep/on", 200, "a /keep/on "},
		{"GET", "x.test", "/none", 503, "not_ready"},
		{"GET", "new.localhost", "/", 503, "not_ready"},
		{"GET", "nobody.localhost", "/", 404, "no_route"},
	} {
		status, body, h := w.at(tc.method, tc.host, tc.path)
		if status != tc.status || status == 200 && body != tc.want || status != 200 && h.Get("X-Hearth-Error") != tc.want {
			t.Errorf("%s %s%s: %d %q, want %d %q", tc.method, tc.host, tc.path, status, body, tc.status, tc.want)
		}
		if status == 405 && h.Get("Allow") != "GET, HEAD" {
			t.Errorf("Allow: %q", h.Get("Allow"))
		}
		if status == 503 && h.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}

	rec := httptest.NewRecorder()
	rq := httptest.NewRequest("GET", "/?q=1", nil)
	rq.Header.Set("Authorization", "Bearer x")
	w.g.Invoke(rec, rq, "default", "p", "/in")
	if rec.Code != 200 || rec.Body.String() != "p /in?q=1 " {
		t.Errorf("invoke: %d %q", rec.Code, rec.Body)
	}
	rec = httptest.NewRecorder()
	w.g.Invoke(rec, rq, "default", "missing", "/in")
	if rec.Code != 404 {
		t.Errorf("invoke of a missing function: %d", rec.Code)
	}
}

func TestPathVariables(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s", r.Header.Get("X-Hearth-Params-id"), r.Header.Get("X-Hearth-Params-rest"))
	}, func(t *testing.T, w *world) {
		w.route("r", api.RouteSpec{Host: "x.test", Path: "/u/{id}/f/{rest...}", Targets: []api.RouteTarget{{Function: "f"}}})
		if _, got, _ := w.at("GET", "x.test", "/u/a%20b/f/c/d"); got != "a b|c/d" {
			t.Errorf("got %q", got)
		}
		if _, got, _ := w.at("GET", "x.test", "/u/a%0d%0aX-Evil:1/f/"); got != "a%0D%0AX-Evil:1|" {
			t.Errorf("got %q", got)
		}
	})
}

func TestWeightsAreExact(t *testing.T) {
	w := newWorld(t)
	for _, n := range []string{"a", "b", "c"} {
		w.function(n, api.RevisionSpec{}, always(peer(t, api.ProtocolHearth, func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, n) })))
	}
	w.route("r", api.RouteSpec{Host: "w.test", Path: "/", Targets: []api.RouteTarget{{Function: "a", Weight: weight(60)}, {Function: "b", Weight: weight(30)}, {Function: "c", Weight: weight(10)}}})
	for range 3 { // of every ten in a row
		got := map[string]int{}
		for range 10 {
			_, b, _ := w.at("GET", "w.test", "/")
			got[b]++
		}
		if got["a"] != 6 || got["b"] != 3 || got["c"] != 1 {
			t.Errorf("shares %v, want 6, 3, 1", got)
		}
	}
}

func TestErrorsForPeopleAndPrograms(t *testing.T) {
	w := newWorld(t)
	var fail atomic.Pointer[api.Error]
	w.function("f", api.RevisionSpec{}, func() (engine.Instance, error) { return nil, fail.Load() })
	for _, tc := range []struct {
		err    *api.Error
		status int
		retry  string
	}{
		{&api.Error{Code: api.CodeQueueFull, Message: "the queue is full", RetryAfter: 1500 * time.Millisecond}, 429, "2"},
		{&api.Error{Code: api.CodeQueueTimeout, Message: "waited too long"}, 503, "1"},
		{&api.Error{Code: api.CodeLoadFailed, Message: "secret place", Detail: "Traceback secret"}, 502, ""},
		{&api.Error{Code: api.CodeStartFailed, Message: "secret path", RetryAfter: time.Second, Cause: errors.New("secret")}, 503, "1"},
	} {
		fail.Store(tc.err)
		r, body := w.do(w.request("GET", "/", nil))
		var got struct {
			Error     struct{ Code, Message, Hint string }
			RequestID string
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%v: %q", err, body)
		}
		if r.StatusCode != tc.status || r.Header.Get("Retry-After") != tc.retry || got.Error.Code != string(tc.err.Code) || got.Error.Hint == "" || got.Error.Message == "" ||
			got.RequestID != r.Header.Get("X-Request-Id") || r.Header.Get("X-Hearth-Error") != string(tc.err.Code) {
			t.Errorf("%d %v %s", r.StatusCode, r.Header, body)
		}
		if strings.Contains(body, "secret") {
			t.Errorf("shown to the public: %s", body)
		}
		rq := w.request("GET", "/", nil)
		rq.Header.Set("Accept", "text/html")
		if r, body := w.do(rq); !strings.HasPrefix(r.Header.Get("Content-Type"), "text/plain") || strings.HasPrefix(body, "{") {
			t.Errorf("text: %s %q", r.Header.Get("Content-Type"), body)
		}
	}
}

func TestCORS(t *testing.T) {
	w := newWorld(t)
	w.function("f", api.RevisionSpec{}, always(peer(t, api.ProtocolHearth, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Access-Control-Allow-Origin", "the function's own")
		io.WriteString(rw, r.Method)
	})))
	w.route("r", api.RouteSpec{Host: "x.test", Path: "/", Methods: []string{"PUT"}, Targets: []api.RouteTarget{{Function: "f"}},
		CORS: &api.CORS{AllowOrigins: []string{"https://ok.test"}, AllowCredentials: true, ExposeHeaders: []string{"X-A"}, MaxAge: api.Seconds(60)}})
	ask := func(method, origin, want string) *http.Response {
		rq := w.request(method, "/", nil)
		rq.Host = "x.test"
		rq.Header.Set("Origin", origin)
		if want != "" {
			rq.Header.Set("Access-Control-Request-Method", want)
		}
		r, _ := w.do(rq)
		return r
	}
	r := ask("OPTIONS", "https://ok.test", "PUT")
	h := r.Header
	if r.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != "https://ok.test" || h.Get("Access-Control-Allow-Methods") != "PUT" || h.Get("Access-Control-Max-Age") != "60" || h.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("preflight: %d %v", r.StatusCode, h)
	}
	if h := ask("OPTIONS", "https://evil.test", "PUT").Header; h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a foreign origin was allowed: %v", h)
	}
	if r := ask("PUT", "https://ok.test", ""); r.StatusCode != 200 || len(r.Header["Access-Control-Allow-Origin"]) != 1 || r.Header.Get("Access-Control-Allow-Origin") != "https://ok.test" || r.Header.Get("Access-Control-Expose-Headers") != "X-A" {
		t.Errorf("call: %v", r.Header)
	}
	if r := ask("PUT", "https://evil.test", ""); r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a foreign call: %v", r.Header)
	}
	if r := ask("OPTIONS", "https://ok.test", "DELETE"); r.StatusCode != 405 {
		t.Errorf("preflight of a method without route: %d", r.StatusCode)
	}
}

// Only calls that may be repeated are, and only once.
func TestRetries(t *testing.T) {
	for _, p := range []string{api.ProtocolHearth, api.ProtocolHTTP} {
		t.Run(p, func(t *testing.T) {
			w := newWorld(t)
			var dying, calls atomic.Int64
			dead := peer(t, p, say("dead"))
			dead.stop()
			live := peer(t, p, say("live"))
			w.function("f", api.RevisionSpec{}, func() (engine.Instance, error) {
				calls.Add(1)
				if dying.Add(-1) >= 0 {
					return dead, nil
				}
				return live, nil
			})
			for _, tc := range []struct {
				method, body string
				dying        int64
				status       int
				calls        int64
			}{
				{"GET", "", 1, 200, 2},
				{"GET", "", 2, 502, 2},
				{"DELETE", "", 1, 200, 2},
				{"POST", "", 1, 502, 1},
				{"PUT", "body", 1, 502, 1},
			} {
				dying.Store(tc.dying)
				calls.Store(0)
				broken := w.waker.broken.Load()
				var in io.Reader
				if tc.body != "" {
					in = strings.NewReader(tc.body)
				}
				r, b := w.do(w.request(tc.method, "/", in))
				if r.StatusCode != tc.status || calls.Load() != tc.calls {
					t.Errorf("%s with %d dead: %d %q after %d tries, want %d after %d", tc.method, tc.dying, r.StatusCode, b, calls.Load(), tc.status, tc.calls)
				}
				if got := w.waker.broken.Load() - broken; got != min(tc.dying, tc.calls) {
					t.Errorf("%s: %d leases released as broken, want %d", tc.method, got, tc.dying)
				}
			}
		})
	}
}

func TestTwoLengthsAreRefused(t *testing.T) {
	both(t, api.RevisionSpec{}, say("f"), func(t *testing.T, w *world) {
		const get = "GET / HTTP/1.1\r\nHost: f.localhost\r\n\r\n"
		for name, text := range map[string]string{
			"both":            "POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"both, turned":    "POST / HTTP/1.1\r\nHost: f.localhost\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
			"two":             "POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
			"list":            "POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 4, 5\r\n\r\nbody",
			"space":           "POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length : 4\r\n\r\nbody",
			"no host":         "GET / HTTP/1.1\r\n\r\n",
			"after a body":    "POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 4\r\n\r\nbodyPOST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"after chunks":    "POST / HTTP/1.1\r\nHost: f.localhost\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nT: 1\r\n\r\nPOST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"unknown coding":  "POST / HTTP/1.1\r\nHost: f.localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
			"after a request": get + "POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		} {
			_, br := w.raw(text)
			all, _ := io.ReadAll(br)
			last := string(all)
			if i := strings.LastIndex(last, "HTTP/1.1 "); i >= 0 {
				last = last[i:]
			}
			if status := last[:min(12, len(last))]; status != "HTTP/1.1 400" && status != "HTTP/1.1 501" {
				t.Errorf("%s: %.100q", name, all)
			}
		}
	})
}

// A program that answers with two lengths is not believed.
func TestMalformedAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"both":        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two":         "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"folded":      "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
		"space":       "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
		"status":      "HTTP/1.1 20 OK\r\n\r\n",
		"not HTTP":    "SSH-2.0-OpenSSH\r\n\r\n",
		"minus":       "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"coding":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"long header": "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", 70_000) + "\r\n\r\n",
		"unasked 101": "HTTP/1.1 101 OK\r\nUpgrade: x\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l, err := net.Listen("unix", t.TempDir()+"/s")
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for {
					nc, err := l.Accept()
					if err != nil {
						return
					}
					http.ReadRequest(bufioReader(nc))
					io.WriteString(nc, answer)
					nc.Close()
				}
			}()
			in := &instance{id: "raw" + name, protocol: api.ProtocolHTTP, socket: l.Addr().String(), done: make(chan struct{})}
			t.Cleanup(func() { l.Close(); <-ended; close(in.done) })
			w.function("f", api.RevisionSpec{}, always(in))
			if r, b := w.do(w.request("POST", "/", nil)); r.StatusCode != 502 || r.Header.Get("X-Hearth-Error") != "instance_lost" {
				t.Errorf("%d %q", r.StatusCode, b)
			}
		})
	}
}

// A kept connection that the program has closed costs no call.
func TestStaleConnections(t *testing.T) {
	w := newWorld(t)
	in := peer(t, api.ProtocolHTTP, func(rw http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(rw)
		nc, buf, err := rc.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close() // although it promised to keep it
		buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		buf.Flush()
	})
	w.function("f", api.RevisionSpec{}, always(in))
	for i := range 50 {
		for _, m := range []string{"GET", "POST"} {
			if r, b := w.do(w.request(m, "/", nil)); m == "GET" && r.StatusCode != 200 {
				t.Fatalf("%s %d: %d %s", m, i, r.StatusCode, b)
			}
		}
	}
}

func TestSlowLorisIsClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the header timeout")
	}
	t.Parallel()
	w := newWorld(t)
	begin := time.Now()
	_, br := w.raw("GET / HTTP/1.1\r\nHost: f.localhost\r\nX-Slow: ")
	_, err := io.ReadAll(br)
	if took := time.Since(begin); took < 5*time.Second || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after %v: %v; want it closed after about 10 s", took, err)
	}
}

func TestHugeHeaderIsRefused(t *testing.T) {
	w := newWorld(t)
	_, br := w.raw("GET / HTTP/1.1\r\nHost: f.localhost\r\nX-Huge: " + strings.Repeat("x", 70<<10) + "\r\n\r\n")
	if line, _ := br.ReadString('\n'); !strings.Contains(line, " 431 ") {
		t.Errorf("answer %q", line)
	}
}

// The table is swapped under load without a call that fails.
func TestSwapUnderLoad(t *testing.T) {
	w := newWorld(t)
	a, b := peer(t, api.ProtocolHearth, say("a")), peer(t, api.ProtocolHTTP, say("b"))
	w.function("f", api.RevisionSpec{}, always(a))
	w.revision("f-2", "f", api.RevisionSpec{}, always(b))
	one := []api.RouteTarget{{Function: "f"}}
	w.route("r", api.RouteSpec{Host: "x.test", Prefix: "/", Targets: one})
	var stop atomic.Bool
	var wg sync.WaitGroup
	var n atomic.Int64
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				if status, body, _ := w.at("GET", "x.test", "/"); status != 200 {
					t.Errorf("%d %s", status, body)
					return
				}
				n.Add(1)
			}
		})
	}
	for i := range 100 {
		w.put(api.Functions, "f", api.Function{Status: api.FunctionStatus{LatestReadyRevision: fmt.Sprintf("f-%d", i%2+1)}})
		w.put(api.Routes, "r", api.Route{Spec: api.RouteSpec{Host: "x.test", Prefix: "/", Timeout: api.Seconds(10 + i), Targets: one}})
		w.put(api.Routes, fmt.Sprint("o", i), api.Route{Spec: api.RouteSpec{Host: fmt.Sprintf("o%d.test", i), Prefix: "/", Targets: one}})
	}
	w.wait("")
	stop.Store(true)
	wg.Wait()
	if n.Load() == 0 {
		t.Error("no call was made")
	}
	w.settled()
}

// failing is a store whose list and watch can be made to fail.
type failing struct {
	store.Store
	fail  atomic.Bool
	lists chan struct{} // holds one: a List since the last again
	end   chan error    // ends watches
}

// again ends the watch with err and returns when the store has been listed after it.
func (f *failing) again(t *testing.T, err error) {
	t.Helper()
	select {
	case <-f.lists:
	default:
	}
	select {
	case f.end <- err:
	case <-time.After(patience):
		t.Fatal("nobody watches the store")
	}
	receive(t, f.lists)
}

func (f *failing) List(ctx context.Context, q store.Query) (store.List, error) {
	select {
	case f.lists <- struct{}{}:
	default:
	}
	if f.fail.Load() {
		return store.List{}, errors.New("no store")
	}
	return f.Store.List(ctx, q)
}

func (f *failing) Watch(ctx context.Context, q store.Query, after int64) iter.Seq2[store.Event, error] {
	ctx, cancel := context.WithCancel(ctx)
	return func(yield func(store.Event, error) bool) {
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			select {
			case err := <-f.end:
				ended <- err
				cancel()
			case <-ctx.Done():
			}
		}()
		for e, err := range f.Store.Watch(ctx, q, after) {
			if !yield(e, err) {
				return
			}
		}
		select {
		case err := <-ended:
			yield(store.Event{}, err)
		default:
		}
	}
}

// While the store fails the last table serves; after CodeGone it is read anew,
// also what was deleted meanwhile.
func TestServesWhileTheStoreFails(t *testing.T) {
	w := &world{t: t, waker: &waker{by: map[string]func() (engine.Instance, error){}}, calls: &calls{}}
	w.store = memory.NewStore()
	f := &failing{Store: w.store, lists: make(chan struct{}, 1), end: make(chan error)}
	in := peer(t, api.ProtocolHearth, say("f"))
	w.revision("f-1", "f", api.RevisionSpec{}, always(in))
	w.put(api.Functions, "f", api.Function{Status: api.FunctionStatus{LatestReadyRevision: "f-1"}})
	w.put(api.Functions, "gone", api.Function{})
	w.g = gateway.New(gateway.Config{Store: f, Waker: w.waker})
	status := func(host string) int {
		rec := httptest.NewRecorder()
		rq := httptest.NewRequest("GET", "/", nil)
		rq.Host = host
		w.g.ServeHTTP(rec, rq)
		return rec.Code
	}
	if got := status("f.localhost"); got != 503 {
		t.Errorf("before the first sync: %d, want 503", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.g.Follow(ctx) })
	defer func() { cancel(); wg.Wait(); w.g.Close(); w.store.Close() }()
	<-w.g.Ready()
	f.fail.Store(true)
	f.again(t, errors.New("the store went away"))
	if got := status("f.localhost"); got != 200 {
		t.Errorf("while the store fails: %d, want 200", got)
	}
	if _, err := w.store.Delete(ctx, store.Key{Resource: api.Functions, Namespace: "default", Name: "gone"}, 3); err != nil {
		t.Fatal(err)
	}
	f.fail.Store(false)
	for late := time.Now().Add(patience); status("gone.localhost") != 404; {
		if time.Now().After(late) {
			t.Fatal("what was deleted while the store failed is still served")
		}
	}
	f.again(t, api.Errorf(api.CodeGone, "too old"))
	if got := status("f.localhost"); got != 200 {
		t.Errorf("after CodeGone: %d, want 200", got)
	}
}

func TestTLSAndHTTP2(t *testing.T) {
	s := memory.NewStore()
	w := &world{t: t, store: s, waker: &waker{by: map[string]func() (engine.Instance, error){}}, calls: &calls{}}
	w.revision("f-1", "f", api.RevisionSpec{}, always(peer(t, api.ProtocolHearth, func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, r.Header.Get("X-Forwarded-Proto")) })))
	w.put(api.Functions, "f", api.Function{Status: api.FunctionStatus{LatestReadyRevision: "f-1"}})
	w.g = gateway.New(gateway.Config{Store: s, Waker: w.waker})
	made := httptest.NewUnstartedServer(nil)
	made.StartTLS() // for its certificate
	config := &tls.Config{Certificates: made.TLS.Certificates}
	roots := made.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	made.Close()
	l, _ := net.Listen("tcp", "127.0.0.1:0")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.g.Follow(ctx) })
	wg.Go(func() { w.g.Serve(ctx, l, config) })
	<-w.g.Ready()
	for _, h2 := range []bool{false, true} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}, ForceAttemptHTTP2: h2}
		rq, _ := http.NewRequest("GET", "https://"+l.Addr().String()+"/", nil)
		rq.Host = "f.localhost"
		r, err := (&http.Client{Transport: tr}).Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		tr.CloseIdleConnections()
		if string(b) != "https" || (r.ProtoMajor == 2) != h2 {
			t.Errorf("%s %q", r.Proto, b)
		}
	}
	cancel()
	wg.Wait()
	w.g.Close()
	s.Close()
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.function("f", api.RevisionSpec{}, always(peer(t, api.ProtocolHearth, say("f"))))
	w.do(w.request("GET", "/", nil))
	receive(t, w.calls.c) // it is counted before it is recorded, and may be so after its client has heard of it
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(w.g.Collector()); err != nil {
		t.Fatal(err)
	}
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range all {
		for _, m := range f.Metric {
			if f.GetName() == "hearth_gateway_requests_total" && strings.Contains(m.String(), `value:"f"`) {
				found = m.GetCounter().GetValue() == 1
			}
		}
	}
	if !found {
		t.Errorf("no counter of f in %v", all)
	}
}
