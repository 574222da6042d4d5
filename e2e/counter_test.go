package e2e

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
)

// counter tells each caller its number, from 1.
type counter struct {
	port int
	n    atomic.Int64
}

func newCounter(t testing.TB) *counter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &counter{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(nc, c.n.Add(1))
			nc.Close()
		}
	}()
	return c
}

func (c *counter) count() int64 { return c.n.Load() }

// newFile serves bytes by HTTP and returns their address.
func newFile(t testing.TB, b []byte) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(b) }))
	t.Cleanup(s.Close)
	return s.URL
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
