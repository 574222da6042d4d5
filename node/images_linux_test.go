package node

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/registry/registrytest"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/container/image"
	"github.com/hearth-run/hearth/driver/sql"
	"github.com/hearth-run/hearth/driver/token"
)

// TestDropImages: an unpacked image stays while an object names it, and while
// somebody uses it.
func TestDropImages(t *testing.T) {
	n := &Node{State: t.TempDir(), cfg: Config{Log: slog.New(slog.DiscardHandler)}}
	var err error
	if n.store, err = sql.Open(t.Context(), filepath.Join(n.State, "hearth.db"), sql.Options{}); err != nil {
		t.Fatal(err)
	}
	defer n.store.Close()
	if _, err := n.store.Apply(t.Context(), store.Key{Resource: api.Namespaces, Name: "default"}, []byte("{}"), store.New); err != nil {
		t.Fatal(err)
	}
	if err := n.openRegistry(); err != nil {
		t.Fatal(err)
	}
	if n.images, err = image.Open(image.Options{Dir: filepath.Join(n.State, "images"), Local: n.registry.Reader()}); err != nil {
		t.Fatal(err)
	}
	defer n.images.Close()
	tokens, err := token.Open(filepath.Join(n.State, "token.key"))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := tokens.Issue(t.Context(), identity.Caller{Name: "ada", Roles: []string{identity.RoleAdmin}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	digest := registrytest.Serve(t, n.registry, secret).Push("default/x:1", registrytest.Image(t))
	i, err := n.images.Fetch(t.Context(), "hearth.local/default/x@"+digest, image.Auth{Namespace: "default"})
	if err != nil {
		t.Fatal(err)
	}
	there := func(want bool) {
		t.Helper()
		if err := n.dropImages(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(i.Layers[0]); (err == nil) != want {
			t.Errorf("the image is there: %v, want %v", err == nil, want)
		}
	}
	there(true) // it is in use
	key := store.Key{Resource: api.Revisions, Namespace: "default", Name: "x-1"}
	rec, err := n.store.Apply(t.Context(), key, []byte(`{"spec":{"containers":[{"image":"hearth.local/default/x@`+digest+`"}]}}`), store.New)
	if err != nil {
		t.Fatal(err)
	}
	i.Release()
	there(true) // it is named
	if _, err := n.store.Delete(t.Context(), key, rec.Revision); err != nil {
		t.Fatal(err)
	}
	there(false)
}
