package sandbox

import (
	"net"
	"net/netip"
)

// Lobby is what private networks have besides a way out: one address of this
// host's, the same for all of them and reached by nobody else but the host itself, where calls are
// taken and names are answered. Boxes with a network of the host's, or with
// none, have no lobby.
type Lobby struct {
	// Domain ends the names that are answered. A box of a tenant T looks for a
	// name in T.svc.DOMAIN, svc.DOMAIN and DOMAIN first, then where the host does.
	Domain string
	// Open is called when the first private network is made, by whoever starts
	// that box, and must not wait. The sockets are its own. What it returns ends
	// all it began, closes the sockets and waits for that; it is called once, when
	// no box is left.
	Open func(LobbySockets) (end func())
}

// LobbySockets are what a lobby can be reached by.
type LobbySockets struct {
	Address netip.Addr
	Calls   net.Listener   // TCP port 80
	Names   net.PacketConn // UDP port 53
	Streams net.Listener   // TCP port 53
}
