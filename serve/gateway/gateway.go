package gateway

import (
	"errors"
	"log/slog"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/gateway/relay"
	"github.com/hearth-run/hearth/serve/gateway/table"
)

var errWatchEnded = errors.New("the watch ended")

// Gateway answers HTTP requests with functions. It is an http.Handler; Serve is
// a server with the limits a public one needs. All methods are safe for
// concurrent use.
type Gateway struct {
	c     Config
	log   *slog.Logger
	snap  atomic.Pointer[snapshot]
	ready chan struct{}
	once  sync.Once
	pool  sync.Pool // *call
	links links
	m     metrics

	relay   *relay.Relay
	mirrors mirrors
	certs   certs
	acme    *autocert.Manager // nil: certificates are not got
	proofs  http.Handler      // what acme answers its authority
	seen    sync.Map          // namespace/name of a revision → *observed

	applied progress
	asking  chan struct{} // bounds catchUp
}

// New makes a gateway. It answers 503 until Follow has read the store once.
func New(c Config) *Gateway {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{c: c, log: c.Log, ready: make(chan struct{}), asking: make(chan struct{}, 4), relay: relay.New()}
	g.pool.New = func() any { return &call{} }
	g.m.init(c.MaxSeries)
	g.mirrors.init()
	g.certs.init()
	if g.acme = g.newACME(c.ACME); g.acme != nil {
		g.proofs = g.acme.HTTPHandler(nil)
	}
	return g
}

// Ready is closed when the routing table was built for the first time.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// Close ends the kept connections to instances, and those that have changed
// their protocol, whose calls it writes down. Other calls in progress fail.
func (g *Gateway) Close() error {
	g.mirrors.close()
	g.relay.Close()
	g.links.close()
	return nil
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) { g.handle(w, r, false) }

// handle answers a call; near says that only an instance can have made it.
func (g *Gateway) handle(w http.ResponseWriter, r *http.Request, near bool) {
	c := g.begin(w, r)
	defer g.end(c)
	c.near = near
	if r.Method == http.MethodConnect {
		c.failWith(http.StatusNotImplemented, &api.Error{Code: api.CodeUnsupported, Message: "this is no forward proxy", Hint: "send the request to a function or route"})
		return
	}
	uri := r.RequestURI
	if uri == "" || uri[0] != '/' {
		uri = r.URL.RequestURI()
	}
	path, _, _ := strings.Cut(uri, "?")
	if g.acme != nil && strings.HasPrefix(path, challengePath) {
		if _, ok := g.certs.of(host(r.Host)); ok {
			g.proofs.ServeHTTP(w, r)
			return
		}
	}
	snap := g.snap.Load()
	if snap == nil {
		c.fail(&api.Error{Code: api.CodeNotReady, Message: "the gateway is starting", Hint: "try again in a moment", RetryAfter: time.Second})
		return
	}
	method, preflight := r.Method, false
	if method == http.MethodOptions && r.Header["Origin"] != nil {
		if m := r.Header.Get("Access-Control-Request-Method"); m != "" {
			method, preflight = m, true
		}
	}
	found := c.find(snap, path, method)
	if !found {
		g.catchUp(r.Context())
		snap = g.snap.Load()
		found = c.find(snap, path, method)
	}
	if preflight && found && c.match.Entry.Value.cors != nil {
		c.status = http.StatusNoContent
		c.target = c.match.Entry.Value
		c.target.cors.preflight(w, r, c.match.Entry.Spec.Methods)
		return
	}
	if preflight && (!found || len(c.match.Entry.Spec.Methods) > 0) {
		found = c.find(snap, path, r.Method)
	}
	if !found {
		c.notFound(snap, path)
		return
	}
	c.route(uri)
	g.answer(c)
}

// Invoke answers r with a function, whatever its visibility, for a caller who
// was authenticated by someone else: the headers Authorization and Cookie, which
// were for him, do not reach the function. path is what the function sees; the
// query is r's.
func (g *Gateway) Invoke(w http.ResponseWriter, r *http.Request, namespace, name, path string) {
	c := g.begin(w, r)
	defer g.end(c)
	c.invoked = true
	at, snap := "/~"+namespace+"/"+name, g.snap.Load()
	if snap != nil && !snap.paths.Find("", at, r.Method, &c.match) {
		g.catchUp(r.Context())
		snap = g.snap.Load()
	}
	if snap == nil || !snap.paths.Find("", at, r.Method, &c.match) {
		c.fail(api.Errorf(api.CodeNotFound, "there is no function %q in namespace %q", name, namespace))
		return
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	if q := r.URL.RawQuery; q != "" {
		path += "?" + q
	}
	c.target, c.path = c.match.Entry.Value, path
	g.answer(c)
}

// route takes what the table found and makes the path the function sees.
func (c *call) route(uri string) {
	e := c.match.Entry
	c.target, c.path = e.Value, uri
	if c.target.keep || c.match.Cut == 0 {
		return
	}
	c.prefix = uri[:c.match.Cut]
	if c.path = uri[c.match.Cut:]; c.path == "" || c.path[0] != '/' {
		c.path = "/" + c.path
	}
}

func (c *call) notFound(snap *snapshot, path string) {
	if allowed := snap.routes.Allowed(host(c.r.Host), path, c.inside()); len(allowed) > 0 {
		c.w.Header().Set("Allow", strings.Join(allowed, ", "))
		c.failWith(http.StatusMethodNotAllowed, &api.Error{
			Code: api.CodeNoRoute, Message: "no route answers " + clip(c.r.Method, 20) + " here; it answers " + strings.Join(allowed, ", "),
		})
		return
	}
	c.fail(&api.Error{Code: api.CodeNoRoute, Message: "no route and no function answers at " + clip(host(c.r.Host), 100) + clip(path, 200)})
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}

// host is h in lower case without port and closing dot.
func host(h string) string {
	if i := strings.LastIndexByte(h, ':'); i >= 0 && strings.IndexByte(h[i:], ']') < 0 {
		h = h[:i]
	}
	h = strings.TrimSuffix(h, ".")
	for i := range len(h) {
		if c := h[i]; c >= 'A' && c <= 'Z' {
			return strings.ToLower(h)
		}
	}
	return h
}

// canonical is the form net/http wants a header's name in.
func canonical(name string) string {
	switch name { // what nearly every answer has
	case "content-type":
		return "Content-Type"
	case "content-length":
		return "Content-Length"
	case "date":
		return "Date"
	case "connection":
		return "Connection"
	case "transfer-encoding":
		return "Transfer-Encoding"
	case "cache-control":
		return "Cache-Control"
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}

// vars yields the names and values of the path's variables.
func (c *call) vars(yield func(name, value string) bool) {
	e := c.match.Entry
	if e == nil {
		return
	}
	for i, n := range e.Names() {
		if !yield(n, c.match.Vars[i]) {
			return
		}
	}
}

var _ http.Handler = (*Gateway)(nil)

type match = table.Match[*target]
