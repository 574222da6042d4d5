// Package identity is the contract for who is calling and what they may do: a
// token goes in, a decision with its reason comes out.
//
// Package identitytest holds the conformance suite; the memory driver is the
// specification.
package identity

import (
	"context"
	"fmt"
	"time"
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
	Issue(ctx context.Context, c Caller, ttl time.Duration) (string, error)
}

// Caller is who is calling.
type Caller struct {
	Name  string   `json:"name"`
	Roles []string `json:"roles"` // such as admin, editor, viewer
	// Namespaces the roles hold in; empty means all.
	Namespaces []string `json:"namespaces,omitempty"`
}

// Roles every driver knows.
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
	where := ""
	if a.Namespace != "" {
		where = " in tenant " + a.Namespace
	}
	what := a.Resource
	if a.Subresource != "" {
		what += "/" + a.Subresource
	}
	if a.Name != "" {
		what += " " + a.Name
	}
	roles := "none"
	if len(c.Roles) > 0 {
		roles = fmt.Sprint(c.Roles)
		roles = roles[1 : len(roles)-1]
	}
	return Decision{Reason: fmt.Sprintf("%s may not %s %s%s: no role grants it (roles: %s)", c.Name, a.Verb, what, where, roles)}
}
