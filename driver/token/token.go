// Package token is an identity provider without a database: a token carries its
// caller, signed with a key of this installation. Whoever holds a token is that
// caller until it expires; taking one back before means a new key, and with it
// new tokens for all. A provider that asks others who is calling is another
// driver.
package token

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/keyfile"
)

// prefix begins every token: it names the form, and lets scanners for leaked
// secrets find it.
const prefix = "hearth1."

// longest bounds what is looked at. A token is a header of a request.
const longest = 8 << 10

// Tokens issues and checks tokens: prefix, claims as JSON, a dot and their
// HMAC-SHA-256, both in URL-safe base64 without padding.
type Tokens struct{ key []byte }

var (
	_ identity.Provider = (*Tokens)(nil)
	_ identity.Issuer   = (*Tokens)(nil)
)

// Open returns Tokens with the key in keyFile, which is made (mode 0600) when
// it is missing and refused when others than its owner can reach it. There is
// nothing to close.
func Open(keyFile string) (*Tokens, error) {
	key, err := keyfile.Load(keyFile)
	if err != nil {
		return nil, err
	}
	return &Tokens{key: key}, nil
}

// claims is what a token says.
type claims struct {
	Name       string   `json:"n"`
	Roles      []string `json:"r,omitempty"`
	Namespaces []string `json:"ns,omitempty"`
	Audience   string   `json:"aud,omitempty"`
	Until      int64    `json:"exp,omitempty"` // Unix milliseconds; 0: for ever
	ID         string   `json:"id"`            // makes every token another one
}

// Issue implements identity.Issuer.
func (t *Tokens) Issue(ctx context.Context, c identity.Caller, ttl time.Duration) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := identity.CheckIssue(c, ttl); err != nil {
		return "", err
	}
	cl := claims{Name: c.Name, Roles: c.Roles, Namespaces: c.Namespaces, Audience: c.Audience, ID: rand.Text()[:16]}
	if ttl > 0 {
		cl.Until = time.Now().Add(ttl).UnixMilli()
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(cl); err != nil {
		return "", err
	}
	body := prefix + base64.RawURLEncoding.EncodeToString(bytes.TrimSpace(text.Bytes()))
	return body + "." + t.sign(body), nil
}

// Authenticate implements identity.Provider. Nothing in a token is looked at
// before its signature is right.
func (t *Tokens) Authenticate(_ context.Context, token string) (identity.Caller, error) {
	if token == "" {
		return identity.Caller{}, identity.Missing()
	}
	dot := strings.LastIndexByte(token, '.')
	if len(token) > longest || dot < len(prefix) || !strings.HasPrefix(token, prefix) {
		return identity.Caller{}, identity.Damaged()
	}
	body := token[:dot]
	// Compared as text: a signature has one spelling, its decoder reads more.
	if !hmac.Equal([]byte(token[dot+1:]), []byte(t.sign(body))) {
		return identity.Caller{}, identity.Damaged()
	}
	var c claims
	text, err := base64.RawURLEncoding.DecodeString(body[len(prefix):])
	if err != nil || json.Unmarshal(text, &c) != nil || c.Name == "" {
		return identity.Caller{}, identity.Damaged()
	}
	if c.Until != 0 {
		if until := time.UnixMilli(c.Until); !time.Now().Before(until) {
			return identity.Caller{}, identity.Expired(until)
		}
	}
	if c.Audience != "" {
		return identity.Caller{}, identity.Elsewhere(c.Audience)
	}
	return identity.Caller{Name: c.Name, Roles: c.Roles, Namespaces: c.Namespaces}, nil
}

// Authorize implements identity.Provider.
func (t *Tokens) Authorize(_ context.Context, c identity.Caller, a identity.Action) (identity.Decision, error) {
	return identity.Decide(c, a), nil
}

// sign is the signature of a token's body.
func (t *Tokens) sign(body string) string {
	h := hmac.New(sha256.New, t.key)
	h.Write([]byte(body))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
