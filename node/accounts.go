package node

import (
	"context"
	"encoding/json"
	"path/filepath"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/token"
)

// tokens opens what issues and checks this node's tokens.
func (n *Node) tokens() (*token.Tokens, error) {
	return token.Open(filepath.Join(n.State, "token.key"))
}

// accounts finds out, when a service account calls, what it may do now: the role
// its annotation names, in its own namespace. Whoever may write a ServiceAccount
// has at least the rights of an editor there, so no more is ever given.
type accounts struct {
	identity.Provider
	store store.Store
}

// Authenticate implements identity.Provider. A token of an account that was
// deleted is refused; the account default is in every namespace.
func (a accounts) Authenticate(ctx context.Context, text string) (identity.Caller, error) {
	c, err := a.Provider.Authenticate(ctx, text)
	if err != nil {
		return c, err
	}
	namespace, name, ok := identity.Account(c.Name)
	if !ok {
		return c, nil
	}
	c.Namespaces, c.Roles = []string{namespace}, nil
	rec, err := a.store.Get(ctx, store.Key{Resource: "serviceaccounts", Namespace: namespace, Name: name})
	switch {
	case api.IsCode(err, api.CodeNotFound) && name == "default":
		return c, nil
	case api.IsCode(err, api.CodeNotFound):
		return identity.Caller{}, api.Errorf(api.CodeUnauthorized, "ServiceAccount %s of tenant %s is gone", name, namespace)
	case err != nil:
		return identity.Caller{}, err
	}
	var o struct {
		Metadata api.Meta `json:"metadata"`
	}
	if err := json.Unmarshal(rec.Value, &o); err != nil {
		return identity.Caller{}, api.Errorf(api.CodeInternal, "the stored %s is damaged", rec.Key).WithCause(err)
	}
	if r := o.Metadata.Annotations[api.AnnotationRole]; r == identity.RoleViewer || r == identity.RoleEditor {
		c.Roles = []string{r}
	}
	return c, nil
}
