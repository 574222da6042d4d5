package names

import "net/netip"

// SetPort has the host's resolvers asked at another port.
func (s *Server) SetPort(port uint16) { s.resolvers.port = port }

// Parse is parse.
func Parse(text string) []netip.AddrPort { return parse(text, 53) }

// Answer is answer; pass tells that the host's resolvers are to be asked.
func (s *Server) Answer(msg []byte, from netip.Addr) (out []byte, pass bool) {
	out, f := s.answer(msg, from)
	return out, f == passOn
}

// MostOne is how many questions of one address are passed on at a time.
const MostOne = mostOne

// WholeTime is how long an answer of others is waited for.
const WholeTime = wholeTime
