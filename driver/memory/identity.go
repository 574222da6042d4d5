package memory

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/hearth-run/hearth/core/identity"
)

// Identity is an identity.Provider and identity.Issuer whose tokens are random
// words and known to it alone.
type Identity struct {
	mu     sync.Mutex
	issued map[string]grant
}

type grant struct {
	caller identity.Caller
	until  time.Time // zero: for ever
}

var (
	_ identity.Provider = (*Identity)(nil)
	_ identity.Issuer   = (*Identity)(nil)
)

// NewIdentity returns an Identity that has issued nothing.
func NewIdentity() *Identity { return &Identity{issued: make(map[string]grant)} }

// Issue implements identity.Issuer.
func (i *Identity) Issue(ctx context.Context, c identity.Caller, ttl time.Duration) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := identity.CheckIssue(c, ttl); err != nil {
		return "", err
	}
	g := grant{caller: c}
	if ttl > 0 {
		g.until = time.Now().Add(ttl)
	}
	token := rand.Text()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.issued[token] = g
	return token, nil
}

// Authenticate implements identity.Provider.
func (i *Identity) Authenticate(_ context.Context, token string) (identity.Caller, error) {
	if token == "" {
		return identity.Caller{}, identity.Missing()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	g, ok := i.issued[token]
	if !ok {
		return identity.Caller{}, identity.Unknown()
	}
	if !g.until.IsZero() && !time.Now().Before(g.until) {
		return identity.Caller{}, identity.Expired(g.until)
	}
	if g.caller.Audience != "" {
		return identity.Caller{}, identity.Elsewhere(g.caller.Audience)
	}
	return g.caller, nil
}

// Authorize implements identity.Provider.
func (i *Identity) Authorize(_ context.Context, c identity.Caller, a identity.Action) (identity.Decision, error) {
	return identity.Decide(c, a), nil
}
