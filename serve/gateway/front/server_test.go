package front

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a server whose foreign connections the test gets.
type site struct {
	t      testing.TB
	s      *Server
	l      net.Listener
	handed chan handed
	served chan error
}

type handed struct {
	nc   net.Conn
	read string
}

func serve(t testing.TB, h http.HandlerFunc, change func(*Config)) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &site{t: t, l: l, handed: make(chan handed, 10), served: make(chan error, 1)}
	c := Config{
		Handler: h, HeaderTime: time.Minute, IdleTime: time.Minute, MaxBody: 100, Log: slog.New(slog.DiscardHandler),
		Hand: func(nc net.Conn, read []byte) { w.handed <- handed{nc, string(read)} },
	}
	if change != nil {
		change(&c)
	}
	w.s = New(c)
	go func() { w.served <- w.s.Serve(l) }()
	t.Cleanup(func() {
		l.Close()
		<-w.served
		w.s.Close()
		w.s.Shutdown(context.Background())
	})
	return w
}

func (w *site) dial(text string) (net.Conn, *bufio.Reader) {
	w.t.Helper()
	nc, err := net.Dial("tcp", w.l.Addr().String())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(nc, text); err != nil {
		w.t.Fatal(err)
	}
	return nc, bufio.NewReader(nc)
}

// answer reads one answer and says what matters of it.
func answer(t testing.TB, br *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	r, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, string(b)
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s %s %q %v", r.Method, r.RequestURI, b, err)
}

func TestPipelining(t *testing.T) {
	w := serve(t, echo, nil)
	_, br := w.dial("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbodyHEAD /3 HTTP/1.1\r\nHost: h\r\n\r\nGET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /5 HTTP/1.1\r\nHost: h\r\n\r\n")
	for i, want := range []string{`GET /1 "" <nil>`, `POST /2 "body" <nil>`, "", `GET /4 "" <nil>`} {
		r, got := answer(t, br, map[bool]string{true: "HEAD", false: "GET"}[i == 2])
		if got != want || r.StatusCode != 200 || r.Header.Get("Date") == "" || r.Close != (i == 3) {
			t.Errorf("answer %d: %v %q", i+1, r, got)
		}
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Errorf("after the last answer: %q", rest)
	}
}

