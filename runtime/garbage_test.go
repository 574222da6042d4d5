package runtime_test

import (
	"math/rand/v2"
	"net"
	"testing"
)

// TestGarbage: connections that speak valid frames with some bytes changed end,
// or go on, but never take the loader with them.
func TestGarbage(t *testing.T) {
	for _, name := range []string{"node", "python"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, k := loaded(t, name, "hello", 64)
			r := rand.New(rand.NewPCG(1, 2))
			var valid []byte
			valid = append(valid, encode(packet{typ: tHello, payload: []byte(`{"version":1,"role":"data"}`)})...)
			valid = append(valid, encode(packet{stream: 1, typ: tRequest, payload: jsonBody().payload()})...)
			valid = append(valid, encode(packet{stream: 3, typ: tRequest, end: true, payload: jsonBody().payload()})...)
			valid = append(valid, encode(packet{stream: 1, typ: tData, payload: make([]byte, 100)})...)
			valid = append(valid, encode(packet{stream: 1, typ: tWindow, payload: []byte{0, 1, 0, 0}})...)
			valid = append(valid, encode(packet{stream: 1, typ: tTrailers, payload: block([]header{{"a", "b"}})})...)
			valid = append(valid, encode(packet{stream: 5, typ: tCancel, payload: []byte("bye")})...)
			for range 300 {
				c, err := net.Dial("unix", i.socket)
				if err != nil {
					t.Fatal(err)
				}
				b := append([]byte(nil), valid...)
				for range 1 + r.IntN(4) {
					b[len(b)/8+r.IntN(len(b)*7/8)] = byte(r.UintN(256))
				}
				b = b[:len(b)-r.IntN(20)]
				for len(b) > 0 {
					n := min(len(b), 1+r.IntN(200))
					if _, err := c.Write(b[:n]); err != nil {
						break // it ended the connection already
					}
					b = b[n:]
				}
				c.Close()
			}
			if _, body := k.do(t, jsonBody()); body != `{"greeting":"Hello, Ada"}` {
				t.Error(body)
			}
			select {
			case <-i.exited:
				t.Error("the loader ended")
			default:
			}
		})
	}
}
