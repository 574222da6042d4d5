package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime/frame"
)

// TestFrameClient: the host's own side of the protocol and the loaders agree.
func TestFrameClient(t *testing.T) {
	for _, tt := range []struct{ name, handler string }{{"node", "stream.echo"}, {"node", "stream.pipe"}, {"python", "stream:echo"}, {"python", "stream:aecho"}} {
		t.Run(tt.name+"/"+tt.handler, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			i := start(t, tt.name)
			s := spec(t, tt.name, tt.handler, 4)
			if f := i.control.load(t, s); f != nil {
				t.Fatal(f)
			}
			nc, err := net.Dial("unix", i.socket)
			if err != nil {
				t.Fatal(err)
			}
			c := frame.NewClient(nc, frame.Options{})
			defer c.Close()
			if h, err := c.Hello(ctx); err != nil || h.Runtime != tt.name {
				t.Fatalf("%+v %v", h, err)
			}
			if err := c.Ping(ctx); err != nil {
				t.Fatal(err)
			}
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
			r, err := c.Do(ctx, &frame.Request{Method: "POST", Target: "/", Authority: "x", Scheme: "http", ID: "1", Body: bytes.NewReader(data)})
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data) || r.Status != 200 {
				t.Errorf("%d, %d bytes, %v", r.Status, len(got), err)
			}
			r.Close()
			// A caller that goes away in the middle leaves the connection well.
			for range 5 {
				pr, pw := io.Pipe()
				callCtx, leave := context.WithCancel(ctx)
				go pw.Write(data[:1000])
				r, err := c.Do(callCtx, &frame.Request{Method: "POST", Target: "/", ID: "2", Body: pr})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
					t.Fatal(err)
				}
				leave()
				if _, err := r.Read(make([]byte, 1)); !api.IsCode(err, api.CodeCanceled) && !errors.Is(err, context.Canceled) {
					t.Errorf("after leaving: %v", err)
				}
				pw.Close()
				r.Close()
			}
			r, err = c.Do(ctx, &frame.Request{Method: "POST", Target: "/", ID: "3", Body: strings.NewReader("still here")})
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(r); string(b) != "still here" || err != nil {
				t.Errorf("%q %v", b, err)
			}
			r.Close()
		})
	}
}

// TestFrameUnread: an answer that is complete before the request's body is read
// stops neither the connection nor the sender.
func TestFrameUnread(t *testing.T) {
	for _, tt := range []struct{ name, handler string }{{"node", "shapes.early"}, {"python", "shapes:application"}, {"python", "stream:live"}} {
		t.Run(tt.name+"/"+tt.handler, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			i, _ := loaded(t, tt.name, tt.handler, 4)
			nc, err := net.Dial("unix", i.socket)
			if err != nil {
				t.Fatal(err)
			}
			c := frame.NewClient(nc, frame.Options{})
			defer c.Close()
			for range 3 {
				r, err := c.Do(ctx, &frame.Request{Method: "POST", Target: "/", ID: "1", Body: bytes.NewReader(make([]byte, 3<<20))})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(r); err != nil {
					t.Error(err)
				}
				r.Close()
			}
		})
	}
}
