package node_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestRegistry: images are pushed to and pulled from the API's port with its
// token, by the protocol every registry speaks.
func TestRegistry(t *testing.T) {
	n, _ := up(t, config(t))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(n.CA)
	trip := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer trip.CloseIdleConnections()
	host := strings.TrimPrefix(n.APIURL, "https://")
	with := func(token string) []remote.Option {
		return []remote.Option{remote.WithTransport(trip), remote.WithAuth(&authn.Basic{Username: "hearth", Password: token})}
	}
	img, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/default/hello:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, with("wrong")...); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("with a wrong token: %v", err)
	}
	if err := remote.Write(ref, img, with(n.Token)...); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(ref, with(n.Token)...)
	if err == nil {
		err = validate.Image(got)
	}
	if err != nil {
		t.Error(err)
	}
	elsewhere, err := name.ParseReference(host + "/nowhere/hello:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(elsewhere, img, with(n.Token)...); err == nil || !strings.Contains(err.Error(), "no tenant nowhere") {
		t.Errorf("into a tenant that is not there: %v", err)
	}
}
