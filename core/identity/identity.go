// Package identity is the contract for who is calling and what they may do: a
// token goes in, a decision with its reason comes out.
//
// Package identitytest holds the conformance suite; the memory driver is the
// specification.
package identity

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Provider authenticates and authorises. All methods are safe for concurrent
// use and answer without network where the driver can.
type Provider interface {
	// Authenticate returns the caller a bearer token stands for. A missing,
	// unknown, damaged or expired token is api.CodeUnauthorized, with a message
	// that says which; the token itself is in no error and no log.
	Authenticate(ctx context.Context, token string) (Caller, error)

	// Authorize decides whether c may do a. A refusal is no error; its reason
	// names the missing grant and never an object c may not see.
	Authorize(ctx context.Context, c Caller, a Action) (Decision, error)
}

// Issuer is what a Provider may also do: make tokens of its own.
type Issuer interface {
	// Issue returns a new token for c that is valid for ttl; 0 means for ever.
	// A caller without a name and a negative ttl are api.CodeInvalid.
	Issue(ctx context.Context, c Caller, ttl time.Duration) (string, error)
}

// Caller is who is calling.
type Caller struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"` // such as admin, editor, viewer
	// Namespaces the roles hold in; empty means all.
	Namespaces []string `json:"namespaces,omitempty"`
	// Audience is whom the caller's token is for; empty means this API, and
	// Authenticate refuses all others.
	Audience string `json:"audience,omitempty"`
}

const accountPrefix = "system:serviceaccount:"

// AccountCaller is the name of a namespace's service account as a caller.
func AccountCaller(namespace, name string) string { return accountPrefix + namespace + ":" + name }

// Account splits the name of a caller that is a service account.
func Account(caller string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(caller, accountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != ""
}

// Roles every driver knows; Decide holds their rules.
const (
	RoleAdmin  = "admin"  // everything, everywhere its namespaces reach
	RoleEditor = "editor" // everything but namespaces and reading secrets' values
	RoleViewer = "viewer" // get, list, watch, logs; no secrets
)

// Action is what the caller wants to do.
type Action struct {
	Verb        string // get, list, watch, create, update, patch, delete, invoke
	Resource    string // plural.group, as api.Kind.Resource
	Subresource string // status, logs, invoke; empty for the object
	Namespace   string // empty: cluster-wide, or all namespaces
	Name        string
}

// Decision is the answer.
type Decision struct {
	Allowed bool
	// Reason says why, in a sentence that can be shown to the caller:
	// "alice may not apply function/hello in tenant shop: no role grants it (roles: viewer)".
	Reason string
}

// Refuse makes the decision for a missing grant.
func Refuse(c Caller, a Action) Decision {
	roles := "none"
	if len(c.Roles) > 0 {
		roles = strings.Join(c.Roles, " ")
	}
	return Decision{Reason: fmt.Sprintf("%s: no role grants it (roles: %s)", refusal(c, a), roles)}
}

// refusal says what is refused: "alice may not get secrets x in tenant shop".
func refusal(c Caller, a Action) string {
	what := a.Resource
	if a.Subresource != "" {
		what += "/" + a.Subresource
	}
	if a.Name != "" {
		what += " " + a.Name
	}
	if a.Namespace != "" {
		what += " in tenant " + a.Namespace
	}
	return fmt.Sprintf("%s may not %s %s", c.Name, a.Verb, what)
}

// The errors of Authenticate. Damaged also stands for a token that was signed
// with another key: a driver cannot tell them apart.

// Missing is the error for no token at all.
func Missing() *api.Error { return api.Errorf(api.CodeUnauthorized, "no token was given") }

// Unknown is the error for a well-formed token nobody issued.
func Unknown() *api.Error { return api.Errorf(api.CodeUnauthorized, "the token is unknown here") }

// Damaged is the error for a token that does not verify.
func Damaged() *api.Error {
	return api.Errorf(api.CodeUnauthorized, "the token is damaged, or was issued by another hearth")
}

// Expired is the error for a token that was valid until at.
func Expired(at time.Time) *api.Error {
	return api.Errorf(api.CodeUnauthorized, "the token expired at %s", at.UTC().Format(time.RFC3339))
}

// Elsewhere is the error for a token that is for somebody else.
func Elsewhere(audience string) *api.Error {
	return api.Errorf(api.CodeUnauthorized, "the token is for %q and not for this API", audience)
}

// CheckIssue returns the error of Issue for arguments no token is made for.
func CheckIssue(c Caller, ttl time.Duration) error {
	if c.Name == "" {
		return api.Errorf(api.CodeInvalid, "a token needs the name of its caller")
	}
	if ttl < 0 {
		return api.Errorf(api.CodeInvalid, "a token cannot be valid for %s", ttl)
	}
	return nil
}
