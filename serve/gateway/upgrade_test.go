package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

func TestUpgrade(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			t.Errorf("header %v", r.Header)
		}
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\nX-Own: 1\r\n\r\nhi!")
		rw.Flush()
		io.Copy(nc, rw)
	}, func(t *testing.T, w *world) {
		nc, br := w.raw("GET /chat HTTP/1.1\r\nHost: f.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nearly")
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 101 || res.Header.Get("Upgrade") != "echo" || res.Header.Get("X-Own") != "1" || res.Header.Get("X-Request-Id") == "" {
			t.Fatalf("%+v %v", res, err)
		}
		b := make([]byte, 8)
		if _, err := io.ReadFull(br, b); err != nil || string(b) != "hi!early" {
			t.Fatalf("%q %v", b, err)
		}
		if w.waker.released.Load() != 0 {
			t.Error("the lease was given back with the connection open")
		}
		big := bytes.Repeat([]byte("w"), 1<<20)
		go func() {
			nc.Write(big)
			nc.(interface{ CloseWrite() error }).CloseWrite()
		}()
		if got, err := io.ReadAll(br); !bytes.Equal(got, big) {
			t.Errorf("%d bytes came back (%v), want %d", len(got), err, len(big))
		}
		k := receive(t, w.calls.c)
		if want := int64(len("early") + len(big)); k.Status != 101 || k.In != want || k.Out != want+int64(len("hi!")) || k.Path != "/chat" || k.Duration <= 0 {
			t.Errorf("record %+v", k)
		}
		w.settled()
		if n := w.waker.released.Load(); n != 1 {
			t.Errorf("the lease was given back %d times", n)
		}
	})
}

// talk changes the protocol and then writes words forever, or none.
func talk(words string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer nc.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: talk\r\nConnection: Upgrade\r\n\r\n")
		rw.Flush()
		if words == "" {
			io.Copy(io.Discard, rw)
			return
		}
		for err == nil {
			_, err = io.WriteString(nc, words)
		}
	}
}

const upgrade = "GET / HTTP/1.1\r\nHost: f.localhost\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n"

// The limit of the whole call ends a connection that is in use, the one of
// silence of the program one on which only the client talks, and the timeout one
// on which nobody does.
func TestUpgradeLimits(t *testing.T) {
	soon := func() *api.Duration { d := api.Duration{Duration: 100 * time.Millisecond}; return &d }
	for name, c := range map[string]struct {
		spec     api.RevisionSpec
		program  string // what it says all the time
		chatters bool   // the client
	}{
		"whole":   {api.RevisionSpec{RequestTimeout: soon()}, "words ", true},
		"idle":    {api.RevisionSpec{IdleTimeout: soon()}, "", true},
		"timeout": {api.RevisionSpec{Timeout: *soon()}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, c.spec, talk(c.program), func(t *testing.T, w *world) {
				nc, br := w.raw(upgrade)
				if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
					t.Fatalf("%v, %v", res, err)
				}
				if c.chatters {
					go func() {
						for err := error(nil); err == nil; {
							_, err = io.WriteString(nc, "words ")
						}
					}()
				}
				if _, err := io.Copy(io.Discard, br); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Fatal("it did not end")
				}
				if k := receive(t, w.calls.c); k.Status != 101 || k.Duration < 100*time.Millisecond {
					t.Errorf("record %+v", k)
				}
				w.settled()
			})
		})
	}
}

// Close ends connections that have changed their protocol, and writes them down.
func TestUpgradeAtTheEnd(t *testing.T) {
	w := newWorld(t)
	w.function("f", api.RevisionSpec{}, always(peer(t, api.ProtocolHTTP, talk(""))))
	_, br := w.raw(upgrade)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	for late := time.Now().Add(patience); w.g.Upgraded() == 0; w.wait("") {
		if time.Now().After(late) {
			t.Fatal("the handler does not end")
		}
	}
	w.g.Close()
	select {
	case k := <-w.calls.c:
		if k.Status != 101 {
			t.Errorf("record %+v", k)
		}
	default:
		t.Error("it was not written down")
	}
	io.Copy(io.Discard, br)
	w.settled()
}

func TestUpgradeOverTLS(t *testing.T) {
	certs := httptest.NewTLSServer(nil)
	defer certs.Close()
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.g.Serve(ctx, l, &tls.Config{Certificates: certs.TLS.Certificates}) }()
	defer func() {
		cancel()
		if err := receive(t, ended); err != nil {
			t.Error(err)
		}
	}()
	w.function("f", api.RevisionSpec{}, always(peer(t, api.ProtocolHTTP, func(rw http.ResponseWriter, r *http.Request) {
		nc, b, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: talk\r\nConnection: Upgrade\r\n\r\n")
		b.Flush()
		io.Copy(nc, b)
	})))
	nc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	io.WriteString(nc, upgrade+"early ")
	br := bufio.NewReader(nc)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	want := bytes.Repeat([]byte("secret "), 100_000)
	go func() {
		nc.Write(want)
		nc.CloseWrite()
	}()
	if got, err := io.ReadAll(br); err != nil || string(got) != "early "+string(want) {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if k := receive(t, w.calls.c); k.Status != 101 || k.In != int64(len("early ")+len(want)) || k.Out != k.In {
		t.Errorf("record %+v", k)
	}
	w.settled()
}
