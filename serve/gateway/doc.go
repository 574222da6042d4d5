// Package gateway is the way of a request: one hop from the client to an
// instance. It finds the route in an immutable table built from a watch of the
// store, chooses a revision by weight, gets the right to one call from a Waker
// (package scale), and passes bytes on: as frames to instances of the loader
// protocol, as HTTP/1.1 over a unix socket to others.
//
// It keeps soft state only: the table, connections, counters. While the store
// does not answer it goes on with what it knew last.
//
// # Time
//
// A function's or route's timeout is one number. For an answer of known length it
// holds from arrival to the last byte. For an answer that streams (its length is
// not known when it begins) and for an upgraded connection it holds until the
// head of the answer, and from then on as the longest silence.
//
// A route's or revision's timeouts are other limits beside it, for the whole
// call, the beginning of the answer and silence in it. They hold for upgraded
// connections as well: 101 is the beginning of the answer, what the instance
// sends is its body, and the limit of the whole call ends a connection in use.
//
// # Repeating
//
// A call is made a second time only when its instance was lost before any of the
// answer came, its method is idempotent and it has no body; a route's retry says
// otherwise.
//
// # Choosing
//
// A route has targets, and a function of its own may have a split of its traffic
// (status.traffic). Each is a split: a tag asked for by host or header comes
// first, then a sticky choice, then the weights, which hold exactly. A split is
// a list of turns taken in a fixed order by one counter.
//
// # Where to look
//
//	gateway.go          a request is given its route
//	call.go             its way: revision, instance, another try, what is written down
//	forward.go body.go  to an instance and back, by frames or HTTP/1.1
//	headers.go h2.go grpc.go upgrade.go  what instances see, and other protocols
//	rules.go and cors, limit, mirror, retry, sticky  what routes ask for
//	follow.go records.go state.go        the store's records become a table
//	target.go split.go traffic.go revision.go  what the table leads to
//	certs.go acme.go    certificates of routes' hosts
//	inside.go           hosts for this machine and its instances alone
//	serve.go guard.go   the server around it
//
// # Inside
//
// Hosts below svc.cluster.local, and those that end in .svc, answer this machine
// and its instances only. To all others they do not exist.
package gateway

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/store"
)

// Waker gives the right to make a call on an instance of a revision, starting
// one where there is none. Package scale implements it.
type Waker interface {
	// Acquire waits for a slot until ctx ends. The lease must be released
	// exactly once. rev is the same pointer for as long as the revision's
	// record does not change. Errors are *api.Error with RetryAfter where it
	// is known.
	Acquire(ctx context.Context, rev *api.Revision) (engine.Lease, error)
}

// Records takes call records; core/record.Store does. It must not block.
type Records interface {
	AddCall(c record.Call)
}

// Config of a gateway. Store and Waker are needed.
type Config struct {
	Store   store.Store
	Waker   Waker
	Records Records      // nil: none are kept
	Log     *slog.Logger // nil: discards
	// Domain ends the host names of functions: NAME.DOMAIN and
	// NAME.NAMESPACE.DOMAIN. localhost when empty.
	Domain string
	// TrustForwarded keeps X-Forwarded-Host and -Proto as the client sent them;
	// for gateways behind a proxy. Otherwise they are replaced.
	TrustForwarded bool
	// Tenant is the namespace of the instance with an address; empty: none has
	// it. It is asked in calls, so it must not block. Nil: instances have no
	// addresses.
	Tenant func(netip.Addr) string
	// TLSPort is where Serve answers with TLS, for addresses plain requests are
	// sent to; 443 when 0.
	TLSPort int
	// ACME gets certificates for routes that ask for it; nil: none are got.
	ACME *ACME
	// MaxSeries is how many functions have metrics of their own; those called
	// later share one series. 1000 when 0.
	MaxSeries int
}
