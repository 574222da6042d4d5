package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// linkPrefix begins the names of all interfaces any host makes.
const linkPrefix = "hv"

// stocked is how many network namespaces are kept ready once one was asked for.
const stocked = 4

// network makes private networks: per box a namespace with one end of a veth
// pair and a /30 of its own, a default route to the other end, and address
// translation on the way out. Boxes do not reach each other, link-local
// addresses, or the host's loopback; they reach the host's other addresses like any
// neighbour of it. What they all reach is the lobby, which is one more such network.
//
// Forwarding is switched on for the pair and for the interfaces of the host's
// default routes, not for the host; where that was off before, a rule keeps all
// other traffic that arrives there from being forwarded, and close switches it off
// again, the last of several hearths on one host.
type network struct {
	h      *Host
	prefix string // of this host's interfaces
	subnet netip.Prefix
	mtu    int

	setting sync.Mutex // held during setUp
	mu      sync.Mutex
	ready   bool
	used    map[int]bool
	next    int
	stock   []*link
	filling bool
	closed  bool
	tenants map[int]string // by slot
	lobby   *lobby         // nil: there is none
	noLobby error          // why, if one was wanted
	wait    sync.WaitGroup
	forward []string // interfaces whose forwarding this host switched on
}

// link is the network of one box; nil for boxes without one.
type link struct {
	n    *network
	slot int
	ns   int // descriptor of the namespace
	name string
}

// openNetwork sweeps what a former process left. Nothing of the host is changed
// before the first box asks for a private network. What is missing is kept for
// Findings.
func (h *Host) openNetwork(context.Context) {
	if !h.allows.netAdmin || !h.allows.net || !h.allows.root || h.without("private network") {
		h.noNet = errors.New("no capability CAP_NET_ADMIN or no network namespaces")
		return
	}
	n := &network{h: h, prefix: linkPrefix + h.hash[:6] + "-", used: map[int]bool{lobbySlot: true}, tenants: map[int]string{}}
	if err := n.sweep(); err != nil {
		h.noNet = err
		return
	}
	h.net = n
}

func (n *network) describe() string {
	if n == nil {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ready {
		return "veth pairs and address translation by nftables, set up when the first instance asks for it"
	}
	return fmt.Sprintf("veth pairs in %s, translated by nftables table %s; forwarding switched on for %v", n.subnet, n.h.name(), n.forward)
}

func (n *network) noteFile() string { return filepath.Join(n.h.state, "forwarding") }

// sweep removes interfaces, table and settings of a former process.
func (n *network) sweep() error {
	if links, err := netlink.LinkList(); err == nil {
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, n.prefix) {
				netlink.LinkDel(l)
			}
		}
	}
	os.Remove(n.resolvFile())
	err := dropTable(n.h.name())
	if b, err := os.ReadFile(n.noteFile()); err == nil && json.Unmarshal(b, &n.forward) == nil {
		n.restore()
	}
	return err
}

// setUp chooses the subnet and writes the rules, once.
func (n *network) setUp() error {
	n.setting.Lock()
	defer n.setting.Unlock()
	n.mu.Lock()
	ready := n.ready
	n.mu.Unlock()
	if ready {
		return nil
	}
	var err error
	if n.subnet, err = n.choose(n.h.o.Subnet); err != nil {
		return err
	}
	n.uplinks()
	if err := n.table(); err != nil {
		n.restore()
		return fmt.Errorf("nftables: %w", err)
	}
	lobby := n.openLobby()
	if lobby != nil {
		n.h.log.Warn("no names can be resolved inside private networks", "error", lobby)
	}
	n.mu.Lock()
	n.ready, n.noLobby = true, lobby
	n.mu.Unlock()
	return nil
}

func (n *network) restore() {
	for _, name := range n.forward {
		if !claimed(name, n.h.name()) {
			write("/proc/sys/net/ipv4/conf/"+name+"/forwarding", "0")
		}
	}
	n.forward = nil
	os.Remove(n.noteFile())
}

// choose finds a /16 no route of the host touches.
func (n *network) choose(asked string) (netip.Prefix, error) {
	if asked != "" {
		p, err := netip.ParsePrefix(asked)
		if err == nil && (!p.Addr().Is4() || p.Bits() > 28) {
			err = fmt.Errorf("subnet %s: an IPv4 network of /28 or larger is needed", asked)
		}
		return p.Masked(), err
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Prefix{}, err
	}
	first := int(n.h.hash[0])*31 + int(n.h.hash[1]) // different hosts begin at different places
	for i := range 50 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(200 + (first+i)%50), 0, 0}), 16)
		free := true
		for _, r := range routes {
			if r.Dst == nil {
				continue
			}
			a, _ := netip.AddrFromSlice(r.Dst.IP.To4())
			ones, _ := r.Dst.Mask.Size()
			if ones > 0 && p.Overlaps(netip.PrefixFrom(a, ones)) {
				free = false
			}
		}
		if free {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("no free network among 10.200.0.0/16 to 10.249.0.0/16")
}

// uplinks switches forwarding on where the host's default routes go.
func (n *network) uplinks() {
	n.mtu = 1500
	routes, _ := netlink.RouteList(nil, netlink.FAMILY_V4)
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones > 0 {
				continue
			}
		}
		l, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			continue
		}
		n.mtu = min(n.mtu, l.Attrs().MTU)
		file := "/proc/sys/net/ipv4/conf/" + l.Attrs().Name + "/forwarding"
		if knob(file, "") == "0" || claimed(l.Attrs().Name, n.h.name()) {
			n.forward = append(n.forward, l.Attrs().Name)
			b, _ := json.Marshal(n.forward)
			os.WriteFile(n.noteFile(), b, 0o644) // before the change: a crash must not lose it
			if err := write(file, "1"); err != nil {
				n.h.log.Warn("cannot forward for private networks", "interface", l.Attrs().Name, "error", err)
			}
		}
	}
}

