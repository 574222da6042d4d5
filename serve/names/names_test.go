package names_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/hearth-run/hearth/serve/names"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var gateway = netip.MustParseAddr("10.200.0.2")

func config() names.Config {
	return names.Config{
		Domain: "cluster.local", Address: gateway, Resolvers: "/nonexistent",
		Known: func(name string) bool {
			return slices.Contains([]string{"hello.default.svc.cluster.local", "hello.shop.svc.cluster.local"}, name)
		},
		Tenant: func(a netip.Addr) string {
			return map[string]string{"127.0.0.1": "default", "10.200.0.6": "shop", "10.200.0.10": "empty"}[a.String()]
		},
	}
}

func ask(name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 77, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

// say writes an answer in short: code, flags, what it holds.
func say(t testing.TB, b []byte) string {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(b); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	out := strings.TrimPrefix(m.RCode.String(), "RCode")
	if !m.Response || m.ID != 77 {
		out += " no answer to this"
	}
	if m.Authoritative {
		out += " authoritative"
	}
	if m.Truncated {
		out += " truncated"
	}
	for _, r := range m.Answers {
		if a, ok := r.Body.(*dnsmessage.AResource); ok {
			out += " " + r.Header.Name.String() + "=" + netip.AddrFrom4(a.A).String()
		}
	}
	for _, r := range m.Authorities {
		out += fmt.Sprintf(" soa=%s", r.Header.Name)
	}
	for range m.Additionals {
		out += " edns"
	}
	return out
}

func TestAnswers(t *testing.T) {
	s := names.New(config())
	none := "NameError authoritative soa=cluster.local."
	empty := "Success authoritative soa=cluster.local."
	a := func(name string) string { return "Success authoritative " + name + "=10.200.0.2" }
	for _, tc := range []struct {
		name string
		kind dnsmessage.Type
		from string
		want string // "": passed on
	}{
		{"hello.default.svc.cluster.local.", dnsmessage.TypeA, "192.0.2.1", a("hello.default.svc.cluster.local.")},
		{"HELLO.Default.svc.CLUSTER.local.", dnsmessage.TypeA, "192.0.2.1", a("HELLO.Default.svc.CLUSTER.local.")},
		{"hello.default.svc.cluster.local.", dnsmessage.TypeALL, "192.0.2.1", a("hello.default.svc.cluster.local.")},
		{"hello.default.svc.cluster.local.", dnsmessage.TypeAAAA, "192.0.2.1", empty},
		{"hello.default.svc.cluster.local.", dnsmessage.TypeSRV, "192.0.2.1", empty},
		{"hello.default.svc.cluster.local.", dnsmessage.TypeHTTPS, "192.0.2.1", empty},
		{"nobody.default.svc.cluster.local.", dnsmessage.TypeA, "192.0.2.1", none},
		{"nobody.default.svc.cluster.local.", dnsmessage.TypeAAAA, "192.0.2.1", none},
		{"api.example.com.default.svc.cluster.local.", dnsmessage.TypeA, "192.0.2.1", none},
		{"hello.default.cluster.local.", dnsmessage.TypeA, "192.0.2.1", none},
		{"cluster.local.", dnsmessage.TypeA, "192.0.2.1", empty},
		{"svc.cluster.local.", dnsmessage.TypeA, "192.0.2.1", empty},
		{"hello.svc.cluster.local.", dnsmessage.TypeA, "10.200.0.6", a("hello.svc.cluster.local.")},
		{"hello.svc.cluster.local.", dnsmessage.TypeA, "10.200.0.10", none},
		{"hello.svc.cluster.local.", dnsmessage.TypeA, "192.0.2.1", none},
		{"example.com.", dnsmessage.TypeA, "192.0.2.1", ""},
		{"notcluster.local.", dnsmessage.TypeA, "192.0.2.1", ""},
		{"hello.default.svc.", dnsmessage.TypeA, "192.0.2.1", ""},
		{".", dnsmessage.TypeNS, "192.0.2.1", ""},
	} {
		out, pass := s.Answer(ask(tc.name, tc.kind), netip.MustParseAddr(tc.from))
		if pass != (tc.want == "") || !pass && say(t, out) != tc.want {
			t.Errorf("%s %s from %s: passed on %v, %q, want %q", tc.name, tc.kind, tc.from, pass, out, tc.want)
		}
	}
}

// TestOddMessages: what is no question is not answered, and what is a bad one is refused.
func TestOddMessages(t *testing.T) {
	s := names.New(config())
	good := ask("hello.default.svc.cluster.local.", dnsmessage.TypeA)
	with := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	edns := func() []byte {
		var m dnsmessage.Message
		if err := m.Unpack(good); err != nil {
			t.Fatal(err)
		}
		var h dnsmessage.ResourceHeader
		h.SetEDNS0(4096, 0, false)
		m.Additionals = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.OPTResource{}}}
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	for what, tc := range map[string]struct {
		msg  []byte
		want string
	}{
		"nothing":          {nil, ""},
		"half a header":    {good[:7], ""},
		"an answer":        {with(func(b []byte) []byte { b[2] |= 0x80; return b }), ""},
		"another code":     {with(func(b []byte) []byte { b[2] |= 5 << 3; return b }), "NotImplemented"},
		"no question":      {with(func(b []byte) []byte { b[5] = 0; return b[:12] }), "FormatError"},
		"two questions":    {with(func(b []byte) []byte { b[5] = 2; return append(b, b[12:]...) }), "FormatError"},
		"half a question":  {good[:20], "FormatError"},
		"a missing record": {with(func(b []byte) []byte { b[11] = 1; return b }), "FormatError"},
		"another class":    {with(func(b []byte) []byte { b[len(b)-1] = 3; return b }), "Refused authoritative soa=cluster.local."},
		"edns":             {edns, "Success authoritative hello.default.svc.cluster.local.=10.200.0.2 edns"},
	} {
		out, pass := s.Answer(tc.msg, gateway)
		if pass || (out == nil) != (tc.want == "") || out != nil && say(t, out) != tc.want {
			t.Errorf("%s: passed on %v, %x, want %q", what, pass, out, tc.want)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "[127.0.0.1:53]",
		"search a\noptions x\n":    "[127.0.0.1:53]",
		"nameserver 192.0.2.1":     "[192.0.2.1:53]",
		"nameserver 192.0.2.1 # x": "[192.0.2.1:53]",
		"#nameserver 1.1.1.1\n; nameserver 1.1.1.1\nnameserver\nnameserver x\n\tnameserver\t2001:db8::1\r\n": "[[2001:db8::1]:53]",
		"nameserver fe80::1%lo\n": "[[fe80::1%lo]:53]",
		"nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4": "[192.0.2.1:53 192.0.2.2:53 192.0.2.3:53]",
	} {
		if got := fmt.Sprint(names.Parse(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// served is a server on loopback, whose resolvers are at 127.0.0.1 and a port.
func served(t *testing.T, c names.Config, port uint16) (udp, tcp string) {
	t.Helper()
	s := names.New(c)
	s.SetPort(port)
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, pc, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return pc.LocalAddr().String(), l.Addr().String()
}

// outer is the host's resolver: it says what f does, by datagram and by stream.
func outer(t *testing.T, f func(network string, msg []byte) [][]byte) uint16 {
	t.Helper()
	var pc net.PacketConn
	var port uint16
	l, err := net.Listener(nil), error(nil)
	for try := 0; l == nil; try++ { // what is free for datagrams may be taken for streams
		if pc, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		port = pc.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		if l, err = net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
			pc.Close()
			if try == 100 {
				t.Fatal(err)
			}
			l = nil
		}
	}
	t.Cleanup(func() { pc.Close(); l.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			for _, out := range f("udp", slices.Clone(b[:n])) {
				pc.WriteTo(out, from)
			}
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			for _, out := range f("tcp", long(c)) {
				c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
			c.Close()
		}
	}()
	return port
}

func long(r io.Reader) []byte {
	var n [2]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil
	}
	b := make([]byte, binary.BigEndian.Uint16(n[:]))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil
	}
	return b
}

// reply answers a question with an address.
func reply(msg []byte, code dnsmessage.RCode, a string, cut bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(msg) != nil {
		return nil
	}
	m.Response, m.RCode, m.Truncated = true, code, cut
	if a != "" {
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 60},
			Body: &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()}}}
	}
	b, _ := m.Pack()
	return b
}

