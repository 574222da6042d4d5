package front

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
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
