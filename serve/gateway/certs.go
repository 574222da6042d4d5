package gateway

import (
	"cmp"
	"crypto/tls"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// certs are the certificates of routes' hosts, as the store has them now.
type certs struct {
	mu      sync.RWMutex
	hosts   map[string][]hostCert       // the oldest route first, whose host it is
	routes  map[string][]string         // hosts by route
	secrets map[string]*tls.Certificate // namespace/name; of type kubernetes.io/tls
}

// hostCert says where the certificate of a host comes from.
type hostCert struct {
	route   string
	created time.Time
	secret  string // namespace/name
	acme    bool
}

func (cs *certs) init() {
	cs.hosts, cs.routes, cs.secrets = map[string][]hostCert{}, map[string][]string{}, map[string]*tls.Certificate{}
}

// put notes what a route says of its hosts' certificates.
func (cs *certs) put(id, namespace string, created time.Time, spec *api.RouteSpec) {
	cs.drop(id)
	t := spec.TLS
	if t == nil || t.Secret == "" && !t.ACME {
		return
	}
	c := hostCert{route: id, created: created, acme: t.ACME}
	if t.Secret != "" {
		c.secret = namespace + "/" + t.Secret
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	hosts := api.RouteHosts(spec)
	for _, h := range slices.Clone(hosts) {
		for _, d := range spec.Targets {
			if h := tagHost(d.Tag, h); h != "" && d.Tag != "" {
				hosts = append(hosts, h)
			}
		}
	}
	for _, h := range hosts {
		list := append(slices.Clone(cs.hosts[h]), c)
		slices.SortFunc(list, func(a, b hostCert) int {
			return cmp.Or(a.created.Compare(b.created), strings.Compare(a.route, b.route))
		})
		cs.hosts[h] = list
		cs.routes[id] = append(cs.routes[id], h)
	}
}

// drop forgets a route.
func (cs *certs) drop(id string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, h := range cs.routes[id] {
		list := slices.DeleteFunc(slices.Clone(cs.hosts[h]), func(c hostCert) bool { return c.route == id })
		if cs.hosts[h] = list; len(list) == 0 {
			delete(cs.hosts, h)
		}
	}
	delete(cs.routes, id)
}

// see takes in a Secret, or that it is gone. One that holds no certificate that
// can be used counts as gone.
func (cs *certs) see(r store.Record, gone bool) error {
	name := r.Key.Namespace + "/" + r.Key.Name
	var cert *tls.Certificate
	var err error
	if !gone {
		cert, err = readCert(r.Value)
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cert == nil {
		delete(cs.secrets, name)
	} else {
		cs.secrets[name] = cert
	}
	return err
}

// readCert is the certificate in a stored Secret; nil when it is of another
// type.
func readCert(value []byte) (*tls.Certificate, error) {
	var s api.Secret
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, err
	}
	if s.Type != api.SecretTypeTLS {
		return nil, nil
	}
	c, err := tls.X509KeyPair(s.Data[api.SecretTLSCert], s.Data[api.SecretTLSKey])
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// retain forgets the Secrets that are not listed.
func (cs *certs) retain(listed map[store.Key]bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for name := range cs.secrets {
		k := store.Key{Resource: api.Secrets}
		if k.Namespace, k.Name, _ = strings.Cut(name, "/"); !listed[k] {
			delete(cs.secrets, name)
		}
	}
}

// of finds the certificate of a host, or that it comes by ACME.
func (cs *certs) of(host string) (c *tls.Certificate, acme bool) {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	list := cs.hosts[host]
	if i := strings.IndexByte(host, '.'); len(list) == 0 && i > 0 {
		list = cs.hosts["*"+host[i:]]
	}
	if len(list) == 0 {
		return nil, false
	}
	if list[0].acme {
		return nil, true
	}
	return cs.secrets[list[0].secret], false
}

// TLS is a configuration for Serve that finds the certificate of a route's host
// in its Secret, as it is at the time of each handshake, or gets it by ACME.
// Hosts without one are served base's; base may be nil.
func (g *Gateway) TLS(base *tls.Config) *tls.Config {
	c := &tls.Config{}
	if base != nil {
		c = base.Clone()
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	if g.acme != nil {
		c.NextProtos = append(c.NextProtos, "h2", "http/1.1", acme.ALPNProto)
	}
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := host(hello.ServerName)
		cert, byACME := g.certs.of(name)
		if cert == nil && !byACME && name != "" { // of a route that is ready only now?
			g.catchUp(hello.Context())
			cert, byACME = g.certs.of(name)
		}
		if byACME && g.acme != nil {
			return g.acme.GetCertificate(hello)
		}
		return cert, nil // nil: one of base's
	}
	return c
}
