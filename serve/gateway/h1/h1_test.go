package h1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newReader(r io.Reader) *bufio.Reader { return bufio.NewReader(r) }

// Connections are kept when an answer was read to its end, and only then.
func TestConnectionsAreKept(t *testing.T) {
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/chunked":
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			io.WriteString(w, "b")
		case "/close":
			w.Header().Set("Connection", "close")
		default:
			fmt.Fprint(w, "hello")
		}
	})}
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve(l) }()
	defer func() { s.Close(); <-ended }()
	dials := 0
	c := New(func(ctx context.Context) (net.Conn, error) {
		dials++
		return net.Dial("unix", l.Addr().String())
	})
	defer c.Close()
	call := func(path string, whole bool) {
		t.Helper()
		r, err := c.Do(context.Background(), &Request{Method: "GET", Target: path, Host: "h"})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for whole {
			if _, err := r.Next(); err == io.EOF {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 5 {
		call("/", true)
		call("/chunked", true)
	}
	if dials != 1 || c.Idle() != 1 {
		t.Errorf("%d connections made, %d kept; want 1, 1", dials, c.Idle())
	}
	call("/chunked", false)
	if c.Idle() != 0 {
		t.Error("a connection with an answer half read was kept")
	}
	call("/close", true)
	if c.Idle() != 0 {
		t.Error("a connection that the program closes was kept")
	}
}
