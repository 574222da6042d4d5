package names

import (
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// question is what a message asks.
type question struct {
	header dnsmessage.Header
	dnsmessage.Question
	edns bool
}

// What becomes of a message.
type fate int

const (
	drop    fate = iota // it is no question
	reply               // it is answered here
	passOn              // the host's resolvers answer it
	refused             // it is malformed, or asks for what nobody here does
)

// read takes a message apart. A refused one is answered with the code.
func read(msg []byte) (q question, code dnsmessage.RCode, f fate) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return q, 0, drop
	}
	q.header = h
	if h.OpCode != 0 {
		return q, dnsmessage.RCodeNotImplemented, refused
	}
	if q.Question, err = p.Question(); err != nil {
		return q, dnsmessage.RCodeFormatError, refused
	}
	if _, err := p.Question(); err != dnsmessage.ErrSectionDone {
		return q, dnsmessage.RCodeFormatError, refused
	}
	if p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return q, dnsmessage.RCodeFormatError, refused
	}
	for {
		r, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone {
			return q, 0, reply
		}
		if err != nil || p.SkipAdditional() != nil {
			return q, dnsmessage.RCodeFormatError, refused
		}
		q.edns = q.edns || r.Type == dnsmessage.TypeOPT
	}
}

// name is what q asks for, in lower case and without the final dot.
func (q *question) name() string {
	return strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
}

// answer returns the answer to msg, asked from an address, or what else is to
// be done with it.
func (s *Server) answer(msg []byte, from netip.Addr) ([]byte, fate) {
	q, code, f := read(msg)
	switch f {
	case drop:
		return nil, drop
	case refused:
		out, err := q.answer(code, netip.Addr{}, "")
		if err != nil {
			return nil, drop
		}
		return out, reply
	}
	name := q.name()
	if name != s.c.Domain && !strings.HasSuffix(name, "."+s.c.Domain) {
		return nil, passOn
	}
	var at netip.Addr
	switch {
	case q.Class != dnsmessage.ClassINET && q.Class != dnsmessage.ClassANY:
		code = dnsmessage.RCodeRefused
	case name == s.c.Domain, name == "svc."+s.c.Domain:
	case !s.known(name, from):
		code = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA || q.Type == dnsmessage.TypeALL:
		at = s.c.Address
	}
	out, err := q.answer(code, at, s.c.Domain)
	if err != nil {
		s.log.Debug("a question for a name was not answered", "name", name, "error", err)
		return nil, drop
	}
	return out, reply
}

// known tells whether a name has an address. NAME.svc.DOMAIN is in the
// namespace of whoever asks.
func (s *Server) known(name string, from netip.Addr) bool {
	bare, ok := strings.CutSuffix(name, ".svc."+s.c.Domain)
	if !ok {
		return false
	}
	if strings.IndexByte(bare, '.') >= 0 {
		return s.c.Known(name)
	}
	if s.c.Tenant == nil {
		return false
	}
	tenant := s.c.Tenant(from)
	return tenant != "" && s.c.Known(bare+"."+tenant+".svc."+s.c.Domain)
}

// answer writes an answer with an address (none if at is not valid). domain is
// whose authority speaks; empty: nobody's, something is wrong with q.
func (q *question) answer(code dnsmessage.RCode, at netip.Addr, domain string) ([]byte, error) {
	h := dnsmessage.Header{
		ID: q.header.ID, Response: true, OpCode: q.header.OpCode, Authoritative: domain != "",
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, RCode: code,
	}
	b := dnsmessage.NewBuilder(nil, h)
	if q.Name.Length == 0 { // it could not be read
		return b.Finish()
	}
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q.Question); err != nil {
		return nil, err
	}
	if at.IsValid() {
		if err := b.StartAnswers(); err != nil {
			return nil, err
		}
		r := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: ttl}
		if err := b.AResource(r, dnsmessage.AResource{A: at.As4()}); err != nil {
			return nil, err
		}
	} else if domain != "" {
		if err := authority(&b, domain); err != nil {
			return nil, err
		}
	}
	if q.edns {
		if err := b.StartAdditionals(); err != nil {
			return nil, err
		}
		var r dnsmessage.ResourceHeader
		if err := r.SetEDNS0(1232, dnsmessage.RCodeSuccess, false); err != nil {
			return nil, err
		}
		if err := b.OPTResource(r, dnsmessage.OPTResource{}); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// authority says how long it may be remembered that there is nothing.
func authority(b *dnsmessage.Builder, domain string) error {
	zone, err := dnsmessage.NewName(domain + ".")
	if err != nil {
		return err
	}
	ns, err := dnsmessage.NewName("ns.dns." + domain + ".")
	if err != nil {
		return err
	}
	if err := b.StartAuthorities(); err != nil {
		return err
	}
	return b.SOAResource(dnsmessage.ResourceHeader{Name: zone, Class: dnsmessage.ClassINET, TTL: ttl},
		dnsmessage.SOAResource{NS: ns, MBox: ns, Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, MinTTL: ttl})
}
