// Package registrytest serves a registry for tests of what pushes to one and
// pulls from it, and makes images for them.
package registrytest

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Server serves a registry over HTTP.
type Server struct {
	t    testing.TB
	URL  string
	Host string // as references of images name it
	Auth remote.Option
}

// Serve serves h, where the token is an editor's, until t ends.
func Serve(t testing.TB, h http.Handler, token string) *Server {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &Server{t: t, URL: srv.URL, Host: strings.TrimPrefix(srv.URL, "http://"), Auth: remote.WithAuth(&authn.Basic{Username: "x", Password: token})}
}

// Ref is the reference of a name such as default/shop:1.
func (s *Server) Ref(repo string) name.Reference {
	s.t.Helper()
	ref, err := name.ParseReference(s.Host + "/" + repo)
	if err != nil {
		s.t.Fatal(err)
	}
	return ref
}

// Push pushes an image and returns its digest.
func (s *Server) Push(repo string, img v1.Image) string {
	s.t.Helper()
	if err := remote.Write(s.Ref(repo), img, s.Auth); err != nil {
		s.t.Fatal(err)
	}
	return s.Digest(repo)
}

// Digest is what is kept under a name.
func (s *Server) Digest(repo string) string {
	s.t.Helper()
	d, err := remote.Get(s.Ref(repo), s.Auth)
	if err != nil {
		s.t.Fatal(err)
	}
	return d.Digest.String()
}

// Image makes an image for this machine that holds nothing of use.
func Image(t testing.TB) v1.Image {
	t.Helper()
	img, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	f, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	f = f.DeepCopy()
	f.OS, f.Architecture = "linux", runtime.GOARCH
	if img, err = mutate.ConfigFile(img, f); err != nil {
		t.Fatal(err)
	}
	return img
}
