package image_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/registry"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/driver/container/image"
	"github.com/hearth-run/hearth/driver/token"
)

type offline struct{}

func (offline) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("something was asked of the network")
}

// TestOwnRegistry: images that were pushed to hearth are fetched without the
// network, under each of its names, by the tenant they belong to.
func TestOwnRegistry(t *testing.T) {
	tokens, err := token.Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(registry.Options{Dir: filepath.Join(t.TempDir(), "registry"), Identity: tokens})
	if err != nil {
		t.Fatal(err)
	}
	served := httptest.NewServer(reg)
	defer served.Close()
	secret, err := tokens.Issue(t.Context(), identity.Caller{Name: "ada", Roles: []string{identity.RoleEditor}, Namespaces: []string{"shop"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	content := strings.Repeat("content ", 100_000)
	img := imageOf(t, layerOf(t, entries{file("a", content)}.archive(t), types.OCIUncompressedLayer), layerOf(t, entries{file("b", "b")}.archive(t), types.OCILayerZStd))
	host := strings.TrimPrefix(served.URL, "http://")
	ref, err := name.ParseReference(host + "/shop/deep/er:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "x", Password: secret})); err != nil {
		t.Fatal(err)
	}
	s := open(t, image.Options{Local: reg.Reader(), LocalHosts: []string{"localhost:4000"}, Transport: offline{}})
	for _, r := range []string{"hearth.local/shop/deep/er:v1", "localhost:4000/shop/deep/er:v1"} {
		resolved, err := s.Resolve(t.Context(), r, image.Auth{Namespace: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []string{r, resolved} {
			i, err := s.Fetch(t.Context(), x, image.Auth{Namespace: "shop"})
			if err != nil {
				t.Fatalf("%s: %v %v", x, err, api.AsError(err).Cause)
			}
			if d := cmp.Diff(map[string]string{"a": content, "b": "b"}, tree(t, i)); d != "" {
				t.Error(d)
			}
			i.Release()
			for _, call := range []func() error{
				func() error { _, err := s.Fetch(t.Context(), x, image.Auth{Namespace: "bank"}); return err },
				func() error { _, err := s.Resolve(t.Context(), x, image.Auth{Namespace: "bank"}); return err },
			} {
				if err := call(); !api.IsCode(err, api.CodeForbidden) {
					t.Errorf("another tenant and %s: %v", x, err)
				}
			}
		}
	}
	if _, err := s.Resolve(t.Context(), "hearth.local/shop/none:1", image.Auth{}); !api.IsCode(err, api.CodeNotFound) || !strings.Contains(api.AsError(err).Help(), "hearth image") {
		t.Errorf("%v", err)
	}
}
