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
	for _, name := range []string{"node", "python"} {
		for _, concurrency := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", name, concurrency), func(b *testing.B) {
				i, _ := loaded(b, name, "hello", concurrency)
				flood(b, i.socket, concurrency)
			})
		}
	}
	b.Run("python-async/64", func(b *testing.B) {
		i, _ := loaded(b, "python", "shapes.later", 64)
		flood(b, i.socket, 64)
	})
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
	read := func() byte {
		if _, err := io.ReadFull(r, head); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Discard(int(binary.BigEndian.Uint32(head))); err != nil {
			b.Fatal(err)
		}
		return head[8]
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
			if t := read(); t != tResponse {
				b.Fatalf("frame %d", t)
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
