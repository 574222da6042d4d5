package sandbox

import "net/netip"

// Addresses are those of the boxes and of the host as they see each other; not
// valid where the network is the host's, or has nothing but loopback.
func (s *Shared) Addresses() (box, host netip.Addr) {
	if s.link == nil {
		return box, host
	}
	h, b := s.link.addresses()
	host, _ = netip.AddrFromSlice(h.To4())
	box, _ = netip.AddrFromSlice(b.To4())
	return box, host
}
