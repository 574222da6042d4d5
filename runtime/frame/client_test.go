package frame_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime/frame"
)

func get(target string) *frame.Request {
	return &frame.Request{Method: "GET", Target: target, Authority: "example.com", Scheme: "http", Remote: "192.0.2.1:1", ID: "r1"}
}

func body(t testing.TB, r *frame.Response) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("body: %v", err)
	}
	r.Close()
	return string(b)
}

func TestCallCarriesEverything(t *testing.T) {
	c := start(t, frame.RoleData, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Echo", r.Header.Get("X-In"))
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(201)
		fmt.Fprintf(w, "%s %s %s %s %s %s", r.Method, r.RequestURI, r.Host, r.RemoteAddr, b, r.Trailer.Get("X-T"))
		w.Header().Set("X-Sum", "42")
	}, frame.ServeOptions{Hello: frame.Hello{Runtime: "go"}}, frame.Options{})
	h, err := c.Hello(within(t))
	if err != nil || h.Runtime != "go" || h.Version != 1 {
		t.Fatalf("hello %+v, %v", h, err)
	}
	rq := get("/a/b?c=d")
	rq.Method = "POST"
	rq.Header = frame.Fields{{"X-In", "one"}}
	rq.First = []byte("fir")
	rq.Body = strings.NewReader("st")
	rq.Trailer = func() frame.Fields { return frame.Fields{{"x-t", "end"}} }
	r, err := c.Do(within(t), rq)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if want := "POST /a/b?c=d example.com 192.0.2.1:1 first end"; string(got) != want || err != nil {
		t.Errorf("body %q %v, want %q", got, err, want)
	}
	if r.Status != 201 || r.Header.Get("x-echo") != "one" || r.Trailer().Get("x-sum") != "42" {
		t.Errorf("status %d header %v trailer %v", r.Status, r.Header, r.Trailer())
	}
	r.Close()
	if c.Open() != 0 {
		t.Errorf("%d calls are still open", c.Open())
	}
}

func TestLargeBodiesBothWays(t *testing.T) {
	c := start(t, frame.RoleData, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }, frame.ServeOptions{}, frame.Options{})
	want := bytes.Repeat([]byte("0123456789abcdef"), 300_000) // 4.8 MB: many windows
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			rq := get("/")
			rq.Body = bytes.NewReader(want)
			r, err := c.Do(within(t), rq)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			var got bytes.Buffer
			if _, err := r.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%d bytes back (%v), want %d", got.Len(), err, len(want))
			}
		})
	}
	wg.Wait()
}

// A call whose answer nobody reads must not stop another one.
func TestSlowCallStopsNoOther(t *testing.T) {
	big := make([]byte, 2<<20)
	c := start(t, frame.RoleData, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/big" {
			w.Write(big)
			return
		}
		io.WriteString(w, "small")
	}, frame.ServeOptions{}, frame.Options{})
	slow, err := c.Do(within(t), get("/big"))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		r, err := c.Do(within(t), get("/"))
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, r); got != "small" {
			t.Fatalf("got %q", got)
		}
	}
	if got := body(t, slow); len(got) != len(big) {
		t.Errorf("%d bytes of the slow one, want %d", len(got), len(big))
	}
}

func TestCancelReachesTheHandler(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	c := start(t, frame.RoleData, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	}, frame.ServeOptions{}, frame.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-began; cancel() }()
	_, err := c.Do(ctx, get("/"))
	if !api.IsCode(err, api.CodeCanceled) {
		t.Errorf("error %v, want canceled", err)
	}
	<-ended
}

func TestDeadline(t *testing.T) {
	ended := make(chan struct{})
	c := start(t, frame.RoleData, func(w http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(ended)
	}, frame.ServeOptions{}, frame.Options{})
	rq := get("/")
	rq.Deadline = 500 * time.Millisecond // enough to be sent
	if _, err := c.Do(within(t), rq); !api.IsCode(err, api.CodeTimeout) {
		t.Errorf("error %v, want timeout", err)
	}
	<-ended
}

func TestDeadlineWhileTheAnswerStreams(t *testing.T) {
	c := start(t, frame.RoleData, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}, frame.ServeOptions{}, frame.Options{})
	rq := get("/")
	rq.Deadline = time.Hour
	r, err := c.Do(within(t), rq)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := r.Next(); string(b) != "begun" || err != nil {
		t.Fatalf("%q %v", b, err)
	}
	r.SetDeadline(10 * time.Millisecond)
	if _, err := r.Next(); !api.IsCode(err, api.CodeTimeout) {
		t.Errorf("error %v, want timeout", err)
	}
}

