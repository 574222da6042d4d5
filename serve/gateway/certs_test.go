package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/serve/gateway"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
	n    int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

// sign makes a certificate of a public key.
func (a *authority) sign(name string, key any, hosts ...string) []byte {
	a.n++
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(a.n + 1), Subject: pkix.Name{CommonName: name}, DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(90 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (a *authority) secret(name string, hosts ...string) api.Secret {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, _ := x509.MarshalECPrivateKey(key)
	return api.Secret{Type: api.SecretTypeTLS, Data: map[string][]byte{
		api.SecretTLSCert: a.sign(name, &key.PublicKey, hosts...), api.SecretTLSKey: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	}}
}

// secure serves w's gateway over TLS besides and returns where.
func (w *world) secure(base *tls.Config) string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := w.g.Serve(ctx, l, w.g.TLS(base)); err != nil {
			w.t.Error(err)
		}
	}()
	w.t.Cleanup(func() { cancel(); <-ended })
	return l.Addr().String()
}

// served is the common name of the certificate a host gets.
func (a *authority) served(addr, host string) string {
	nc, err := tls.Dial("tcp", addr, &tls.Config{ServerName: host, RootCAs: a.pool, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return err.Error()
	}
	defer nc.Close()
	return nc.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestCertificates(t *testing.T) {
	w, a := newWorld(t), newAuthority(t)
	w.versions(1)
	w.traffic("f-1")
	addr := w.secure(nil)
	targets := []api.RouteTarget{{Function: "f"}}
	put := func(ns, name string, age int, s api.RouteSpec) {
		t.Helper()
		s.Prefix, s.Targets = "/", targets
		b, _ := json.Marshal(api.Route{Metadata: api.Meta{Name: name, Namespace: ns, CreationTimestamp: api.NewTime(time.Unix(int64(10_000-age), 0))}, Spec: s})
		if _, err := w.store.Apply(t.Context(), store.Key{Resource: api.Routes, Namespace: ns, Name: name}, b, store.New); err != nil {
			t.Fatal(err)
		}
	}
	w.put(api.Secrets, "shop-tls", a.secret("first", "shop.test", "www.shop.test"))
	put("default", "shop", 9, api.RouteSpec{Hosts: []string{"shop.test", "www.shop.test"}, TLS: &api.RouteTLS{Secret: "shop-tls", Redirect: true}})
	put("default", "wild", 9, api.RouteSpec{Host: "*.wild.test", TLS: &api.RouteTLS{Secret: "wild-tls"}})
	put("thief", "shop", 1, api.RouteSpec{Host: "shop.test", TLS: &api.RouteTLS{Secret: "shop-tls"}})
	w.wait("")
	for host, want := range map[string]string{"shop.test": "first", "WWW.shop.test": "first", "a.wild.test": "unrecognized name", "other.test": "unrecognized name"} {
		if got := a.served(addr, host); !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	w.put(api.Secrets, "shop-tls", a.secret("second", "shop.test"))
	w.put(api.Secrets, "wild-tls", a.secret("wild", "*.wild.test"))
	w.wait("")
	for host, want := range map[string]string{"shop.test": "second", "a.wild.test": "wild"} {
		if got := a.served(addr, host); got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
	// A call over it is not sent on, one without is.
	c := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		TLSClientConfig: &tls.Config{RootCAs: a.pool}, ForceAttemptHTTP2: true,
	}}
	defer c.CloseIdleConnections()
	r, err := c.Get("https://shop.test/x")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(r.Body)
	r.Body.Close()
	if r.StatusCode != 200 || string(b) != "f-1" || r.ProtoMajor != 2 {
		t.Errorf("%d %s %s", r.StatusCode, r.Proto, b)
	}
	rec := httptest.NewRecorder()
	if w.g.ServeHTTP(rec, httptest.NewRequest("GET", "http://shop.test/x", nil)); rec.Code != 301 || rec.Header().Get("Location") != "https://shop.test/x" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
	k := store.Key{Resource: api.Secrets, Namespace: "default", Name: "shop-tls"}
	s, err := w.store.Get(t.Context(), k)
	if err == nil {
		_, err = w.store.Delete(t.Context(), k, s.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.wait("")
	if got := a.served(addr, "shop.test"); !strings.Contains(got, "unrecognized name") {
		t.Errorf("without its Secret: %s", got)
	}
}

// acmeServer is as much of a certificate authority as it takes: one order at a
// time, whose host must prove itself over HTTP at the gateway.
type acmeServer struct {
	*authority
	mu      sync.Mutex
	base    string
	gateway string
	host    string
	proven  bool
	chain   []byte
	orders  int
}

func (s *acmeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Replay-Nonce", fmt.Sprint(time.Now().UnixNano()))
	var jws struct{ Payload string }
	json.NewDecoder(r.Body).Decode(&jws)
	payload, _ := base64.RawURLEncoding.DecodeString(jws.Payload)
	state := func(done bool) string {
		if done {
			return "valid"
		}
		return "pending"
	}
	order := func() map[string]any {
		o := map[string]any{
			"status": "pending", "identifiers": []any{map[string]string{"type": "dns", "value": s.host}},
			"authorizations": []string{s.base + "/authz"}, "finalize": s.base + "/finalize",
		}
		if s.proven {
			o["status"] = "ready"
		}
		if s.chain != nil {
			o["status"], o["certificate"] = "valid", s.base+"/cert"
		}
		return o
	}
	challenge := func() map[string]any {
		return map[string]any{"type": "http-01", "url": s.base + "/prove", "token": "tok", "status": state(s.proven)}
	}
	answer := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	switch r.URL.Path {
	case "/directory":
		answer(200, map[string]string{"newNonce": s.base + "/nonce", "newAccount": s.base + "/account", "newOrder": s.base + "/new", "revokeCert": s.base + "/revoke", "keyChange": s.base + "/key"})
	case "/nonce":
	case "/account":
		w.Header().Set("Location", s.base+"/account/1")
		answer(201, map[string]string{"status": "valid"})
	case "/new":
		var o struct{ Identifiers []struct{ Value string } }
		json.Unmarshal(payload, &o)
		s.host, s.proven, s.chain = o.Identifiers[0].Value, false, nil
		s.orders++
		w.Header().Set("Location", s.base+"/order")
		answer(201, order())
	case "/order":
		answer(200, order())
	case "/authz":
		answer(200, map[string]any{"status": state(s.proven), "identifier": map[string]string{"type": "dns", "value": s.host}, "challenges": []any{challenge()}})
	case "/prove":
		rq, _ := http.NewRequest("GET", "http://"+s.gateway+"/.well-known/acme-challenge/tok", nil)
		rq.Host = s.host
		res, err := http.DefaultClient.Do(rq)
		if err != nil {
			s.t.Error(err)
			return
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if s.proven = strings.HasPrefix(string(b), "tok."); !s.proven {
			s.t.Errorf("the proof is %d %s", res.StatusCode, b)
		}
		answer(200, challenge())
	case "/finalize":
		var f struct{ CSR string }
		json.Unmarshal(payload, &f)
		der, _ := base64.RawURLEncoding.DecodeString(f.CSR)
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil {
			s.t.Error(err)
			return
		}
		s.chain = s.sign("acme "+s.host, csr.PublicKey, csr.DNSNames...)
		answer(200, order())
	case "/cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(s.chain)
	default:
		s.t.Errorf("asked for %s", r.URL.Path)
	}
}

// TestACME gets a certificate with the first handshake and keeps it in the
// store, where the next gateway finds it.
func TestACME(t *testing.T) {
	ca := &acmeServer{authority: newAuthority(t)}
	authority := httptest.NewServer(ca)
	defer authority.Close()
	ca.base = authority.URL
	w := newWorldWith(t, gateway.Config{ACME: &gateway.ACME{Directory: authority.URL + "/directory", Email: "ops@example.com"}})
	ca.gateway = w.addr
	w.versions(1)
	w.traffic("f-1")
	w.route("r", api.RouteSpec{Host: "shop.test", Prefix: "/", Targets: []api.RouteTarget{{Function: "f"}}, TLS: &api.RouteTLS{ACME: true, Redirect: true}})
	addr := w.secure(nil)
	for range 2 {
		if got := ca.served(addr, "shop.test"); got != "acme shop.test" {
			t.Fatal(got)
		}
	}
	if got := ca.served(addr, "other.test"); !strings.Contains(got, "unrecognized name") {
		t.Errorf("a host of no route: %s", got)
	}
	l, err := w.store.List(t.Context(), store.Query{Resource: api.Secrets, Namespace: "hearth-system"})
	if err != nil || len(l.Records) < 2 {
		t.Errorf("%d secrets are kept, %v", len(l.Records), err)
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.orders != 1 {
		t.Errorf("%d orders", ca.orders)
	}
}