func exchange(t *testing.T, network, at string, msg []byte) string {
	t.Helper()
	c, err := net.Dial(network, at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	if network == "tcp" {
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
		return say(t, long(c))
	}
	c.Write(msg)
	b := make([]byte, 65536)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return say(t, b[:n])
}

// TestForward: names of others are the host's resolvers' to answer, whatever they say.
func TestForward(t *testing.T) {
	port := outer(t, func(network string, msg []byte) [][]byte {
		var m dnsmessage.Message
		if m.Unpack(msg) != nil {
			return nil
		}
		switch m.Questions[0].Name.String() {
		case "long.example.com.": // does not fit in a datagram
			if network == "udp" {
				return [][]byte{reply(msg, 0, "", true)}
			}
			return [][]byte{reply(msg, 0, "192.0.2.9", false)}
		case "none.example.com.":
			return [][]byte{reply(msg, dnsmessage.RCodeNameError, "", false)}
		case "broken.example.com.":
			return [][]byte{reply(msg, dnsmessage.RCodeServerFailure, "", false)}
		case "forged.example.com.": // others' answers come first
			number, question, name := reply(msg, 0, "192.0.2.66", false), reply(msg, 0, "192.0.2.66", false), reply(msg, 0, "192.0.2.66", false)
			number[0] ^= 1
			question[2] &^= 0x80
			name[13] ^= 1
			return [][]byte{{1, 2, 3}, number, question, name, reply(msg, 0, "192.0.2.7", false)}
		}
		return [][]byte{reply(msg, 0, "192.0.2.7", false)}
	})
	file := filepath.Join(t.TempDir(), "resolv.conf")
	c := config()
	c.Resolvers = file
	udp, tcp := served(t, c, port)
	os.WriteFile(file, []byte("nameserver 127.0.0.9\nnameserver 127.0.0.1\n"), 0o644) // nobody listens at the first
	for _, tc := range []struct{ network, name, want string }{
		{"udp", "www.example.com.", "Success www.example.com.=192.0.2.7"},
		{"tcp", "www.example.com.", "Success www.example.com.=192.0.2.7"},
		{"udp", "long.example.com.", "Success truncated"},
		{"tcp", "long.example.com.", "Success long.example.com.=192.0.2.9"},
		{"udp", "none.example.com.", "NameError"},
		{"udp", "broken.example.com.", "ServerFailure"},
		{"udp", "forged.example.com.", "Success forged.example.com.=192.0.2.7"},
		{"udp", "hello.default.svc.cluster.local.", "Success authoritative hello.default.svc.cluster.local.=10.200.0.2"},
		{"tcp", "hello.default.svc.cluster.local.", "Success authoritative hello.default.svc.cluster.local.=10.200.0.2"},
		{"udp", "hello.svc.cluster.local.", "Success authoritative hello.svc.cluster.local.=10.200.0.2"},
	} {
		at := udp
		if tc.network == "tcp" {
			at = tcp
		}
		if got := exchange(t, tc.network, at, ask(tc.name, dnsmessage.TypeA)); got != tc.want {
			t.Errorf("%s %s: %q, want %q", tc.network, tc.name, got, tc.want)
		}
	}
}

// TestNoResolver: where nobody answers, that is said and not waited for.
func TestNoResolver(t *testing.T) {
	free, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	free.Close()
	udp, _ := served(t, config(), port)
	if got := exchange(t, "udp", udp, ask("www.example.com.", dnsmessage.TypeA)); got != "ServerFailure" {
		t.Error(got)
	}
}

// TestStreams: many questions on one connection, halves of some, and too long ones.
func TestStreams(t *testing.T) {
	_, tcp := served(t, config(), 1)
	c, err := net.Dial("tcp", tcp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	one := ask("hello.default.svc.cluster.local.", dnsmessage.TypeA)
	one = append(binary.BigEndian.AppendUint16(nil, uint16(len(one))), one...)
	c.Write(append(slices.Clone(one), one...))
	for range 2 {
		if got := say(t, long(c)); !strings.HasSuffix(got, "=10.200.0.2") {
			t.Error(got)
		}
	}
	c.Write(one[:9])
	c.Write(one[9:])
	if got := say(t, long(c)); !strings.HasSuffix(got, "=10.200.0.2") {
		t.Error(got)
	}
	c.Write([]byte{0xff, 0xff})
	if b := long(c); b != nil {
		t.Errorf("a question of 65535 bytes got %x", b)
	}
}

// TestManyQuestions: one who asks without end keeps nobody else from being answered.
func TestManyQuestions(t *testing.T) {
	asked := make(chan string, 4*names.MostOne)
	port := outer(t, func(_ string, msg []byte) [][]byte {
		var m dnsmessage.Message
		if m.Unpack(msg) == nil {
			asked <- m.Questions[0].Name.String()
		}
		return nil // never
	})
	seen := map[string]bool{}
	await := func(done func() bool) {
		for !done() {
			select {
			case name := <-asked:
				seen[name] = true // some are asked again
			case <-time.After(time.Minute):
				t.Fatal("nothing is passed on any more")
			}
		}
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	os.WriteFile(file, []byte("nameserver 127.0.0.1\n"), 0o644)
	c := config()
	c.Resolvers = file
	udp, _ := served(t, c, port)
	greedy, err := net.Dial("udp", udp)
	if err != nil {
		t.Fatal(err)
	}
	defer greedy.Close()
	begun := time.Now()
	for i := range names.MostOne {
		greedy.Write(ask(fmt.Sprintf("n%d.example.com.", i), dnsmessage.TypeA))
		await(func() bool { return len(seen) == i+1 })
	}
	greedy.Write(ask("onemore.example.com.", dnsmessage.TypeA))
	if got := exchange(t, "udp", udp, ask("hello.default.svc.cluster.local.", dnsmessage.TypeA)); !strings.HasSuffix(got, "=10.200.0.2") {
		t.Error(got)
	}
	other, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("udp", udp)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	other.Write(ask("other.example.com.", dnsmessage.TypeA))
	await(func() bool { return seen["other.example.com."] })
	if seen["onemore.example.com."] && time.Since(begun) < names.WholeTime { // else the first have been given up
		t.Error("one address has more questions passed on than it may")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(ask("hello.default.svc.cluster.local.", dnsmessage.TypeA))
	f.Add(ask("example.com.", dnsmessage.TypeAAAA))
	f.Add([]byte{})
	s := names.New(config())
	f.Fuzz(func(t *testing.T, msg []byte) {
		out, pass := s.Answer(msg, netip.MustParseAddr("10.200.0.6"))
		if out == nil {
			return
		}
		if pass {
			t.Fatal("answered and passed on")
		}
		var p dnsmessage.Parser
		h, err := p.Start(out)
		if err != nil || !h.Response || len(msg) < 12 || h.ID != binary.BigEndian.Uint16(msg) {
			t.Fatalf("%x: %v %+v", out, err, h)
		}
		if len(out) > 512+len(msg) {
			t.Fatalf("%d bytes for %d", len(out), len(msg))
		}
		if again, _ := s.Answer(out, gateway); again != nil {
			t.Fatal("an answer is answered")
		}
	})
}
