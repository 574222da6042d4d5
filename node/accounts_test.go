package node

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/store"
	mem "github.com/hearth-run/hearth/driver/memory"
)

func TestAccounts(t *testing.T) {
	st, id := mem.NewStore(), mem.NewIdentity()
	a := accounts{id, st}
	put := func(name, role string) {
		t.Helper()
		value, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{api.AnnotationRole: role}}})
		if _, err := st.Apply(t.Context(), store.Key{Resource: "serviceaccounts", Namespace: "shop", Name: name}, value, store.New); err != nil {
			t.Fatal(err)
		}
	}
	caller := func(name string) (identity.Caller, error) {
		t.Helper()
		// What a token says of roles and namespaces does not count.
		text, err := id.Issue(t.Context(), identity.Caller{Name: name, Roles: []string{identity.RoleAdmin}}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return a.Authenticate(t.Context(), text)
	}
	put("reader", identity.RoleViewer)
	put("writer", identity.RoleEditor)
	put("boss", identity.RoleAdmin)
	put("plain", "")
	for name, want := range map[string][]string{
		"reader": {identity.RoleViewer}, "writer": {identity.RoleEditor}, "boss": nil, "plain": nil, "default": nil,
	} {
		c, err := caller(identity.AccountCaller("shop", name))
		if err != nil || !cmp.Equal(c, identity.Caller{Name: "system:serviceaccount:shop:" + name, Roles: want, Namespaces: []string{"shop"}}) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	c, _ := caller(identity.AccountCaller("shop", "reader"))
	for ns, want := range map[string]bool{"shop": true, "blog": false, "": false} {
		if d, err := a.Authorize(t.Context(), c, identity.Action{Verb: "list", Resource: api.Functions, Namespace: ns}); err != nil || d.Allowed != want {
			t.Errorf("in %q: %+v, %v", ns, d, err)
		}
	}
	if _, err := caller(identity.AccountCaller("shop", "gone")); !api.IsCode(err, api.CodeUnauthorized) {
		t.Errorf("an account that is gone: %v", err)
	}
	if c, err := caller("alice"); err != nil || len(c.Roles) != 1 {
		t.Errorf("another caller: %+v, %v", c, err)
	}
	if _, err := a.Authenticate(t.Context(), "no token"); !api.IsCode(err, api.CodeUnauthorized) {
		t.Errorf("%v", err)
	}
}