func TestLoad(t *testing.T) {
	var got frame.Load
	c := start(t, frame.RoleControl, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }, frame.ServeOptions{Load: func(l frame.Load) error {
		if got = l; l.Handler == "bad" {
			return &api.Error{Code: api.CodeLoadFailed, Message: "no such module", Detail: "Traceback: line 1"}
		}
		return nil
	}}, frame.Options{})
	r, err := c.Do(within(t), get("/"))
	if err != nil {
		t.Fatal(err)
	}
	if b := body(t, r); b != "warm" {
		t.Errorf("before LOAD: %q, want warm", b)
	}
	_, err = c.Load(within(t), frame.Load{Handler: "bad"})
	if e := api.AsError(err); e == nil || e.Code != api.CodeLoadFailed || e.Message != "no such module" || e.Detail != "Traceback: line 1" {
		t.Errorf("error %#v", err)
	}
	if _, err := c.Load(within(t), frame.Load{Handler: "main", Env: map[string]string{"A": "b"}}); err != nil {
		t.Fatal(err)
	}
	if got.Env["A"] != "b" {
		t.Errorf("the loader got %+v", got)
	}
	if r, err = c.Do(within(t), get("/")); err != nil {
		t.Fatal(err)
	}
	if b := body(t, r); b != "hello" {
		t.Errorf("after LOAD: %q", b)
	}
	if err := c.Ping(within(t)); err != nil {
		t.Error(err)
	}
}

func TestLogs(t *testing.T) {
	lines := make(chan string, 1)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in := frame.NewInstance(http.NotFoundHandler(), frame.ServeOptions{})
	defer in.Close()
	nc, _ := net.Dial("unix", l.Addr().String())
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	in.ServeConn(peer)
	c := frame.NewClient(nc, frame.Options{Role: frame.RoleControl, OnLog: func(stream int, request string, text []byte) {
		lines <- fmt.Sprintf("%d %s %s", stream, request, text)
	}})
	defer c.Close()
	if err := c.Ping(within(t)); err != nil { // the HELLO has arrived
		t.Fatal(err)
	}
	if err := in.Log(2, "r9", []byte("oops\n")); err != nil {
		t.Fatal(err)
	}
	if got := <-lines; got != "2 r9 oops\n" {
		t.Errorf("got %q", got)
	}
}

// A lost connection ends all calls, and says which were not answered at all.
func TestLostConnection(t *testing.T) {
	var all sync.WaitGroup
	all.Add(2)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	in := frame.NewInstance(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
		}
		all.Done()
		<-r.Context().Done()
	}), frame.ServeOptions{})
	nc, _ := net.Dial("unix", l.Addr().String())
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	in.ServeConn(peer)
	c := frame.NewClient(nc, frame.Options{})
	r, err := c.Do(within(t), get("/begun"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() { all.Wait(); in.Close() }()
	_, err = c.Do(within(t), get("/unanswered"))
	if !api.IsCode(err, api.CodeInstanceLost) || !errors.Is(err, frame.ErrUnanswered) {
		t.Errorf("unanswered: %v", err)
	}
	_, err = io.ReadAll(r)
	if !api.IsCode(err, api.CodeInstanceLost) || errors.Is(err, frame.ErrUnanswered) {
		t.Errorf("begun: %v", err)
	}
	<-c.Done()
	if _, err := c.Do(within(t), get("/")); !errors.Is(err, frame.ErrUnanswered) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestInformationalAndPanic(t *testing.T) {
	c := start(t, frame.RoleData, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("oh")
		}
		w.Header().Set("Link", "</x>")
		w.WriteHeader(103)
		w.WriteHeader(204)
	}, frame.ServeOptions{}, frame.Options{})
	rq := get("/")
	var infos []string
	rq.Informational = func(status int, h frame.Fields) { infos = append(infos, fmt.Sprint(status, h.Get("link"))) }
	r, err := c.Do(within(t), rq)
	if err != nil {
		t.Fatal(err)
	}
	if b := body(t, r); r.Status != 204 || b != "" || len(infos) != 1 || infos[0] != "103</x>" {
		t.Errorf("%d %q %v", r.Status, b, infos)
	}
	_, err = c.Do(within(t), get("/panic"))
	if !errors.Is(err, frame.ErrCallFailed) || errors.Is(err, frame.ErrUnanswered) {
		t.Errorf("error %v, want a failed call", err)
	}
	if r, err = c.Do(within(t), get("/")); err != nil {
		t.Fatalf("the connection did not survive: %v", err)
	}
	r.Close()
}

func TestUpgrade(t *testing.T) {
	c := start(t, frame.RoleData, func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		rw.Flush()
		io.Copy(nc, nc)
	}, frame.ServeOptions{}, frame.Options{})
	rq := get("/")
	rq.Upgrade = true
	rq.Header = frame.Fields{{"connection", "upgrade"}, {"upgrade", "echo"}}
	r, err := c.Do(within(t), rq)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Status != 101 || r.Header.Get("upgrade") != "echo" {
		t.Fatalf("%d %v", r.Status, r.Header)
	}
	for _, s := range []string{"one", "two"} {
		if _, err := r.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
		if b, err := r.Next(); string(b) != s || err != nil {
			t.Fatalf("%q %v", b, err)
		}
	}
	r.CloseWrite()
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after CloseWrite: %v, want EOF", err)
	}
}

func TestManyCallsAtOnce(t *testing.T) {
	c := start(t, frame.RoleData, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RequestURI) }, frame.ServeOptions{}, frame.Options{})
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 200 {
				target := fmt.Sprintf("/%d/%d", g, i)
				r, err := c.Do(within(t), get(target))
				if err != nil {
					t.Error(err)
					return
				}
				if got := body(t, r); got != target {
					t.Errorf("%s got the answer %s", target, got)
					return
				}
			}
		})
	}
	wg.Wait()
}
