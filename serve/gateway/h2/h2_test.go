package h2

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearth-run/hearth/runtime/frame"
)

// serve starts a server with h and returns how to reach it.
func serve(t testing.TB, h http.HandlerFunc, change func(*Config)) (s *Server, dial func(context.Context) (net.Conn, error)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Handler: h, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c)
	}
	s = New(c)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.ServeConn(nc, nil, nil) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.Close()
		wg.Wait()
	})
	return s, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	}
}

// web is net/http's own client, a peer that is not ours.
func web(t testing.TB, dial func(context.Context) (net.Conn, error)) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p, DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// instance is a server of net/http, which is not ours either.
func instance(t testing.TB, h http.HandlerFunc, h2 *http.HTTP2Config) func(context.Context) (net.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: p, HTTP2: h2}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	}
}

// echo answers with what it was sent, and says what it saw.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Saw", fmt.Sprint(r.Method, " ", r.Host, " ", r.URL.RequestURI(), " ", r.Header.Get("X-Sent"), " ", r.ContentLength, " ", r.Header.Get("Cookie")))
	w.Header().Set("Trailer", "X-Sum")
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)[:4]))
	w.Header().Set(http.TrailerPrefix+"X-Length", fmt.Sprint(n))
	for name, v := range r.Trailer {
		w.Header().Set(http.TrailerPrefix+"X-Back-"+name, v[0])
	}
}

func TestServer(t *testing.T) {
	_, dial := serve(t, echo, nil)
	c := web(t, dial)
	for _, size := range []int{0, 1, 100, 16 << 10, 70_000, 3 << 20} {
		sent := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for _, known := range []bool{true, false} {
			var body io.Reader = bytes.NewReader(sent)
			if !known {
				body = struct{ io.Reader }{body}
			}
			rq, _ := http.NewRequest("POST", "http://shop.example/a/b%20c?x=1", body)
			rq.Header.Set("X-Sent", "yes")
			rq.Header["Cookie"] = []string{"a=1", "b=2"}
			if !known {
				rq.Trailer = http.Header{"X-Last": {"word"}}
			}
			res, err := c.Do(rq)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
			}
			if saw := res.Header.Get("X-Saw"); !strings.HasPrefix(saw, "POST shop.example /a/b%20c?x=1 yes ") || !strings.HasSuffix(saw, "a=1; b=2") {
				t.Errorf("it saw %q", saw)
			}
			if res.Trailer.Get("X-Length") != fmt.Sprint(size) || res.Trailer.Get("X-Sum") == "" || !known && res.Trailer.Get("X-Back-X-Last") != "word" {
				t.Errorf("trailers %v", res.Trailer)
			}
			if res.Header.Get("Date") == "" {
				t.Error("no Date")
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	_, dial := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/204":
			w.WriteHeader(204)
		case "/304":
			w.Header().Set("Content-Length", "99")
			w.WriteHeader(304)
		case "/early":
			w.Header().Set("Link", "</a.css>")
			w.WriteHeader(103)
			w.Header().Del("Link")
			io.WriteString(w, "late")
		case "/short":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "four")
		case "/long":
			w.Header().Set("Content-Length", "2")
			io.WriteString(w, "four")
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/half":
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/bad":
			w.Header().Set("X-Good", "a\r\nX-Evil: b")
			w.Header()["Bad Name"] = []string{"x"}
			w.Header().Set("Connection", "close")
		case "/unread":
			io.WriteString(w, "no need")
		default:
			io.WriteString(w, "hello")
		}
	}, nil)
	c := web(t, dial)
	get := func(method, path string, body io.Reader) (*http.Response, string, error) {
		rq, _ := http.NewRequest(method, "http://x"+path, body)
		res, err := c.Do(rq)
		if err != nil {
			return nil, "", err
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return res, string(b), err
	}
	if res, b, err := get("GET", "/", nil); err != nil || b != "hello" || res.ContentLength != 5 {
		t.Errorf("%v %q %v", res, b, err)
	}
	if res, b, err := get("HEAD", "/", nil); err != nil || b != "" || res.StatusCode != 200 {
		t.Errorf("HEAD: %v %q %v", res, b, err)
	}
	if res, b, err := get("GET", "/204", nil); err != nil || b != "" || res.StatusCode != 204 {
		t.Errorf("204: %v %q %v", res, b, err)
	}
	if res, b, err := get("GET", "/304", nil); err != nil || b != "" || res.StatusCode != 304 {
		t.Errorf("304: %v %q %v", res, b, err)
	}
	if _, b, err := get("GET", "/early", nil); err != nil || b != "late" {
		t.Errorf("103: %q %v", b, err)
	}
	for _, p := range []string{"/short", "/long", "/panic", "/half"} {
		if res, b, err := get("GET", p, nil); err == nil {
			t.Errorf("%s: %v %q: it looks whole", p, res, b)
		}
	}
	if res, _, err := get("GET", "/bad", nil); err != nil || res.Header.Get("X-Evil") != "" || res.Header.Get("X-Good") != "" {
		t.Errorf("bad fields: %v %v", res, err)
	}
	if _, b, err := get("POST", "/unread", bytes.NewReader(make([]byte, 8<<20))); err == nil && b != "no need" {
		t.Errorf("an upload nobody reads: %q %v", b, err)
	}
	if _, b, err := get("GET", "/", nil); err != nil || b != "hello" {
		t.Errorf("after all that: %q %v", b, err)
	}
}

