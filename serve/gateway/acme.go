package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// ACME says where certificates are got for routes with tls.acme.
type ACME struct {
	Directory string // URL of the authority's directory; Let's Encrypt's when empty
	Email     string // told when something is wrong with a certificate; may be empty
	// Namespace holds the Secrets with the account's key and the certificates;
	// hearth-system when empty.
	Namespace string
}

// challengePath is where an authority looks for the proof that a host is ours.
const challengePath = "/.well-known/acme-challenge/"

func (g *Gateway) newACME(a *ACME) *autocert.Manager {
	if a == nil {
		return nil
	}
	namespace := a.Namespace
	if namespace == "" {
		namespace = "hearth-system"
	}
	return &autocert.Manager{
		Prompt: autocert.AcceptTOS, Email: a.Email, Cache: &secretCache{g.c.Store, namespace},
		Client: &acme.Client{DirectoryURL: a.Directory, UserAgent: "hearth"},
		HostPolicy: func(_ context.Context, name string) error {
			if _, ok := g.certs.of(name); !ok {
				return api.Errorf(api.CodeForbidden, "no route with tls.acme has the host %s", name)
			}
			return nil
		},
	}
}

// secretCache keeps what ACME must not lose in Secrets, which are sealed.
type secretCache struct {
	store     store.Store
	namespace string
}

const cacheKey = "data"

func (c *secretCache) key(name string) store.Key {
	sum := sha256.Sum256([]byte(name))
	return store.Key{Resource: api.Secrets, Namespace: c.namespace, Name: "acme-" + hex.EncodeToString(sum[:16])}
}

// Get implements autocert.Cache.
func (c *secretCache) Get(ctx context.Context, name string) ([]byte, error) {
	r, err := c.store.Get(ctx, c.key(name))
	if api.IsCode(err, api.CodeNotFound) {
		return nil, autocert.ErrCacheMiss
	}
	if err != nil {
		return nil, err
	}
	var s api.Secret
	if err := json.Unmarshal(r.Value, &s); err != nil {
		return nil, api.Errorf(api.CodeInternal, "the stored %s cannot be read", r.Key) // not err, which may quote it
	}
	return s.Data[cacheKey], nil
}

// Put implements autocert.Cache.
func (c *secretCache) Put(ctx context.Context, name string, data []byte) error {
	k := c.key(name)
	value, err := json.Marshal(api.Secret{
		TypeMeta: api.TypeMeta{APIVersion: "v1", Kind: "Secret"}, Type: "hearth.run/acme",
		Metadata: api.Meta{
			Name: k.Name, Namespace: k.Namespace, UID: k.Name, CreationTimestamp: api.NewTime(time.Now()),
			Annotations: map[string]string{"hearth.run/acme": name},
		},
		Data: map[string][]byte{cacheKey: data},
	})
	if err != nil {
		return err
	}
	for {
		expect := store.New
		if r, err := c.store.Get(ctx, k); err == nil {
			expect = r.Revision
		} else if !api.IsCode(err, api.CodeNotFound) {
			return err
		}
		_, err := c.store.Apply(ctx, k, value, expect)
		if !api.IsCode(err, api.CodeConflict) && !api.IsCode(err, api.CodeExists) && !api.IsCode(err, api.CodeNotFound) {
			return err
		}
	}
}

// Delete implements autocert.Cache.
func (c *secretCache) Delete(ctx context.Context, name string) error {
	k := c.key(name)
	r, err := c.store.Get(ctx, k)
	if err == nil {
		_, err = c.store.Delete(ctx, k, r.Revision)
	}
	if api.IsCode(err, api.CodeNotFound) || api.IsCode(err, api.CodeConflict) {
		return nil
	}
	return err
}

var _ autocert.Cache = (*secretCache)(nil)