// What is not plain goes to net/http with every byte of it, also after plain
// requests.
func TestForeign(t *testing.T) {
	w := serve(t, echo, nil)
	for name, text := range map[string]string{
		"HTTP/1.0":       "GET / HTTP/1.0\r\n\r\n",
		"HTTP/2":         "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"chunks":         "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":    "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		"a large body":   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n",
		"upgrade":        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly",
		"expect":         "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
		"bare newlines":  "GET / HTTP/1.1\nHost: h\n",
		"no host":        "GET / HTTP/1.1\r\n\r\n",
		"TLS":            "\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
		"absolute":       "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
		"CONNECT":        "CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n",
		"a long head":    "GET / HTTP/1.1\r\nHost: h\r\nA: " + strings.Repeat("a", headSize),
		"space in names": "GET / HTTP/1.1\r\nHost: h\r\nContent-Length : 1\r\n\r\n",
	} {
		for _, before := range []string{"", "GET /before HTTP/1.1\r\nHost: h\r\n\r\n"} {
			nc, br := w.dial(before + text)
			if before != "" {
				if _, got := answer(t, br, "GET"); got != `GET /before "" <nil>` {
					t.Errorf("%s: before: %q", name, got)
				}
			}
			var h handed
			select {
			case h = <-w.handed:
			case <-time.After(time.Minute):
				t.Fatalf("%s: it was not handed over", name)
			}
			h.nc.SetReadDeadline(time.Now().Add(time.Minute))
			rest := make([]byte, len(text)-len(h.read))
			if _, err := io.ReadFull(h.nc, rest); err != nil || h.read+string(rest) != text {
				t.Errorf("%s: handed over with %q and %q: %v", name, h.read, rest, err)
			}
			h.nc.Close()
			nc.Close()
		}
	}
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 3*outSize)
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		switch r.URL.Path {
		case "/flushed":
			io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			io.WriteString(w, "b")
		case "/trailers":
			h.Set("Trailer", "X-T")
			io.WriteString(w, "a")
			h.Set("X-T", "1")
			h.Set(http.TrailerPrefix+"x-u", "2")
		case "/long":
			io.WriteString(w, "a")
			io.WriteString(w, long)
		case "/counted":
			h.Set("Content-Length", fmt.Sprint(len(long)))
			io.WriteString(w, long)
		case "/short":
			h.Set("Content-Length", "3")
			io.WriteString(w, "ab")
		case "/over":
			h.Set("Content-Length", "3")
			if _, err := io.WriteString(w, "abcd"); err != http.ErrContentLength {
				t.Error(err)
			}
			io.WriteString(w, "abc")
		case "/204":
			h.Set("Content-Length", "3")
			w.WriteHeader(204)
		case "/304":
			h.Set("Content-Type", "x/y")
			h.Set("Etag", "e")
			w.WriteHeader(304)
		case "/split":
			h["X-A"] = []string{"a\r\nX-B: b"}
			h["X C: d"] = []string{"e"}
			w.WriteHeader(299)
		case "/hints":
			h.Set("Link", "l")
			w.WriteHeader(103)
			h.Del("Link")
		case "/abort":
			io.WriteString(w, "lost")
			panic(http.ErrAbortHandler)
		case "/panic":
			panic("at the disco")
		}
	}, nil)
	for path, want := range map[string]string{
		"/":         "HTTP/1.1 200 OK|Content-Length: 0||",
		"/flushed":  "HTTP/1.1 200 OK|Transfer-Encoding: chunked||1|a|1|b|0||",
		"/trailers": "HTTP/1.1 200 OK|Trailer: X-T|Transfer-Encoding: chunked||1|a|0|X-T: 1|X-U: 2||",
		"/long":     "HTTP/1.1 200 OK|Transfer-Encoding: chunked||1|a|c000|" + long + "|0||",
		"/counted":  fmt.Sprintf("HTTP/1.1 200 OK|Content-Length: %d||%s", len(long), long),
		"/short":    "HTTP/1.1 200 OK|Content-Length: 3||ab!",
		"/over":     "HTTP/1.1 200 OK|Content-Length: 3||abc",
		"/204":      "HTTP/1.1 204 No Content||",
		"/304":      "HTTP/1.1 304 Not Modified|Etag: e||",
		"/split":    "HTTP/1.1 299 status code 299|X-A: a  X-B: b|Content-Length: 0||",
		"/hints":    "HTTP/1.1 103 Early Hints|Link: l||HTTP/1.1 200 OK|Content-Length: 0||",
		"/abort":    "!",
		"/panic":    "!",
	} {
		// The second request shows where the first's answer ends, or that the
		// connection does.
		_, br := w.dial("GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\nGET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(br)
		var lines []string
		for l := range strings.SplitSeq(string(b), "\r\n") {
			if !strings.HasPrefix(l, "Date: ") {
				lines = append(lines, l)
			}
		}
		got, whole := strings.CutSuffix(strings.Join(lines, "|"), "HTTP/1.1 200 OK|Connection: close|Content-Length: 0||")
		if !whole {
			got += "!"
		}
		if i, j := strings.Index(got, "X-T: 1"), strings.Index(got, "X-U: 2"); i > j { // in any order
			got = strings.Replace(got, "X-U: 2|X-T: 1", "X-T: 1|X-U: 2", 1)
		}
		if got != want {
			t.Errorf("%s: %.300q, want %.300q", path, got, want)
		}
	}
}