func TestManyAtOnce(t *testing.T) {
	_, dial := serve(t, echo, nil)
	in := instance(t, echo, &http.HTTP2Config{MaxConcurrentStreams: 7})
	c := web(t, dial)
	cl := NewClient(in)
	defer cl.Close()
	var wg sync.WaitGroup
	for i := range 200 {
		sent := strings.Repeat(fmt.Sprintf("%04d", i), 1+i*37)
		wg.Go(func() {
			res, err := c.Post("http://x/", "text/plain", strings.NewReader(sent))
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != sent {
				t.Errorf("%d: %d bytes of %d, %v", i, len(got), len(sent), err)
			}
		})
		wg.Go(func() {
			if got, _, err := ask(cl, "POST", "/", strings.NewReader(sent)); err != nil || got != sent {
				t.Errorf("client %d: %d bytes of %d, %v", i, len(got), len(sent), err)
			}
		})
	}
	wg.Wait()
}

// ask makes a call with a streamed body and collects the answer.
func ask(cl *Client, method, target string, body io.Reader) (string, *Answer, error) {
	r := &Request{Method: method, Scheme: "http", Target: target, Host: "x", Header: frame.Fields{{Name: "X-Sent", Value: "yes"}}}
	if body != nil {
		r.Body, r.Length = body, -1
		r.Trailer = func() frame.Fields { return frame.Fields{{Name: "x-last", Value: "word"}} }
	}
	a, err := cl.Do(context.Background(), r)
	if err != nil {
		return "", nil, err
	}
	defer a.Close()
	var all []byte
	for {
		b, err := a.Next()
		if all = append(all, b...); err == io.EOF {
			return string(all), a, nil
		} else if err != nil {
			return string(all), a, err
		}
	}
}

