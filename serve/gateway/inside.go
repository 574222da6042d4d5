package gateway

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// clusterSuffix ends the full names of what can be called from inside only.
const clusterSuffix = ".svc." + api.ClusterDomain

// near answers calls of instances, which came to an address nobody else has.
type near struct{ g *Gateway }

// ServeHTTP implements http.Handler.
func (n near) ServeHTTP(w http.ResponseWriter, r *http.Request) { n.g.handle(w, r, true) }

// inside tells whether c comes from this machine or one of its instances. A
// proxy's calls are its client's. It is asked only where the answer matters.
func (c *call) inside() bool {
	if c.near {
		return true
	}
	if c.r.Header["X-Forwarded-For"] != nil || c.r.Header["Forwarded"] != nil {
		return false
	}
	from, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil {
		return false
	}
	at := from.Addr().Unmap()
	return at.IsLoopback() || c.g.tenant(at) != ""
}

func (g *Gateway) tenant(at netip.Addr) string {
	if g.c.Tenant == nil {
		return ""
	}
	return g.c.Tenant(at)
}

// find looks up where c leads. Nobody from outside can tell a name that is for
// the inside from one that does not exist.
func (c *call) find(snap *snapshot, path, method string) bool {
	c.match.Inside = true
	if strings.HasPrefix(path, "/~") {
		return snap.paths.Find("", path, method, &c.match) && c.match.Entry.Value.choices[0].function.public.Load()
	}
	h := host(c.r.Host)
	if c.near || strings.HasSuffix(h, clusterSuffix) {
		if name, namespace := c.clusterName(h); name != "" && c.inside() {
			if full := name + "." + namespace + clusterSuffix; snap.routes.Has(full) {
				h = full
			} else if snap.public(name, namespace, method, &c.match) {
				return true
			}
		}
	}
	if !snap.routes.Find(h, path, method, &c.match) {
		return false
	}
	if c.match.Entry.Local && !c.inside() {
		c.match.Inside = false
		return snap.routes.Find(h, path, method, &c.match)
	}
	return true
}

// clusterName takes h apart where it is a name of the inside: NAME.NAMESPACE
// with the suffix or, for an instance, with less of it. NAME alone is in the
// caller's namespace.
func (c *call) clusterName(h string) (name, namespace string) {
	if full, ok := strings.CutSuffix(h, clusterSuffix); ok {
		h = full
	} else {
		h = strings.TrimSuffix(h, ".svc")
	}
	name, namespace, two := strings.Cut(h, ".")
	if !two && h != "" {
		if from, err := netip.ParseAddrPort(c.r.RemoteAddr); err == nil {
			namespace = c.g.tenant(from.Addr().Unmap())
		}
	}
	if namespace == "" || strings.ContainsAny(namespace, "./%") || strings.ContainsAny(name, "/%") {
		return "", ""
	}
	return name, namespace
}

// public finds a function by its name.
func (s *snapshot) public(name, namespace, method string, m *match) bool {
	if !s.paths.Find("", "/~"+namespace+"/"+name, method, m) || !m.Entry.Value.choices[0].function.public.Load() {
		return false
	}
	m.Cut = 0 // no part of the caller's path
	return true
}

// Resolves tells whether instances can call a host, a name as
// hello.default.svc.cluster.local in lower case: a route's or a public
// function's. It knows what calls know.
func (g *Gateway) Resolves(host string) bool {
	snap := g.snap.Load()
	bare, ok := strings.CutSuffix(host, clusterSuffix)
	if snap == nil || !ok {
		return false
	}
	if snap.routes.Has(host) {
		return true
	}
	name, namespace, two := strings.Cut(bare, ".")
	var m match
	return two && name != "" && namespace != "" && !strings.ContainsAny(bare, "/%") && !strings.Contains(namespace, ".") &&
		snap.public(name, namespace, http.MethodGet, &m)
}
