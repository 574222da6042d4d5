package identity_test

import (
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/identity"
	"pgregory.net/rapid"
)

// TestDecide is the whole table of the roles: each action with the roles that
// grant it.
func TestDecide(t *testing.T) {
	const all, write = "admin editor viewer", "admin editor"
	for _, c := range []struct {
		action identity.Action
		roles  string
	}{
		{identity.Action{Verb: "get", Resource: api.Functions, Name: "f"}, all},
		{identity.Action{Verb: "list", Resource: api.Functions}, all},
		{identity.Action{Verb: "watch", Resource: api.Functions}, all},
		{identity.Action{Verb: "get", Resource: api.Functions, Subresource: "logs", Name: "f"}, all},
		{identity.Action{Verb: "get", Resource: api.Functions, Subresource: "status", Name: "f"}, all},
		{identity.Action{Verb: "create", Resource: api.Functions}, write},
		{identity.Action{Verb: "update", Resource: api.Functions, Name: "f"}, write},
		{identity.Action{Verb: "patch", Resource: api.Functions, Name: "f"}, write},
		{identity.Action{Verb: "patch", Resource: api.Functions, Subresource: "status", Name: "f"}, write},
		{identity.Action{Verb: "delete", Resource: api.Functions, Name: "f"}, write},
		{identity.Action{Verb: "invoke", Resource: api.Functions, Subresource: "invoke", Name: "f"}, write},
		{identity.Action{Verb: "get", Resource: api.ConfigMaps, Name: "c"}, all},
		{identity.Action{Verb: "get", Resource: api.Secrets, Name: "s"}, "admin"},
		{identity.Action{Verb: "list", Resource: api.Secrets}, "admin"},
		{identity.Action{Verb: "watch", Resource: api.Secrets}, "admin"},
		{identity.Action{Verb: "create", Resource: api.Secrets}, write},
		{identity.Action{Verb: "update", Resource: api.Secrets, Name: "s"}, write},
		{identity.Action{Verb: "delete", Resource: api.Secrets, Name: "s"}, write},
		{identity.Action{Verb: "get", Resource: api.Namespaces, Name: "shop"}, all},
		{identity.Action{Verb: "list", Resource: api.Namespaces}, all},
		{identity.Action{Verb: "create", Resource: api.Namespaces, Name: "shop"}, "admin"},
		{identity.Action{Verb: "patch", Resource: api.Namespaces, Name: "shop"}, "admin"},
		{identity.Action{Verb: "delete", Resource: api.Namespaces, Name: "shop"}, "admin"},
		{identity.Action{}, write}, // a verb nobody knows reads nothing
	} {
		for _, role := range []string{"admin", "editor", "viewer", "owner", ""} {
			want := role != "" && strings.Contains(c.roles, role)
			caller := identity.Caller{Name: "alice", Roles: []string{role}}
			c.action.Namespace = "shop"
			if c.action.Resource == api.Namespaces {
				c.action.Namespace = ""
			}
			d := identity.Decide(caller, c.action)
			if d.Allowed != want || d.Reason == "" {
				t.Errorf("%s: %+v = %+v, want %t", role, c.action, d, want)
			}
		}
		if d := identity.Decide(identity.Caller{Name: "alice"}, c.action); d.Allowed {
			t.Errorf("without a role: %+v = %+v", c.action, d)
		}
	}
}

func TestDecideNamespaces(t *testing.T) {
	alice := identity.Caller{Name: "alice", Roles: []string{"admin"}, Namespaces: []string{"shop", "blog"}}
	for _, c := range []struct {
		action identity.Action
		want   bool
	}{
		{identity.Action{Verb: "get", Resource: api.Functions, Namespace: "shop", Name: "f"}, true},
		{identity.Action{Verb: "list", Resource: api.Functions, Namespace: "blog"}, true},
		{identity.Action{Verb: "get", Resource: api.Functions, Namespace: "bank", Name: "f"}, false},
		{identity.Action{Verb: "get", Resource: api.Functions, Namespace: "sho", Name: "shop"}, false},
		{identity.Action{Verb: "list", Resource: api.Functions}, false},
		{identity.Action{Verb: "get", Resource: api.Functions, Name: "shop"}, false},
		{identity.Action{Verb: "get", Resource: api.Namespaces, Name: "shop"}, true},
		{identity.Action{Verb: "get", Resource: api.Namespaces, Name: "shop", Namespace: "shop"}, true},
		{identity.Action{Verb: "get", Resource: api.Namespaces, Name: "bank"}, false},
		{identity.Action{Verb: "list", Resource: api.Namespaces}, false},
		{identity.Action{Verb: "create", Resource: api.Namespaces}, false},
	} {
		d := identity.Decide(alice, c.action)
		if d.Allowed != c.want {
			t.Errorf("%+v = %+v, want %t", c.action, d, c.want)
		}
	}
	d := identity.Decide(alice, identity.Action{Verb: "get", Resource: api.Secrets, Namespace: "bank", Name: "gold"})
	if want := "alice may not get secrets gold in tenant bank: the roles hold in tenant shop, blog only"; d.Reason != want {
		t.Errorf("reason %q, want %q", d.Reason, want)
	}
	d = identity.Decide(identity.Caller{Name: "bob", Roles: []string{"viewer", "owner"}}, identity.Action{Verb: "delete", Resource: "functions", Namespace: "shop", Name: "f"})
	if want := "bob may not delete functions f in tenant shop: no role grants it (roles: viewer owner)"; d.Reason != want {
		t.Errorf("reason %q, want %q", d.Reason, want)
	}
}

func TestAccount(t *testing.T) {
	for caller, want := range map[string][2]string{
		identity.AccountCaller("shop", "web"): {"shop", "web"}, "system:serviceaccount:shop": {}, "system:serviceaccount::web": {}, "system:serviceaccount:shop:": {}, "alice": {}, "": {},
	} {
		ns, name, ok := identity.Account(caller)
		if ok != (want[0] != "") || ok && want != [2]string{ns, name} {
			t.Errorf("Account(%q) = %q, %q, %t", caller, ns, name, ok)
		}
	}
}

// TestDecideLaws holds what must be true of any caller and action.
func TestDecideLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"", "shop", "blog", "get", "list", "delete", "secrets", "namespaces", "functions.hearth.run"})
		a := identity.Action{Verb: text.Draw(t, "verb"), Resource: text.Draw(t, "resource"), Subresource: text.Draw(t, "sub"), Namespace: text.Draw(t, "ns"), Name: text.Draw(t, "name")}
		role := rapid.SampledFrom([]string{"admin", "editor", "viewer", "owner", ""})
		c := identity.Caller{Name: "x", Roles: rapid.SliceOfN(role, 0, 3).Draw(t, "roles"), Namespaces: rapid.SliceOfN(text, 0, 2).Draw(t, "namespaces")}
		d := identity.Decide(c, a)
		more := c
		more.Roles = append([]string{role.Draw(t, "more")}, c.Roles...)
		if d.Allowed && !identity.Decide(more, a).Allowed {
			t.Fatal("one more role took a grant away")
		}
		wider := c
		wider.Namespaces = nil
		if d.Allowed && !identity.Decide(wider, a).Allowed {
			t.Fatal("all namespaces are less than some")
		}
		bounded := c
		bounded.Namespaces = []string{"elsewhere"}
		if identity.Decide(bounded, a).Allowed {
			t.Fatalf("%+v may %+v", bounded, a)
		}
	})
}
