package node

import (
	"context"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/registry"
	"github.com/hearth-run/hearth/core/store"
)

// openRegistry opens the image registry this node serves beside its API.
func (n *Node) openRegistry() error {
	tokens, err := n.tokens()
	if err != nil {
		return err
	}
	n.registry, err = registry.Open(registry.Options{
		Dir: filepath.Join(n.State, "registry"), Identity: accounts{tokens, n.store}, Log: n.cfg.Log, Exists: n.tenant, Used: n.named,
	})
	return err
}

// handler serves the API, and the registry where its clients look for it.
func (n *Node) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2" || strings.HasPrefix(r.URL.Path, "/v2/") {
			n.registry.ServeHTTP(w, r)
			return
		}
		n.api.ServeHTTP(w, r)
	})
}

// tenant reports whether there is a namespace of this name.
func (n *Node) tenant(ctx context.Context, name string) (bool, error) {
	_, err := n.store.Get(ctx, store.Key{Resource: api.Namespaces, Name: name})
	if api.IsCode(err, api.CodeNotFound) {
		return false, nil
	}
	return err == nil, err
}

var digests = regexp.MustCompile(`@(sha256:[0-9a-f]{64})`)

// named collects the digests of images that objects name. Whatever looks like
// one counts, in whichever field it is.
func (n *Node) named(ctx context.Context) (map[string]bool, error) {
	all, err := n.store.List(ctx, store.Query{})
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, r := range all.Records {
		for _, m := range digests.FindAllSubmatch(r.Value, -1) {
			found[string(m[1])] = true
		}
	}
	return found, nil
}

// tidyImages drops unpacked images no object names any more, from time to time.
func (n *Node) tidyImages(ctx context.Context) error {
	if n.images == nil {
		return nil
	}
	tick := time.NewTicker(15 * time.Minute)
	defer tick.Stop()
	for {
		if err := n.dropImages(ctx); err != nil && ctx.Err() == nil {
			n.cfg.Log.WarnContext(ctx, "images cannot be dropped", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// dropImages drops them now. What runs stays, and what is dropped too early is
// fetched again.
func (n *Node) dropImages(ctx context.Context) error {
	used, err := n.named(ctx)
	if err != nil {
		return err
	}
	freed, err := n.images.Collect(ctx, func(digest string) bool { return used[digest] })
	if freed > 0 {
		n.cfg.Log.InfoContext(ctx, "images dropped", "bytes", freed)
	}
	return err
}
