package node_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

// TestSecurePort serves a route's host over TLS with the certificate of its
// Secret, beside the plain port.
func TestSecurePort(t *testing.T) {
	c := config(t)
	c.TLSAddr = "127.0.0.1:0"
	n, cl := up(t, c)
	deploy(t, cl, "f", "export default (e) => e.headers['x-forwarded-proto']")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"shop.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	private, _ := x509.MarshalECPrivateKey(key)
	apply := func(kind string, o any) {
		t.Helper()
		k, _ := api.FindKind(kind)
		b, _ := json.Marshal(o)
		if _, err := cl.Apply(t.Context(), k, "shop", b, client.WriteOptions{}); err != nil {
			t.Fatal(err, api.AsError(err).Fields)
		}
	}
	apply("secret", map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "shop"}, "type": api.SecretTypeTLS,
		"stringData": map[string]string{
			api.SecretTLSCert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
			api.SecretTLSKey:  string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})),
		},
	})
	apply("route", map[string]any{
		"apiVersion": api.GroupVersion, "kind": "Route", "metadata": map[string]any{"name": "shop"},
		"spec": map[string]any{"host": "shop.test", "prefix": "/", "targets": []any{map[string]string{"function": "f"}}, "tls": map[string]any{"secret": "shop", "redirect": true}},
	})
	routes, _ := api.FindKind("route")
	var r *api.Route
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for e, err := range cl.Watch(ctx, routes, client.ListOptions{Fields: "metadata.name=shop"}, "") {
		if r, err = client.As[api.Route](e.Object, err); err != nil {
			t.Fatal(err)
		}
		if r.Status.Conditions.Ready() {
			break
		}
	}
	if r == nil || !r.Status.Conditions.Ready() {
		t.Fatalf("the route does not become ready: %+v", r)
	}
	u, err := url.Parse(r.Status.URL)
	if err != nil || u.Scheme != "https" || u.Hostname() != "shop.test" {
		t.Fatalf("its address is %q", r.Status.URL)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	h := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "shop.test"}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer h.CloseIdleConnections()
	ask := func(address string) (*http.Response, string) {
		t.Helper()
		rq, _ := http.NewRequest("GET", address, nil)
		rq.Host = "shop.test"
		res, err := h.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res, string(b)
	}
	if res, b := ask("https://" + net.JoinHostPort("127.0.0.1", u.Port()) + "/"); res.StatusCode != 200 || b != "https" {
		t.Errorf("%d %s", res.StatusCode, b)
	}
	if s, err := url.Parse(n.SecureURL()); err != nil || s.Port() != u.Port() || s.Scheme != "https" {
		t.Errorf("the second port is %s", n.SecureURL())
	}
	if res, _ := ask(n.GatewayURL + "/x"); res.StatusCode != 301 || res.Header.Get("Location") != strings.TrimSuffix(r.Status.URL, "/")+"/x" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}
