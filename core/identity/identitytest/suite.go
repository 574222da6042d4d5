// Package identitytest holds the conformance suite of core/identity for drivers
// that issue tokens of their own. The rules of the roles have their table beside
// identity.Decide; the suite holds that a driver follows them.
package identitytest

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/identity"
)

// Driver is what the suite needs.
type Driver interface {
	identity.Provider
	identity.Issuer
}

// Run checks that what open returns keeps the contract. Two drivers of open
// must not accept each other's tokens. The suite calls them under virtual time.
func Run(t *testing.T, open func(t testing.TB) Driver) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, Driver, Driver)
	}{
		{"Issue", testIssue},
		{"Refused", testRefused},
		{"Expiry", testExpiry},
		{"Audience", testAudience},
		{"Roles", testRoles},
		{"Canceled", testCanceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, other := open(t), open(t)
			synctest.Test(t, func(t *testing.T) { c.run(t, d, other) })
		})
	}
}

// callers are of every shape.
func callers() []identity.Caller {
	return []identity.Caller{
		{Name: "alice", Roles: []string{identity.RoleAdmin}},
		{Name: "bob", Roles: []string{identity.RoleEditor, "own role"}, Namespaces: []string{"shop", "blog"}},
		{Name: "ünï . \" cödé", Roles: []string{identity.RoleViewer}},
		{Name: "nobody"},
	}
}

// issue returns a token and fails the test when there is none.
func issue(t testing.TB, d Driver, c identity.Caller, ttl time.Duration) string {
	t.Helper()
	token, err := d.Issue(t.Context(), c, ttl)
	if err != nil || token == "" || strings.ContainsAny(token, " \t\r\n\"'") {
		t.Fatalf("Issue(%+v) = %q, %v", c, token, err)
	}
	return token
}

func testIssue(t *testing.T, d, other Driver) {
	seen := map[string]bool{}
	for _, c := range callers() {
		for range 2 {
			token := issue(t, d, c, 0)
			if seen[token] {
				t.Fatal("the same token was issued twice")
			}
			seen[token] = true
			got, err := d.Authenticate(t.Context(), token)
			if err != nil || !reflect.DeepEqual(got, c) {
				t.Fatalf("Authenticate = %+v, %v; want %+v", got, err, c)
			}
			_, err = other.Authenticate(t.Context(), token)
			refused(t, "another's token", err, token, "unknown", "another")
		}
	}
	for _, bad := range []struct {
		c   identity.Caller
		ttl time.Duration
	}{{identity.Caller{}, 0}, {identity.Caller{Name: "alice"}, -1}} {
		if token, err := d.Issue(t.Context(), bad.c, bad.ttl); token != "" || !api.IsCode(err, api.CodeInvalid) {
			t.Errorf("Issue(%+v) = %q, %v", bad, token, err)
		}
	}
}

// refused fails the test when err is not a refusal of token that says one of
// words and does not show the token.
func refused(t testing.TB, what string, err error, token string, words ...string) {
	t.Helper()
	if !api.IsCode(err, api.CodeUnauthorized) {
		t.Fatalf("%s: got %v, want code %s", what, err, api.CodeUnauthorized)
	}
	said := false
	for _, w := range words {
		said = said || strings.Contains(err.Error(), w)
	}
	if !said {
		t.Fatalf("%s: %q says none of %q", what, err, words)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		if len(token) > 16 && strings.Contains(e.Error(), token) {
			t.Fatalf("%s: the error shows the token", what)
		}
	}
}

func testRefused(t *testing.T, d, _ Driver) {
	_, err := d.Authenticate(t.Context(), "")
	refused(t, "no token", err, "", "no token")
	token := issue(t, d, callers()[1], 0)
	for i := range token {
		flip := byte('A')
		if token[i] == 'A' {
			flip = 'B'
		}
		changed := token[:i] + string(flip) + token[i+1:]
		_, err := d.Authenticate(t.Context(), changed)
		refused(t, "a changed token", err, changed, "damaged", "unknown")
		if i > 0 {
			_, err = d.Authenticate(t.Context(), token[:i])
			refused(t, "a cut token", err, token[:i], "damaged", "unknown")
		}
	}
	for _, s := range []string{" ", ".", "..", "a.b", "hearth", "\x00\xff", token + "A", token + ".", "." + token, token + " ", token + "\n", token[:len(token)-2] + "\r\n" + token[len(token)-2:], token + "=", strings.Repeat("x", 1<<20), token + "." + token} {
		_, err := d.Authenticate(t.Context(), s)
		refused(t, "nonsense", err, s, "damaged", "unknown")
	}
}

func testAudience(t *testing.T, d, _ Driver) {
	c := identity.Caller{Name: identity.AccountCaller("shop", "web"), Roles: []string{identity.RoleAdmin}, Audience: "https://vault"}
	token := issue(t, d, c, time.Hour)
	_, err := d.Authenticate(t.Context(), token)
	refused(t, "a token for somebody else", err, token, `is for "https://vault"`)
	time.Sleep(2 * time.Hour)
	_, err = d.Authenticate(t.Context(), token)
	refused(t, "an expired token for somebody else", err, token, "expired")
}

func testExpiry(t *testing.T, d, _ Driver) {
	c := callers()[0]
	hour, ever := issue(t, d, c, time.Hour), issue(t, d, c, 0)
	check := func(token string) error {
		_, err := d.Authenticate(t.Context(), token)
		return err
	}
	if err := check(hour); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Hour - time.Second) // virtual
	if err := check(hour); err != nil {
		t.Fatalf("a second before its end: %v", err)
	}
	time.Sleep(time.Second)
	refused(t, "at its end", check(hour), hour, "expired")
	time.Sleep(50 * 365 * 24 * time.Hour)
	refused(t, "long after its end", check(hour), hour, "expired")
	if err := check(ever); err != nil {
		t.Fatalf("a token without end, after 50 years: %v", err)
	}
}

func testRoles(t *testing.T, d, _ Driver) {
	for _, c := range callers() {
		for _, verb := range []string{"get", "list", "create", "delete", "invoke"} {
			for _, res := range []string{api.Functions, api.Secrets, api.Namespaces} {
				for _, ns := range []string{"", "shop", "bank"} {
					a := identity.Action{Verb: verb, Resource: res, Namespace: ns, Name: "x"}
					got, err := d.Authorize(t.Context(), c, a)
					if want := identity.Decide(c, a); err != nil || got != want {
						t.Fatalf("Authorize(%+v, %+v) = %+v, %v; want %+v", c, a, got, err, want)
					}
				}
			}
		}
	}
}

func testCanceled(t *testing.T, d, _ Driver) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Issue(ctx, callers()[0], 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Issue: %v", err)
	}
}
