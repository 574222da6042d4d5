// Package names answers the questions for names that instances ask: those of
// the cluster's domain by itself, as Kubernetes' DNS would for Services, and all
// others by passing them on to the host's resolvers, unchanged.
//
// It keeps nothing: what is known is asked of whoever routes calls, so a name
// resolves when, and as long as, a call to it is answered. Answers of the host's
// resolvers are theirs to cache.
package names

import (
	"log/slog"
	"net/netip"
	"time"
)

// Config of a server. Domain, Address and Known are needed.
type Config struct {
	// Domain is what is answered here, as "cluster.local"; names in it are
	// NAME.NAMESPACE.svc.DOMAIN.
	Domain string
	// Address is an IPv4 address, which all known names have.
	Address netip.Addr
	// Known tells whether a whole name, in lower case and without a final dot, is
	// known. It must not block.
	Known func(name string) bool
	// Tenant is the namespace of whoever asks from an address, so that those
	// who cannot be told their namespace find NAME.svc.DOMAIN; empty: not known.
	// Nil: nobody's is.
	Tenant func(netip.Addr) string
	// Resolvers is the file that names the host's resolvers; it is read again
	// when it changes. /etc/resolv.conf if empty.
	Resolvers string
	// Log is for the operator; nil discards.
	Log *slog.Logger
}

const (
	ttl       = 5 // seconds a known name, or that there is none, may be remembered
	tryTime   = 2 * time.Second
	wholeTime = 5 * time.Second  // as long as stub resolvers wait
	idleTime  = 10 * time.Second // of a stream between two questions
	mostAll   = 1024             // questions passed on, or streams, at a time
	mostOne   = 64               // of one address
	mostQuery = 4096             // bytes
)