// The client's end reaches a handler that takes its time; bytes that come
// meanwhile are the next request.
func TestWatching(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			io.Copy(io.Discard, r.Body)
			began <- struct{}{}
			<-ended
			w.Write([]byte("slow"))
			return
		}
		if r.URL.Path == "/gone" {
			began <- struct{}{}
			stopped := make(chan struct{})
			context.AfterFunc(r.Context(), func() { close(stopped) })
			<-stopped
			<-r.Context().Done()
			if r.Context().Err() != context.Canceled {
				t.Error(r.Context().Err())
			}
			ended <- struct{}{}
			return
		}
		echo(w, r)
	}, nil)
	nc, br := w.dial("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbo")
	io.WriteString(nc, "dy")
	<-began
	var c *conn
	w.s.conns.Each(func(k *conn) { c = k })
	for state := notWatched; state != watched; { // it is watched, now
		c.mu.Lock()
		state = c.watch
		c.mu.Unlock()
	}
	io.WriteString(nc, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
	for state := watched; state == watched; { // and has taken the next request
		c.mu.Lock()
		state = c.watch
		c.mu.Unlock()
	}
	ended <- struct{}{}
	if _, got := answer(t, br, "GET"); got != "slow" {
		t.Errorf("%q", got)
	}
	if _, got := answer(t, br, "GET"); got != `GET /next "" <nil>` {
		t.Errorf("%q", got)
	}
	io.WriteString(nc, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n") // and ends while it is watched
	<-began
	for state := notWatched; state != watched; {
		c.mu.Lock()
		state = c.watch
		c.mu.Unlock()
	}
	ended <- struct{}{}
	if _, got := answer(t, br, "GET"); got != "slow" {
		t.Errorf("%q", got)
	}
	io.WriteString(nc, "GET /gone HTTP/1.1\r\nHost: h\r\n\r\n")
	<-began
	nc.Close()
	<-ended
}

// A head that does not come, or not to its end, ends the connection.
func TestSlowHeads(t *testing.T) {
	// The time to be idle is enough for a slow client to begin.
	w := serve(t, echo, func(c *Config) { c.HeaderTime, c.IdleTime = 50*time.Millisecond, 2*time.Second })
	var wg sync.WaitGroup
	for _, text := range []string{"", "G", "GET / HTTP/1.1\r\nHost: h\r\nA: b"} {
		for _, before := range []string{"", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"} {
			_, br := w.dial(before + text)
			if before != "" {
				answer(t, br, "GET")
			}
			wg.Go(func() {
				if b, err := io.ReadAll(br); err != nil || len(b) > 0 {
					t.Errorf("%q: %q %v", text, b, err)
				}
			})
		}
	}
	wg.Wait()
}

// An answer that did not wait for the body reaches a client that still sends.
func TestUnreadBody(t *testing.T) {
	w := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, nil)
	nc, br := w.dial("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234")
	if r, _ := answer(t, br, "POST"); r.StatusCode != 403 || !r.Close {
		t.Errorf("%v", r)
	}
	io.WriteString(nc, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
	if b, _ := io.ReadAll(br); len(b) > 0 {
		t.Errorf("it went on with %q", b)
	}
	_, br = w.dial("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	for range 2 { // all of it has come: the connection goes on
		if r, _ := answer(t, br, "POST"); r.StatusCode != 403 || r.Close {
			t.Errorf("%v", r)
		}
	}
}

// Shutdown ends what waits and waits for what runs.
func TestShutdown(t *testing.T) {
	began, finish := make(chan struct{}), make(chan struct{})
	w := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-finish
		}
		echo(w, r)
	}, nil)
	_, idle := w.dial("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	answer(t, idle, "GET")
	_, slow := w.dial("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
	<-began
	w.l.Close()
	ended := make(chan error)
	go func() { ended <- w.s.Shutdown(context.Background()) }()
	if b, err := io.ReadAll(idle); err != nil || len(b) > 0 {
		t.Errorf("the waiting connection: %q %v", b, err)
	}
	select {
	case <-ended:
		t.Error("it did not wait")
	default:
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.s.Shutdown(ctx); err != context.Canceled {
		t.Error(err)
	}
	close(finish)
	if r, got := answer(t, slow, "GET"); got != `GET /slow "" <nil>` {
		t.Errorf("%v %q", r, got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(slow); err != nil || len(b) > 0 {
		t.Errorf("after the last answer: %q %v", b, err)
	}
}
