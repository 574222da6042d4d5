package identity

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// Decide holds the rules of the roles, for every driver that grants by role. It
// reads nothing but its arguments.
//
//   - The caller's namespaces bound everything: outside them, for cluster-wide
//     resources and for lists over all namespaces, nothing is granted. The
//     object of a namespace counts as being inside that namespace.
//   - admin may do everything there.
//   - editor may do everything there but write namespaces and read secrets.
//   - viewer may get, list and watch, but no secrets.
//
// Roles nobody knows grant nothing. Of several roles the one that grants counts.
func Decide(c Caller, a Action) Decision {
	where := a.Namespace
	if where == "" && a.Resource == api.Namespaces {
		where = a.Name
	}
	if len(c.Namespaces) > 0 && !slices.Contains(c.Namespaces, where) {
		return Decision{Reason: fmt.Sprintf("%s: the roles hold in tenant %s only", refusal(c, a), strings.Join(c.Namespaces, ", "))}
	}
	for _, role := range c.Roles {
		if grants(role, a) {
			return Decision{Allowed: true, Reason: fmt.Sprintf("role %s grants it", role)}
		}
	}
	return Refuse(c, a)
}

// grants reports whether role grants a, wherever it is.
func grants(role string, a Action) bool {
	reads := a.Verb == "get" || a.Verb == "list" || a.Verb == "watch"
	switch role {
	case RoleAdmin:
		return true
	case RoleEditor:
		if a.Resource == api.Secrets {
			return !reads
		}
		return reads || a.Resource != api.Namespaces
	case RoleViewer:
		return reads && a.Resource != api.Secrets
	}
	return false
}
