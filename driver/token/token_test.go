package token_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/identity/identitytest"
	"github.com/hearth-run/hearth/driver/token"
)

func open(t testing.TB, path string) *token.Tokens {
	t.Helper()
	k, err := token.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestIdentity(t *testing.T) {
	identitytest.Run(t, func(t testing.TB) identitytest.Driver { return open(t, filepath.Join(t.TempDir(), "key")) })
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	alice := identity.Caller{Name: "alice", Roles: []string{identity.RoleAdmin}}
	s, err := open(t, path).Issue(t.Context(), alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := open(t, path).Authenticate(t.Context(), s); err != nil || c.Name != "alice" {
		t.Fatalf("with the same key file: %+v, %v", c, err)
	}
	if len(s) > 300 || strings.Contains(s, "=") {
		t.Fatalf("the token is not compact: %s", s)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := token.Open(path); !api.IsCode(err, api.CodeForbidden) {
		t.Fatalf("a key file others may read: %v", err)
	}
}

// FuzzAuthenticate holds that no text but an issued one is accepted, and that
// none makes it panic.
func FuzzAuthenticate(f *testing.F) {
	k := open(f, filepath.Join(f.TempDir(), "key"))
	good, err := k.Issue(f.Context(), identity.Caller{Name: "alice"}, 0)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", ".", "hearth1..", "hearth1.e30.e30", good, good[:len(good)-1], "hearth2" + good[7:]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := k.Authenticate(t.Context(), s)
		if (err == nil) != (s == good) || err != nil && !api.IsCode(err, api.CodeUnauthorized) {
			t.Fatalf("Authenticate(%q): %v", s, err)
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	k := open(b, filepath.Join(b.TempDir(), "key"))
	s, err := k.Issue(b.Context(), identity.Caller{Name: "alice", Roles: []string{identity.RoleAdmin}}, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := k.Authenticate(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
}
