//go:build linux

package socket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// Wrapped connections behave as others do: bytes, ends, deadlines, closing.
func TestConn(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address := "127.0.0.1:0"
			if network == "unix" {
				address = t.TempDir() + "/s"
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			a, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			b, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			a, b = Wrap(a), Wrap(b)
			defer a.Close()
			defer b.Close()
			want := bytes.Repeat([]byte("0123456789"), 200_000)
			go func() {
				for p := want; len(p) > 0; { // more than fits: writes wait
					n, err := a.Write(p[:min(len(p), 60_000)])
					if err != nil {
						t.Error(err)
						return
					}
					p = p[n:]
				}
				a.(interface{ CloseWrite() error }).CloseWrite()
			}()
			got, err := io.ReadAll(b)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes of %d: %v", len(got), len(want), err)
			}
			p := make([]byte, 10)
			a.SetReadDeadline(time.Unix(1, 0))
			var late net.Error
			if _, err := a.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &late) || !late.Timeout() {
				t.Errorf("a read that is too late: %v", err)
			}
			a.SetReadDeadline(time.Time{})
			ended := make(chan error)
			go func() {
				_, err := a.Read(p)
				ended <- err
			}()
			a.SetReadDeadline(time.Unix(1, 0)) // now or while it waits
			if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a read that was interrupted: %v", err)
			}
			a.SetReadDeadline(time.Time{})
			b.Close()
			if _, err := a.Read(p); err != io.EOF {
				t.Errorf("a read after the end: %v", err)
			}
			for err = nil; err == nil; {
				_, err = a.Write(p)
			}
			var op *net.OpError
			if !errors.As(err, &op) || op.Op != "write" {
				t.Errorf("a write after the end: %v", err)
			}
			a.Close()
			if _, err := a.Read(p); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a read after closing: %v", err)
			}
			if Unwrap(a) == a {
				t.Error("it was not wrapped")
			}
		})
	}
	x, y := net.Pipe()
	defer y.Close()
	defer x.Close()
	if Wrap(x) != x || Unwrap(x) != x {
		t.Error("what is no socket was wrapped")
	}
}