// take returns a ready network, from the stock when there is one, and refills that.
func (n *network) take() (*link, error) {
	if err := n.setUp(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	var l *link
	if k := len(n.stock); k > 0 {
		l = n.stock[k-1]
		n.stock = n.stock[:k-1]
	}
	if !n.filling && !n.closed {
		n.filling = true
		n.wait.Add(1)
		go n.fill()
	}
	n.mu.Unlock()
	if l != nil {
		return l, nil
	}
	return n.make()
}

func (n *network) fill() {
	defer n.wait.Done()
	for {
		n.mu.Lock()
		if len(n.stock) >= stocked || n.closed {
			n.filling = false
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
		l, err := n.make()
		n.mu.Lock()
		if err != nil {
			n.filling = false
			n.mu.Unlock()
			n.h.log.Warn("cannot prepare private networks", "error", err)
			return
		}
		n.stock = append(n.stock, l)
		n.mu.Unlock()
	}
}

func (n *network) make() (*link, error) {
	n.mu.Lock()
	slots := 1 << (30 - n.subnet.Bits())
	if len(n.used) >= slots {
		n.mu.Unlock()
		return nil, fmt.Errorf("all %d private networks are in use", slots)
	}
	for n.used[n.next] {
		n.next = (n.next + 1) % slots
	}
	slot := n.next
	n.used[slot] = true
	n.next = (n.next + 1) % slots
	n.mu.Unlock()
	return n.at(slot)
}

// at makes the network of a slot that is reserved.
func (n *network) at(slot int) (*link, error) {
	l := &link{n: n, slot: slot, ns: -1, name: n.linkName(slot)}
	if err := l.build(); err != nil {
		l.release()
		return nil, fmt.Errorf("private network: %w", err)
	}
	return l, nil
}

func (n *network) linkName(slot int) string { return fmt.Sprintf("%s%x", n.prefix, slot) }

// addresses are the host's and the box's of the pair.
func (l *link) addresses() (host, box net.IP) {
	a := l.n.subnet.Addr().As4()
	base := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	base += uint32(l.slot) * 4
	at := func(n uint32) net.IP { return net.IPv4(byte(n>>24), byte(n>>16), byte(n>>8), byte(n)) }
	return at(base + 1), at(base + 2)
}

func (l *link) build() error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	l.ns = ns
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = l.name, l.n.mtu
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns), PeerMTU: uint32(l.n.mtu)}); err != nil {
		return err
	}
	outer, err := netlink.LinkByName(l.name)
	if err != nil {
		return err
	}
	write("/proc/sys/net/ipv6/conf/"+l.name+"/disable_ipv6", "1") // no way around the rules
	host, box := l.addresses()
	mask := net.CIDRMask(30, 32)
	if err := netlink.AddrAdd(outer, &netlink.Addr{IPNet: &net.IPNet{IP: host, Mask: mask}}); err != nil {
		return err
	}
	if err := write("/proc/sys/net/ipv4/conf/"+l.name+"/forwarding", "1"); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(outer); err != nil {
		return err
	}
	_, err = inNamespace(ns, func() (struct{}, error) {
		none := struct{}{}
		openPorts()
		if err := loopbackUp(); err != nil {
			return none, err
		}
		inner, err := netlink.LinkByName("eth0")
		if err != nil {
			return none, err
		}
		write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1")
		if err := netlink.AddrAdd(inner, &netlink.Addr{IPNet: &net.IPNet{IP: box, Mask: mask}}); err != nil {
			return none, err
		}
		if err := netlink.LinkSetUp(inner); err != nil {
			return none, err
		}
		return none, netlink.RouteAdd(&netlink.Route{LinkIndex: inner.Attrs().Index, Gw: host})
	})
	return err
}

// newNamespace makes an empty network namespace and returns its descriptor.
func newNamespace() (fd int, err error) {
	aside(func() (clean bool) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		return false
	})
	return fd, err
}

// inside runs f, which starts a process, on the spawner's thread in the box's
// network, when that exists already.
func (b *Box) inside(f func() (*os.Process, error)) (*os.Process, error) {
	ns := -1
	if b.link != nil {
		ns = b.link.ns
	} else if b.shared != nil {
		ns = b.shared.ns
	}
	if ns < 0 {
		return f()
	}
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(home)
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	p, err := f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		b.h.log.Error("the spawning thread is stuck in a box's network; restart hearth", "error", back)
	}
	return p, err
}

// release removes the pair and gives the addresses back.
func (l *link) release() {
	if l == nil {
		return
	}
	if outer, err := netlink.LinkByName(l.name); err == nil {
		netlink.LinkDel(outer)
	}
	if l.ns >= 0 {
		unix.Close(l.ns)
	}
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	delete(l.n.tenants, l.slot)
	if l.slot != lobbySlot {
		delete(l.n.used, l.slot)
	}
}

// close removes the stock, the rules and the settings.
func (n *network) close() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.wait.Wait()
	for _, l := range n.stock {
		l.release()
	}
	n.stock = nil
	n.closeLobby()
	err := dropTable(n.h.name())
	n.restore()
	return err
}
