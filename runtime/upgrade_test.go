package runtime_test

import (
	"encoding/binary"
	"strings"
	"testing"
)

func upgradeTo(what, target string, more ...header) request {
	return request{target: target, id: "up", open: true, headers: append([]header{{"connection", "Upgrade"}, {"upgrade", what}}, more...)}
}

// until reads body bytes until they are n, or the end.
func until(t *testing.T, c *call, n int) string {
	t.Helper()
	var b []byte
	for len(b) < n {
		p, err := c.read()
		if err != nil {
			t.Fatalf("after %q: %v", b, err)
		}
		b = append(b, p...)
	}
	return string(b)
}

func TestUpgrade(t *testing.T) {
	_, k := loaded(t, "node", "sockets", 4)
	if c, body := k.do(t, request{}); c.status != 200 || body != "no upgrade" {
		t.Errorf("%d %q", c.status, body)
	}
	c := k.start(upgradeTo("echo", "/"))
	if err := c.response(); err != nil || c.status != 101 || c.header("upgrade") != "echo" {
		t.Fatalf("%d %v %v", c.status, c.headers, err)
	}
	if got := until(t, c, 2); got != "hi" {
		t.Errorf("%q", got)
	}
	for _, s := range []string{"one", "two"} {
		c.write([]byte(s), 100, false)
		if got := until(t, c, 3); got != strings.ToUpper(s) {
			t.Errorf("%q", got)
		}
	}
	c.write(nil, 1, true)
	if rest, err := c.all(); rest != "bye" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	c = k.start(upgradeTo("echo", "/refuse"))
	if err := c.response(); err != nil || c.status != 400 || c.header("x-why") != "because" || c.header("connection") != "" {
		t.Fatalf("%d %v %v", c.status, c.headers, err)
	}
	if b, err := c.all(); b != "no" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	// A client that goes away takes nobody with it.
	c = k.start(upgradeTo("echo", "/"))
	if err := c.response(); err != nil {
		t.Fatal(err)
	}
	c.cancel("gone")
	if c, _ := k.do(t, request{}); c.status != 200 {
		t.Error(c.status)
	}
}

// clientFrame is a masked WebSocket frame.
func clientFrame(opcode byte, data string) []byte {
	b := []byte{0x80 | opcode}
	if len(data) < 126 {
		b = append(b, 0x80|byte(len(data)))
	} else {
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	}
	mask := [4]byte{1, 2, 3, 4}
	b = append(b, mask[:]...)
	for i := range len(data) {
		b = append(b, data[i]^mask[i%4])
	}
	return b
}

func TestASGI(t *testing.T) {
	i, k := loaded(t, "python", "stream:live", 4)
	if c, body := k.do(t, request{}); c.status != 200 || body != "yes" {
		t.Errorf("lifespan state: %d %q", c.status, body)
	}
	ask := []header{{"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="}, {"sec-websocket-version", "13"}, {"sec-websocket-protocol", "chat, other"}}
	c := k.start(upgradeTo("websocket", "/", ask...))
	if err := c.response(); err != nil || c.status != 101 || c.header("sec-websocket-accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || c.header("sec-websocket-protocol") != "chat" {
		t.Fatalf("%d %v %v", c.status, c.headers, err)
	}
	c.write(clientFrame(1, "hello"), 3, false)
	if got := until(t, c, 7); got != "\x81\x05HELLO" {
		t.Errorf("%q", got)
	}
	// In fragments, with a ping between.
	part := clientFrame(1, "he")
	part[0] = 1
	c.write(part, 100, false)
	c.write(clientFrame(9, "p"), 100, false)
	if got := until(t, c, 3); got != "\x8a\x01p" {
		t.Errorf("pong %q", got)
	}
	c.write(clientFrame(0, strings.Repeat("y", 200)), 100, false)
	if got := until(t, c, 206); got != "\x81\x7e\x00\xcaHE"+strings.Repeat("Y", 200) {
		t.Errorf("%q", got)
	}
	c.write(clientFrame(8, "\x03\xe9"), 100, false)
	if got, err := c.all(); got != "\x88\x02\x03\xe9" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if l := i.control.log(t); l != (logLine{1, "up", "closed with 1001"}) {
		t.Errorf("%+v", l)
	}
	// An unmasked frame breaks the protocol: closed with 1002.
	c = k.start(upgradeTo("websocket", "/", ask...))
	c.response()
	c.write([]byte("\x81\x01x"), 100, false)
	if got, _ := c.all(); got != "\x88\x02\x03\xea" {
		t.Errorf("%q", got)
	}
	i.control.log(t)
	c = k.start(upgradeTo("websocket", "/refuse", ask...))
	if err := c.response(); err != nil || c.status != 403 {
		t.Errorf("%d %v", c.status, err)
	}
	i.control.send(packet{typ: tDrain})
	if l := i.control.log(t); l.text != "shut down" {
		t.Errorf("%+v", l)
	}
	if code := i.exit(t); code != 0 {
		t.Errorf("exit status %d", code)
	}
}
