package frame_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearth-run/hearth/runtime/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves h on a unix socket and returns a client of role.
func start(t testing.TB, role string, h http.HandlerFunc, o frame.ServeOptions, co frame.Options) *frame.Client {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	in := frame.NewInstance(h, o)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			in.ServeConn(nc)
		}
	}()
	nc, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	co.Role = role
	c := frame.NewClient(nc, co)
	t.Cleanup(func() {
		c.Close()
		in.Close()
		l.Close()
		<-ended
	})
	return c
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
