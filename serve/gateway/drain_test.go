package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

// A server that ends takes no new call and finishes those it has.
func TestServeDrains(t *testing.T) {
	w := newWorld(t)
	began, finish := make(chan struct{}), make(chan struct{})
	w.function("f", api.RevisionSpec{}, always(peer(t, api.ProtocolHearth, func(rw http.ResponseWriter, r *http.Request) {
		close(began)
		<-finish
		io.WriteString(rw, "whole")
	})))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.g.Serve(ctx, l, nil) }()
	got := make(chan string, 1)
	go func() {
		rq, _ := http.NewRequest("GET", "http://"+l.Addr().String()+"/", nil)
		rq.Host = "f.localhost"
		r, err := http.DefaultClient.Do(rq)
		if err != nil {
			got <- err.Error()
			return
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		got <- string(b)
	}()
	receive(t, began)
	cancel()
	for {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			break // the listener is closed
		}
		nc.Close()
	}
	close(finish)
	if b := receive(t, got); b != "whole" {
		t.Errorf("the call in progress got %q", b)
	}
	if err := receive(t, ended); err != nil {
		t.Error(err)
	}
}

// A body that never comes holds no instance and ends with the timeout.
func TestSlowBody(t *testing.T) {
	both(t, api.RevisionSpec{Timeout: api.Duration{Duration: 100 * time.Millisecond}}, say("f"), func(t *testing.T, w *world) {
		_, br := w.raw("POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 10\r\n\r\nslow")
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 504 {
			t.Fatalf("%v %v", res, err)
		}
		if n := w.waker.acquired.Load(); n != 0 {
			t.Errorf("%d instances were taken", n)
		}
	})
}

// After a timeout an instance with one slot is unfit, as it may still be busy;
// one with many goes on if it listens.
func TestTimeoutEndsABusyInstance(t *testing.T) {
	for _, tc := range []struct {
		concurrency int
		broken      int64
	}{{1, 1}, {10, 0}} {
		t.Run(fmt.Sprint(tc.concurrency), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			// Long enough to reach the instance, whatever else the machine does.
			w.function("f", api.RevisionSpec{Concurrency: tc.concurrency, Timeout: api.Duration{Duration: time.Second}},
				always(peer(t, api.ProtocolHearth, func(rw http.ResponseWriter, r *http.Request) { <-r.Context().Done() })))
			if r, _ := w.do(w.request("GET", "/", nil)); r.StatusCode != 504 {
				t.Errorf("%d", r.StatusCode)
			}
			if got := w.waker.broken.Load(); got != tc.broken {
				t.Errorf("%d leases broken, want %d", got, tc.broken)
			}
		})
	}
}

func TestConnectIsRefused(t *testing.T) {
	w := newWorld(t)
	_, br := w.raw("CONNECT f.localhost:80 HTTP/1.1\r\nHost: f.localhost:80\r\n\r\n")
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 501 {
		t.Errorf("%v %v", res, err)
	}
}
