package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/hearth-run/hearth/core/engine"
)

// lobby is a Lobby in its place: a private network without a box, so that no
// port of the host's is taken and no rule of the host's for itself applies.
type lobby struct {
	link    *link
	address netip.Addr
	end     func()
}

// lobbySlot is the network the lobby has.
const lobbySlot = 0

// lobbyPorts are what boxes reach there.
func lobbyPorts() []struct {
	protocol byte
	port     uint16
} {
	return []struct {
		protocol byte
		port     uint16
	}{{6, 80}, {17, 53}, {6, 53}}
}

// SetLobby says what private networks find at the host. It is called before the
// first box is started.
func (h *Host) SetLobby(l Lobby) { h.lobby = l }

// openLobby makes the lobby's network and has it served; the rules exist. Where that
// fails boxes go on with the host's resolvers.
func (n *network) openLobby() (err error) {
	if n.h.lobby.Open == nil {
		return nil
	}
	l, err := n.at(lobbySlot)
	if err != nil {
		return err
	}
	_, own := l.addresses()
	b := &lobby{link: l}
	b.address, _ = netip.AddrFromSlice(own.To4())
	s := LobbySockets{Address: b.address}
	_, err = inNamespace(l.ns, func() (none struct{}, err error) {
		at := func(port int) string { return netip.AddrPortFrom(b.address, uint16(port)).String() }
		if s.Calls, err = net.Listen("tcp4", at(80)); err != nil {
			return none, err
		}
		if s.Names, err = net.ListenPacket("udp4", at(53)); err != nil {
			return none, err
		}
		s.Streams, err = net.Listen("tcp4", at(53))
		return none, err
	})
	if err == nil {
		err = os.WriteFile(n.resolvFile(), []byte(resolvConf(b.address, n.h.lobby.Domain, "")), 0o644)
	}
	if err != nil {
		for _, c := range []interface{ Close() error }{s.Calls, s.Names, s.Streams} {
			if c != nil {
				c.Close()
			}
		}
		l.release()
		return err
	}
	b.end = n.h.lobby.Open(s)
	n.mu.Lock()
	n.lobby = b
	n.mu.Unlock()
	return nil
}

// closeLobby ends it; no box is left.
func (n *network) closeLobby() {
	n.mu.Lock()
	b := n.lobby
	n.lobby = nil
	n.mu.Unlock()
	if b == nil {
		return
	}
	if b.end != nil {
		b.end()
	}
	b.link.release()
	os.Remove(n.resolvFile())
}

func (n *network) resolvFile() string { return filepath.Join(n.h.state, "resolv.conf") }

// resolv is the resolver file of boxes with a private network whose tenant is
// not known when they start; "": the host's.
func (n *network) resolv() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lobby == nil {
		return ""
	}
	return n.resolvFile()
}

// resolvConf is what a box of a tenant ("": not known yet) finds in its
// /etc/resolv.conf.
func (n *network) resolvConf(tenant string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lobby == nil {
		return ""
	}
	return resolvConf(n.lobby.address, n.h.lobby.Domain, tenant)
}

func resolvConf(at netip.Addr, domain, tenant string) string {
	search := []string{"svc." + domain, domain}
	if tenant != "" {
		search = append([]string{tenant + ".svc." + domain}, search...)
	}
	text, _ := head("/etc/resolv.conf", 64<<10)
	var hosts []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && (f[0] == "search" || f[0] == "domain") {
			hosts = f[1:] // the last one counts
		}
	}
	search = append(search, hosts...)
	return fmt.Sprintf("nameserver %s\nsearch %s\noptions ndots:5\n", at, strings.Join(search[:min(len(search), 6)], " "))
}

// setTenant says whose the box in a network is.
func (l *link) setTenant(tenant string) {
	if l == nil {
		return
	}
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.n.tenants[l.slot] = tenant
}

// TenantAt is whose box has an address; "": none, or it is not known yet.
func (h *Host) TenantAt(a netip.Addr) string {
	n := h.net
	if n == nil || !a.Is4() {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready || !n.subnet.Contains(a) {
		return ""
	}
	of := func(a netip.Addr) int {
		b := a.As4()
		return int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	}
	at := of(a) - of(n.subnet.Addr())
	if at%4 != 2 {
		return ""
	}
	return n.tenants[at/4]
}

// resolv is the resolver file the box is shown; "": the host's.
func (b *Box) resolv() string {
	if b.link == nil {
		return ""
	}
	return b.link.n.resolv()
}

// SetTenant says whose the box is, so that it finds its neighbours by their
// short names.
func (b *Box) SetTenant(tenant string) { b.link.setTenant(tenant) }

// CheckNames finds out whether names are answered inside private networks, by
// asking from within one. While there is none it makes none.
func (h *Host) CheckNames(ctx context.Context) engine.Finding {
	f := engine.Finding{Check: "names inside"}
	n := h.net
	if n == nil {
		f.Detail = fmt.Sprintf("instances call each other by the gateway's address and a Host header only: there are no private networks: %v", h.noNet)
		f.Fix = "run hearth as root with CAP_NET_ADMIN on Linux"
		return f
	}
	n.mu.Lock()
	ready, b, why := n.ready, n.lobby, n.noLobby
	n.mu.Unlock()
	switch {
	case !ready:
		f.OK, f.Detail = true, "answered in private networks; none has been asked for yet"
		return f
	case b == nil:
		f.Detail, f.Fix = "instances know the host's resolvers only: "+fmt.Sprint(why), "restart hearth; its log says more"
		return f
	}
	l, err := n.take()
	if err == nil {
		defer l.release()
		_, err = inNamespace(l.ns, func() (struct{}, error) { return struct{}{}, probeLobby(ctx, b.address, h.lobby.Domain) })
	}
	if err != nil {
		f.Detail = fmt.Sprintf("instances cannot ask %s: %v", b.address, err)
		f.Fix = fmt.Sprintf("another firewall of this host may drop what is forwarded: let it pass between interfaces %s*, e.g. iptables -I FORWARD -i %s+ -j ACCEPT and the same with -o", linkPrefix, linkPrefix)
		return f
	}
	f.OK, f.Detail = true, fmt.Sprintf("instances with a private network resolve NAME.NAMESPACE.svc.%s, and shorter, at %s", h.lobby.Domain, b.address)
	return f
}

// probeLobby asks for the domain itself, and connects where calls are taken.
func probeLobby(ctx context.Context, at netip.Addr, domain string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	name, err := dnsmessage.NewName(domain + ".")
	if err != nil {
		return err
	}
	ask := dnsmessage.Message{Header: dnsmessage.Header{ID: 1}, Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	msg, err := ask.Pack()
	if err != nil {
		return err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp4", netip.AddrPortFrom(at, 53).String())
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	c.SetDeadline(deadline)
	if _, err := c.Write(msg); err != nil {
		return err
	}
	buf := make([]byte, 512)
	k, err := c.Read(buf)
	if err != nil {
		return err
	}
	var p dnsmessage.Parser
	h, err := p.Start(buf[:k])
	if err == nil && (!h.Response || h.RCode != dnsmessage.RCodeSuccess) {
		err = errors.New("the answer is " + h.RCode.GoString())
	}
	if err != nil {
		return err
	}
	call, err := d.DialContext(ctx, "tcp4", netip.AddrPortFrom(at, 80).String())
	if err != nil {
		return err
	}
	return call.Close()
}
