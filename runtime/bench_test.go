package runtime_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
)

// BenchmarkCalls gives small JSON calls per second of one loader process, over
// one connection, with so many calls in flight.
func BenchmarkCalls(b *testing.B) {
	for _, bb := range []struct {
		name, handler string
		n             int
	}{
		{"node", "hello", 1}, {"node", "hello", 64}, {"node", "shapes.fetching", 64}, {"node", "shapes.node", 64},
		{"python", "hello", 1}, {"python", "hello", 64}, {"python", "shapes.later", 64}, {"python", "shapes.wsgi", 1}, {"python", "shapes.asgi", 64},
	} {
		b.Run(fmt.Sprintf("%s/%s/%d", bb.name, bb.handler, bb.n), func(b *testing.B) {
			i, _ := loaded(b, bb.name, bb.handler, bb.n)
			flood(b, i.socket, bb.n)
		})
	}
}

// flood keeps n calls in flight and counts answers; one read, one write per
// turn, so that the client costs little.
func flood(b *testing.B, socket string, n int) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	req := request{method: "POST", target: "/hello?x=1", id: "0123456789abcdef", ms: 60000, body: `{"name":"Ada"}`,
		headers: []header{{"content-type", "application/json"}, {"user-agent", "bench/1"}, {"accept", "*/*"}, {"content-length", "14"}}}
	next := uint32(1)
	one := encode(packet{typ: tRequest, end: true, payload: req.payload()})
	add := func(out []byte) []byte {
		at := len(out)
		out = append(out, one...)
		binary.BigEndian.PutUint32(out[at+4:], next)
		next++
		return out
	}
	out := encode(packet{typ: tHello, payload: []byte(`{"version":1,"role":"data"}`)})
	r := bufio.NewReaderSize(c, 1<<16)
	head := make([]byte, 12)
	// read gives the flags of the next frame.
	read := func() byte {
		if _, err := io.ReadFull(r, head); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(head))); err != nil {
			b.Fatal(err)
		}
		return head[9]
	}
	c.Write(out)
	read() // HELLO
	// Some calls first, so that the interpreter has compiled what it will.
	total := b.N + 2000
	sent, got := 0, 0
	for out = out[:0]; sent < min(n, total); sent++ {
		out = add(out)
	}
	c.Write(out)
	for got < total {
		out = out[:0]
		for {
			for read()&1 == 0 {
			}
			if got++; got == 2000 {
				b.ResetTimer()
			}
			if sent < total {
				out = add(out)
				sent++
			}
			if got == total || r.Buffered() < 12 {
				break
			}
		}
		c.Write(out)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.ReportMetric(0, "ns/op")
}
