package reconcile

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// certificate makes a Secret's data for a host.
func certificate(t *testing.T, host string, until time.Time) map[string][]byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: until.Add(-time.Hour), NotAfter: until}
	cert, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		api.SecretTLSCert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		api.SecretTLSKey:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	}
}

// TestRouteCertificate follows what a route's Secret holds.
func TestRouteCertificate(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		rk, sk := store.Key{Resource: api.Routes, Namespace: "shop", Name: "r"}, secretKey("shop", "web")
		w.write(rk, api.Route{
			Metadata: api.Meta{Name: "r", Namespace: "shop", Generation: 1},
			Spec:     api.RouteSpec{Hosts: []string{"a.test"}, Prefix: "/", Redirect: &api.Redirect{Host: "b.test"}, TLS: &api.RouteTLS{Secret: "web"}},
		}, store.New)
		want := func(reason, message string) {
			t.Helper()
			synctest.Wait()
			c, _ := get[api.Route](w, rk).Status.Conditions.Get(api.ConditionReady)
			if c.Reason != reason || !strings.Contains(c.Message, message) || (c.Status == api.True) != (reason == "Serving") || c.Status == api.False && c.Hint == "" {
				t.Errorf("%+v, want %s, %s", c, reason, message)
			}
		}
		put := func(kind string, data map[string][]byte) {
			t.Helper()
			expect := store.New
			if rec, err := w.st.Get(t.Context(), sk); err == nil {
				expect = rec.Revision
			}
			w.write(sk, api.Secret{Metadata: api.Meta{Name: "web", Namespace: "shop"}, Type: kind, Data: data}, expect)
		}
		want("CertificateMissing", "Secret web is not there")
		put("Opaque", nil)
		want("CertificateInvalid", `has the type "Opaque"`)
		put(api.SecretTypeTLS, map[string][]byte{api.SecretTLSCert: []byte("x")})
		want("CertificateInvalid", "has no certificate in tls.crt")
		put(api.SecretTypeTLS, certificate(t, "b.test", time.Now().Add(time.Hour)))
		want("CertificateInvalid", "is not for a.test but for b.test")
		put(api.SecretTypeTLS, certificate(t, "a.test", time.Now().Add(-time.Hour)))
		want("CertificateExpired", "expired on")
		put(api.SecretTypeTLS, certificate(t, "a.test", time.Now().Add(time.Hour)))
		want("Serving", "")
		w.delete(sk)
		want("CertificateMissing", "Secret web is not there")
	})
}

// A route waits for what it mirrors to and for a tag's target as for any other.
func TestRouteOtherTargets(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		rk := store.Key{Resource: api.Routes, Namespace: "shop", Name: "r"}
		zero := 0
		w.source("f", "v1")
		w.write(rk, api.Route{Metadata: api.Meta{Name: "r", Namespace: "shop", Generation: 1}, Spec: api.RouteSpec{
			Prefix: "/", Targets: []api.RouteTarget{{Function: "f"}, {Revision: "g-1", Weight: &zero, Tag: "new"}}, Mirror: &api.Mirror{Function: "h"},
		}}, store.New)
		want := func(reason, message string) {
			t.Helper()
			synctest.Wait()
			if c, _ := get[api.Route](w, rk).Status.Conditions.Get(api.ConditionReady); c.Reason != reason || !strings.Contains(c.Message, message) {
				t.Errorf("%+v, want %s, %s", c, reason, message)
			}
		}
		want("TargetMissing", "g-1")
		w.source("g", "v1")
		want("TargetMissing", "function h")
		w.source("h", "v1")
		want("Serving", "")
	})
}
