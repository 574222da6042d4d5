package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestPrivateNetwork runs networkTest in a network namespace of its own, so
// that the machine's interfaces and rules stay as they are.
func TestPrivateNetwork(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "inside", "network", t.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// networkTest plays a host with one uplink to an outside world.
func networkTest(args []string) int {
	code := 0
	check := func(what string, got any, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			fmt.Printf("FAIL %s: got %v, want %v\n", what, got, want)
			code = 1
		}
	}
	outside, err := uplink()
	if err != nil {
		fmt.Println("uplink:", err)
		return 1
	}
	defer unix.Close(outside)
	far, err := inNamespace(outside, func() (net.Listener, error) { return net.Listen("tcp", "198.51.100.2:80") })
	if err != nil {
		fmt.Println(err)
		return 1
	}
	go answer(far, func(c net.Conn) string { return "you are " + host(c.RemoteAddr()) })
	loop, _ := net.Listen("tcp", "127.0.0.1:81")
	go answer(loop, func(net.Conn) string { return "the host's loopback" })

	ctx, stop := context.WithTimeout(context.Background(), 2*patience)
	defer stop()
	h, err := Open(ctx, Options{State: args[0]})
	if err != nil || h.net == nil {
		fmt.Println(err, h.noNet)
		return 1
	}
	var lobby LobbySockets
	ended := 0
	h.SetLobby(Lobby{Domain: "cluster.test", Open: func(s LobbySockets) func() {
		lobby = s
		go answer(s.Calls, func(c net.Conn) string {
			return "the lobby, " + h.TenantAt(netip.MustParseAddrPort(c.RemoteAddr().String()).Addr())
		})
		go answer(s.Streams, func(net.Conn) string { return "names" })
		go func() {
			b := make([]byte, 512)
			for {
				n, from, err := s.Names.ReadFrom(b)
				if err != nil {
					return
				}
				b[2] |= 0x80 // an answer
				s.Names.WriteTo(b[:n], from)
			}
		}()
		return func() { ended++; s.Calls.Close(); s.Names.Close(); s.Streams.Close() }
	}})
	check("names before the first network", h.CheckNames(ctx).OK, true)
	exe, _ := os.Executable()
	binds := []Bind{{Source: exe, Target: "/runtime/test"}}
	r, w, _ := os.Pipe()
	server, err := h.Start(ctx, Config{Args: []string{"/runtime/test", "inside", "serve", "0.0.0.0:8888"}, Binds: binds, Network: NetworkPrivate, Stdout: w})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	w.Close()
	if _, err := io.ReadFull(r, make([]byte, len("listening\n"))); err != nil {
		fmt.Println("the server does not listen:", err)
		return 1
	}
	_, serverIP := server.link.addresses()
	ask := func(network string, address ...string) string {
		var out strings.Builder
		_, err := h.Run(ctx, Config{Args: append([]string{"/runtime/test", "inside", "dial"}, address...), Binds: binds, Network: network}, &out)
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(out.String())
	}
	refused := func(s string) bool { return strings.HasPrefix(s, "refused") }
	check("out, translated", ask(NetworkPrivate, "198.51.100.2:80", "patiently"), "you are 198.51.100.1 <nil>")
	check("own loopback only", refused(ask(NetworkPrivate, "127.0.0.1:81")), true)
	check("box to box", refused(ask(NetworkPrivate, serverIP.String()+":8888")), true)
	check("link-local", refused(ask(NetworkPrivate, "169.254.169.254:80")), true)
	check("none", refused(ask(NetworkNone, "198.51.100.2:80")), true)
	check("host", ask(NetworkHost, "127.0.0.1:81", "patiently"), "the host's loopback <nil>")
	front := lobby.Address.String()
	l81, err := inNamespace(h.net.lobby.link.ns, func() (net.Listener, error) { return net.Listen("tcp", front+":81") })
	check("another port in the lobby", err, nil)
	defer l81.Close()
	check("calls", ask(NetworkPrivate, front+":80", "patiently"), "the lobby,  <nil>")
	check("streams", ask(NetworkPrivate, front+":53", "patiently"), "names <nil>")
	check("another port", refused(ask(NetworkPrivate, front+":81")), true)
	check("lobby without a network", refused(ask(NetworkNone, front+":80")), true)
	finding := h.CheckNames(ctx)
	check("names: "+finding.Detail, finding.OK, true)
	// Another firewall of the host drops what it does not know.
	c := &nftables.Conn{}
	policy := nftables.ChainPolicyDrop
	other := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "other"})
	c.AddChain(&nftables.Chain{Name: "forward", Table: other, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy})
	check("another firewall", c.Flush(), nil)
	finding = h.CheckNames(ctx)
	check("names through another firewall: "+finding.Detail, finding.OK, false)
	check("what helps", strings.Contains(finding.Fix, "firewall"), true)
	check("no other firewall", dropTable("other"), nil)
	server.SetTenant("shop")
	addr, _ := netip.AddrFromSlice(serverIP.To4())
	check("tenant", h.TenantAt(addr), "shop")
	check("tenant of the host's end", h.TenantAt(addr.Prev()), "")
	c80, err := server.Dial(ctx, "tcp", front+":80")
	check("a call of a known tenant", err, nil)
	if err == nil {
		b, _ := io.ReadAll(c80)
		check("a call of a known tenant", string(b), "the lobby, shop")
	}
	var resolv strings.Builder
	_, err = h.Run(ctx, Config{Args: []string{"/bin/cat", "/etc/resolv.conf"}, Network: NetworkPrivate}, &resolv)
	check("resolv.conf", err, nil)
	if want := "nameserver " + front + "\nsearch svc.cluster.test cluster.test"; !strings.HasPrefix(resolv.String(), want) || !strings.HasSuffix(resolv.String(), "\noptions ndots:5\n") {
		check("resolv.conf", resolv.String(), want)
	}
	pod, err := h.Share("pod", NetworkPrivate)
	check("share", err, nil)
	if err == nil {
		var text []byte
		check("tenant of what is shared", pod.SetTenant("shop"), nil)
		check("resolv.conf of what is shared", h.roots.scene.with(func() (err error) {
			text, err = os.ReadFile(pod.layer + "/etc/resolv.conf")
			return err
		}), nil)
		check("search of what is shared", strings.Contains(string(text), "nameserver "+front+"\nsearch shop.svc.cluster.test svc.cluster.test cluster.test"), true)
		_, ip := pod.link.addresses()
		addr, _ := netip.AddrFromSlice(ip.To4())
		check("tenant at its address", h.TenantAt(addr), "shop")
		pod.Close()
		check("tenant at its address in the end", h.TenantAt(addr), "")
	}
	_, err = inNamespace(outside, func() (net.Conn, error) { return net.DialTimeout("tcp", front+":80", time.Second) })
	check("lobby from outside", err != nil, true)

	// From outside, with a route to the boxes, nothing gets in.
	_, err = inNamespace(outside, func() (net.Conn, error) { return net.DialTimeout("tcp", serverIP.String()+":8888", time.Second) })
	check("from outside", err != nil, true)

	// The host connects to the fixed port on the box's own loopback.
	begin := time.Now()
	own, err := server.Dial(ctx, "tcp", "127.0.0.1:8888")
	if err != nil {
		fmt.Println("FAIL dial inside:", err)
		return 1
	}
	fmt.Println("dial inside:", time.Since(begin))
	b, _ := io.ReadAll(own)
	check("dial inside", string(b), "from inside")
	own.Close()
	l, err := server.Listen("tcp", "127.0.0.1:9999")
	check("listen inside", err, nil)
	if err == nil {
		go answer(l, func(net.Conn) string { return "helper" })
		c, err := server.Dial(ctx, "tcp", "127.0.0.1:9999")
		check("dial the helper", err, nil)
		if err == nil {
			b, _ := io.ReadAll(c)
			check("helper", string(b), "helper")
		}
		l.Close()
	}
	check("forwarding on the uplink", knob("/proc/sys/net/ipv4/conf/up0/forwarding", ""), "1")
	check("forwarding elsewhere", knob("/proc/sys/net/ipv4/conf/lo/forwarding", ""), "0")
	check("forwarding of the host", knob("/proc/sys/net/ipv4/ip_forward", ""), "0")

	// A host killed here leaves all that behind; the next one sweeps it.
	server.Kill()
	<-server.Done()
	h2, err := Open(ctx, Options{State: args[0]})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	check("resolv.conf after the sweep", exists(h.net.resolvFile()), false)
	check("links after the sweep", len(ourLinks()), 0)
	check("tables after the sweep", tables(), 0)
	check("close", h2.Close(ctx), nil)
	check("tables after close", tables(), 0)
	check("forwarding after close", knob("/proc/sys/net/ipv4/conf/up0/forwarding", ""), "0")

	// Of several at once each leaves the others' boxes their way out, also when it ends.
	several := map[string]*Host{}
	out := func(name string) {
		var got strings.Builder
		_, err := several[name].Run(ctx, Config{Args: []string{"/runtime/test", "inside", "dial", "198.51.100.2:80", "patiently"}, Binds: binds, Network: NetworkPrivate}, &got)
		check("out of "+name+" of several", fmt.Sprint(strings.TrimSpace(got.String()), err), "you are 198.51.100.1 <nil><nil>")
	}
	for _, name := range []string{"one", "two"} {
		if several[name], err = Open(ctx, Options{State: filepath.Join(args[0], name)}); err != nil {
			fmt.Println(err)
			return 1
		}
		out(name)
	}
	out("one")
	check("close one of several", several["one"].Close(ctx), nil)
	out("two")
	check("forwarding with one of several", knob("/proc/sys/net/ipv4/conf/up0/forwarding", ""), "1")
	check("close the last", several["two"].Close(ctx), nil)
	check("forwarding after the last", knob("/proc/sys/net/ipv4/conf/up0/forwarding", ""), "0")
	return code
}

// uplink makes the outside world: a namespace behind our default route.
func uplink() (int, error) {
	ns, err := newNamespace()
	if err != nil {
		return -1, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "up0"
	err = errors.Join(loopbackUp(), netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "out0", PeerNamespace: netlink.NsFd(ns)}))
	if err != nil {
		return -1, err
	}
	set := func(name, addr, gateway string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, _ := netlink.ParseAddr(addr)
		return errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l), netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(gateway)}))
	}
	if err := set("up0", "198.51.100.1/24", "198.51.100.2"); err != nil {
		return -1, err
	}
	return inNamespace(ns, func() (int, error) { return ns, set("out0", "198.51.100.2/24", "198.51.100.1") })
}

func answer(l net.Listener, text func(net.Conn) string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		io.WriteString(c, text(c))
		c.Close()
	}
}

func host(a net.Addr) string { h, _, _ := net.SplitHostPort(a.String()); return h }

func ourLinks() (out []string) {
	links, _ := netlink.LinkList()
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, linkPrefix) {
			out = append(out, l.Attrs().Name)
		}
	}
	return out
}

func tables() int {
	c := &nftables.Conn{}
	t, _ := c.ListTablesOfFamily(nftables.TableFamilyIPv4)
	return len(t)
}
