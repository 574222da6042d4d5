package front

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// FuzzHead holds the head's parser against net/http's: what it accepts, that
// reads in the very same way and to the same byte. What it leaves to net/http
// needs no holding.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a%2Fb/c;x?d=e&f HTTP/1.1\r\nhost: H:80\r\nAccept: */*\r\naccept: a\r\nX-Empty:\r\n\r\nGET",
		"GET /? HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET //a//b HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: Keep-Alive\r\n\r\n",
		"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabcdef",
		"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
		"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc",
		"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n folded\r\n\r\nabc",
		"GET / HTTP/1.1\nHost: h\n\n",
		"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nA: b\nc: d\r\n\r\n",
		"GET /x#y HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\n\xff: b\r\nc_d: \xffx\t\r\n\r\n",
		"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: h\r\n\r\n", "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nPragma: no-cache\r\n\r\n",
	} {
		f.Add([]byte(s), 7)
	}
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		const most = 1000
		var h head
		n := h.parse(b, 0, most)
		if cut >= 0 && cut <= len(b) { // in two pieces
			var two head
			m := two.parse(b[:cut], 0, most)
			if m == incomplete {
				m = two.parse(b, cut, most)
			}
			if m != n {
				t.Fatalf("%d at once, %d in pieces", n, m)
			}
		}
		if n <= 0 {
			return
		}
		in := bytes.NewReader(b)
		br := bufio.NewReaderSize(in, 64<<10)
		r, err := http.ReadRequest(br)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", b[:n], err)
		}
		if at := len(b) - in.Len() - br.Buffered(); at != n {
			t.Fatalf("the head ends at %d, for net/http at %d", n, at)
		}
		if r.Method != h.method || r.RequestURI != h.target || r.Host != h.host || r.ContentLength != h.length || r.Close != h.close || r.Proto != "HTTP/1.1" || r.TransferEncoding != nil || r.Trailer != nil {
			t.Fatalf("%+v is not %+v", h, r)
		}
		if !reflect.DeepEqual(*r.URL, h.url) {
			t.Fatalf("%#v is not %#v", h.url, *r.URL)
		}
		if !reflect.DeepEqual(r.Header, h.header) {
			t.Fatalf("%q is not %q", h.header, r.Header)
		}
		if r.Host == "" || strings.ContainsAny(r.Host, " /@\\,") {
			t.Fatalf("host %q", r.Host)
		}
		for name, values := range h.header {
			for _, v := range append(values, name) {
				if strings.ContainsAny(v, "\r\n\x00") {
					t.Fatalf("%q: %q", name, values)
				}
			}
		}
		if v := h.header["Content-Length"]; len(v) > 1 || len(v) == 1 && strings.TrimLeft(v[0], "0") != strings.TrimLeft(strconv.FormatInt(h.length, 10), "0") {
			t.Fatalf("content-length %q is %d", v, h.length)
		}
		if len(b)-n >= int(h.length) {
			body, err := io.ReadAll(r.Body)
			if err != nil || !bytes.Equal(body, b[n:n+int(h.length)]) {
				t.Fatalf("body %q, %v", body, err)
			}
		}
	})
}

// hall is a listener whose connections come from the test.
type hall chan net.Conn

func (h hall) Accept() (net.Conn, error) {
	if nc, ok := <-h; ok {
		return nc, nil
	}
	return nil, net.ErrClosed
}
func (h hall) Close() error   { return nil }
func (h hall) Addr() net.Addr { return &net.UnixAddr{} }

type resumed struct {
	net.Conn
	r io.Reader
}

func (r *resumed) Read(p []byte) (int, error) { return r.r.Read(p) }

// FuzzConnection sends the same bytes to front with net/http behind it, and to
// net/http alone: the handler must see the same requests.
func FuzzConnection(f *testing.F) {
	for _, s := range []string{
		"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /2 HTTP/1.1\nHost: h\n\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab",
		"POST /1 HTTP/1.1\r\nHost: h\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		f.Add([]byte(s), 5)
	}
	var mu sync.Mutex
	var saw []string
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		names := slices.Sorted(maps.Keys(r.Header))
		s := fmt.Sprintf("%s %s %s %d %q %v", r.Method, r.RequestURI, r.Host, r.ContentLength, b, err == nil)
		for _, n := range names {
			s += fmt.Sprintf(" %s=%q", n, r.Header[n])
		}
		mu.Lock()
		saw = append(saw, s)
		mu.Unlock()
		w.Header()["Content-Type"] = nil
		w.Write(b)
	})
	alone, behind := make(hall), make(hall)
	for _, l := range []hall{alone, behind} {
		s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
		ended := make(chan struct{})
		go func() { defer close(ended); s.Serve(l) }()
		f.Cleanup(func() { close(l); <-ended; s.Close() })
	}
	s := New(Config{
		Handler: h, HeaderTime: time.Minute, IdleTime: time.Minute, MaxBody: 20, Log: slog.New(slog.DiscardHandler),
		Hand: func(nc net.Conn, read []byte) { behind <- &resumed{nc, io.MultiReader(bytes.NewReader(read), nc)} },
	})
	front := make(hall)
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve(front) }()
	f.Cleanup(func() { close(front); <-ended; s.Close() })
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		ask := func(l hall) ([]string, []byte) {
			mu.Lock()
			saw = nil
			mu.Unlock()
			fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			var ends [2]net.Conn
			for i, fd := range fds {
				file := os.NewFile(uintptr(fd), "end")
				if ends[i], err = net.FileConn(file); err != nil {
					t.Fatal(err)
				}
				file.Close()
			}
			client := ends[0].(*net.UnixConn)
			defer client.Close()
			client.SetDeadline(time.Now().Add(time.Minute))
			l <- ends[1]
			go func() {
				at := 0
				if cut > 0 && cut < len(b) {
					at = cut
				}
				client.Write(b[:at])
				client.Write(b[at:])
				client.CloseWrite()
			}()
			out, err := io.ReadAll(client)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%q hangs", b)
			}
			mu.Lock()
			defer mu.Unlock()
			return saw, out
		}
		want, _ := ask(alone)
		got, _ := ask(front)
		if !slices.Equal(got, want) {
			t.Fatalf("%q: the handler saw\n%q\nwith front, and with net/http alone\n%q", b, got, want)
		}
	})
}