// A connection that ends as soon as it is there fails the call that asked for it;
// whichever of the two comes first, nobody waits for ever.
func TestGoneAtOnce(t *testing.T) {
	for i := range 3000 {
		cl := NewClient(func(context.Context) (net.Conn, error) {
			a, b := net.Pipe()
			b.Close()
			return a, nil
		})
		done := make(chan error, 1)
		go func() {
			_, _, err := ask(cl, "GET", "/", nil)
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil {
				t.Fatal("an answer from nowhere")
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("call %d waits for ever", i)
		}
		cl.Close()
	}
}

func TestClient(t *testing.T) {
	cl := NewClient(instance(t, echo, nil))
	defer cl.Close()
	for _, size := range []int{0, 5, 66_000, 5 << 20} {
		sent := strings.Repeat("x", size)
		got, a, err := ask(cl, "POST", "/p?q", strings.NewReader(sent))
		if err != nil || got != sent {
			t.Fatalf("%d: %d came back, %v", size, len(got), err)
		}
		status, fields := a.Head()
		if saw := fields.Get("x-saw"); status != 200 || saw != "POST x /p?q yes -1" {
			t.Errorf("%d, it saw %q", status, saw)
		}
		if f := a.Trailer(); f.Get("x-length") != fmt.Sprint(size) {
			t.Errorf("trailers %v", f)
		}
	}
	if len(cl.conns) != 1 {
		t.Errorf("%d connections for calls one after the other", len(cl.conns))
	}
}

func TestClientEnds(t *testing.T) {
	release := make(chan struct{})
	cl := NewClient(instance(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/half":
			io.WriteString(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/slow":
			select {
			case <-r.Context().Done():
			case <-release:
			}
		}
	}, nil))
	defer cl.Close()
	defer close(release)
	if _, _, err := ask(cl, "GET", "/abort", nil); !errors.Is(err, ErrReset) {
		t.Errorf("aborted: %v", err)
	}
	if got, _, err := ask(cl, "GET", "/half", nil); got != "half" || !errors.Is(err, ErrReset) {
		t.Errorf("aborted half way: %q %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := cl.Do(ctx, &Request{Method: "GET", Scheme: "http", Target: "/slow", Host: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := cl.Do(t.Context(), &Request{Method: "GET", Scheme: "http", Target: "/slow", Host: "x", Deadline: 20 * time.Millisecond}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("late: %v", err)
	}
	if got, _, err := ask(cl, "GET", "/ok", nil); err != nil || got != "" {
		t.Errorf("afterwards: %q %v", got, err)
	}
	if len(cl.conns) != 1 {
		t.Errorf("%d connections", len(cl.conns))
	}
	dead := NewClient(func(context.Context) (net.Conn, error) { return nil, errors.New("nobody there") })
	if _, _, err := ask(dead, "GET", "/", nil); !errors.Is(err, ErrUnanswered) {
		t.Errorf("nobody: %v", err)
	}
}

// TestShutdown: calls under way end well, and the client goes elsewhere without
// an error.
func TestShutdown(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s, dial := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			<-release
		}
		io.WriteString(w, "done")
	}, nil)
	c := web(t, dial)
	answer := make(chan string, 1)
	go func() {
		res, err := c.Get("http://x/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		b, _ := io.ReadAll(res.Body)
		answer <- string(b)
	}()
	<-begun
	ended := make(chan error, 1)
	go func() { ended <- s.Shutdown(context.Background()) }()
	for announced := false; !announced; runtime.Gosched() { // until the connection was told
		s.conns.Each(func(k *serverConn) {
			k.mu.Lock()
			announced = k.leaving
			k.mu.Unlock()
		})
	}
	select {
	case err := <-ended:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("the call under way: %q", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestGoAway: a client whose instance leaves loses no call.
func TestGoAway(t *testing.T) {
	var n atomic.Int64
	cl := NewClient(instance(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%5 == 0 {
			w.Header().Set("Connection", "close") // GOAWAY behind this answer
		}
		io.WriteString(w, "ok")
	}, nil))
	defer cl.Close()
	for i := range 50 {
		got, _, err := ask(cl, "GET", "/", nil)
		if err != nil {
			got, _, err = ask(cl, "GET", "/", nil) // what was not taken may be asked again
		}
		if err != nil || got != "ok" {
			t.Fatalf("call %d: %q %v", i, got, err)
		}
	}
}

// TestFullDuplex: both directions at once, message by message.
func TestFullDuplex(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		b := make([]byte, 100)
		for {
			n, err := r.Body.Read(b)
			if n > 0 {
				w.Write(bytes.ToUpper(b[:n]))
				w.(http.Flusher).Flush()
			}
			if err != nil {
				return
			}
		}
	}
	_, dial := serve(t, h, nil)
	for name, cl := range map[string]*Client{"ours": NewClient(dial), "net/http": NewClient(instance(t, h, nil))} {
		pr, pw := io.Pipe()
		a, err := cl.Do(t.Context(), &Request{Method: "POST", Scheme: "http", Target: "/", Host: "x", Length: -1, Body: pr})
		if err != nil {
			t.Fatal(name, err)
		}
		for i := range 100 {
			word := fmt.Sprintf("word %d", i)
			pw.Write([]byte(word))
			var got []byte
			for len(got) < len(word) {
				b, err := a.Next()
				if err != nil {
					t.Fatal(name, err)
				}
				got = append(got, b...)
			}
			if string(got) != strings.ToUpper(word) {
				t.Fatalf("%s: %q", name, got)
			}
		}
		pw.Close()
		if _, err := a.Next(); err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
		a.Close()
		cl.Close()
	}
}
