package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

func TestRequestAndAnswerCarryEverything(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Add("X-Two", "1")
		w.Header().Add("X-Two", "2")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.WriteHeader(201)
		json.NewEncoder(w).Encode(map[string]any{"method": r.Method, "uri": r.RequestURI, "host": r.Host, "header": r.Header, "body": string(b)})
	}, func(t *testing.T, w *world) {
		rq := w.request("POST", "/a%2Fb/c?d=e", strings.NewReader("hello"))
		for k, v := range map[string]string{
			"X-Request-Id": "my-id", "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Hearth-Params-Id": "forged",
			"X_Hearth_Params_Id": "forged", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "Connection": "X-Drop", "X-Drop": "1", "X-Keep": "2",
			"Proxy-Authorization": "secret", "Expect": "100-continue",
		} {
			rq.Header[k] = []string{v}
		}
		r, body := w.do(rq)
		var got struct {
			Method, URI, Host, Body string
			Header                  http.Header
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		if r.StatusCode != 201 || got.Method != "POST" || got.URI != "/a%2Fb/c?d=e" || got.Host != "f.localhost" || got.Body != "hello" {
			t.Errorf("status %d, %+v", r.StatusCode, got)
		}
		h := got.Header
		for k, want := range map[string]string{"X-Request-Id": "my-id", "X-Forwarded-For": "203.0.113.7, 127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "f.localhost", "X-Keep": "2",
			"Forwarded": `for=127.0.0.1;host=f.localhost;proto=http`, "Content-Length": "5"} {
			if h.Get(k) != want {
				t.Errorf("%s is %q, want %q", k, h.Get(k), want)
			}
		}
		if tp := h.Get("Traceparent"); !strings.HasPrefix(tp, "00-0af7651916cd43dd8448eb211c80319c-") || !strings.HasSuffix(tp, "-01") || strings.Contains(tp, "b7ad6b7169203331") {
			t.Errorf("traceparent %q", tp)
		}
		for k := range h {
			if l := strings.ToLower(strings.ReplaceAll(k, "_", "-")); strings.HasPrefix(l, "x-hearth") || l == "x-drop" || l == "proxy-authorization" || l == "expect" {
				t.Errorf("%s reached the function", k)
			}
		}
		if r.Header.Get("X-Request-Id") != "my-id" || len(r.Header["X-Two"]) != 2 || r.Header.Get("Keep-Alive") != "" {
			t.Errorf("answer's header %v", r.Header)
		}
		c := receive(t, w.calls.c)
		for c.Function != "f" {
			c = receive(t, w.calls.c)
		}
		if c.Request != "my-id" || c.Status != 201 || c.Tenant != "default" || c.Revision != "f-1" || c.Method != "POST" || c.Path != "/a%2Fb/c" || c.In != 5 || c.Out != int64(len(body)) ||
			c.Trace != "0af7651916cd43dd8448eb211c80319c" || c.Duration <= 0 || !c.Cold || c.Instance == "" {
			t.Errorf("record %+v", c)
		}
	})
}

func TestIDsAreMade(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Request-Id"), " ", r.Header.Get("Traceparent"))
	}, func(t *testing.T, w *world) {
		seen := map[string]bool{}
		for _, bad := range []string{"", "has space", strings.Repeat("x", 193)} {
			rq := w.request("GET", "/", nil)
			rq.Header.Set("X-Request-Id", bad)
			rq.Header.Set("Traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01")
			r, body := w.do(rq)
			id, trace, _ := strings.Cut(body, " ")
			if len(id) != 16 || r.Header.Get("X-Request-Id") != id || seen[id] || len(trace) != 55 || strings.Contains(trace, "-00000000000000000000000000000000-") {
				t.Errorf("id %q trace %q", id, trace)
			}
			seen[id] = true
		}
	})
}

func TestLargeBodiesBothWays(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		io.Copy(io.MultiWriter(h, w), r.Body)
		w.Header().Set(http.TrailerPrefix+"X-Sum", hex.EncodeToString(h.Sum(nil)))
	}, func(t *testing.T, w *world) {
		want := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
		sum := sha256.Sum256(want)
		for _, known := range []bool{true, false} {
			var in io.Reader = bytes.NewReader(want)
			if !known {
				in = io.MultiReader(in)
			}
			r, got := w.do(w.request("POST", "/", in))
			if got != string(want) || r.Trailer.Get("X-Sum") != hex.EncodeToString(sum[:]) {
				t.Errorf("known length %v: %d bytes, trailer %v", known, len(got), r.Trailer)
			}
		}
	})
}

func TestTrailersOfTheRequest(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, r.Trailer.Get("X-End"))
	}, func(t *testing.T, w *world) {
		rq := w.request("POST", "/", io.MultiReader(strings.NewReader("body")))
		rq.Trailer = http.Header{"X-End": {"the end"}}
		if _, got := w.do(rq); got != "the end" {
			t.Errorf("got %q", got)
		}
	})
}

// What is flushed must arrive before the answer goes on.
func TestStreamingAnswerFlushesAtOnce(t *testing.T) {
	step := make(chan struct{})
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-step
		}
	}, func(t *testing.T, w *world) {
		r, err := http.DefaultClient.Do(w.request("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		for i := range 3 {
			want := fmt.Sprintf("data: %d\n\n", i)
			b := make([]byte, len(want))
			if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != want {
				t.Fatalf("%q %v, want %q", b, err, want)
			}
			step <- struct{}{}
		}
		if b, err := io.ReadAll(r.Body); len(b) > 0 || err != nil {
			t.Errorf("%q %v at the end", b, err)
		}
	})
}

// Request and answer stream at the same time.
func TestBothWaysAtOnce(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		b := make([]byte, 1)
		for {
			if _, err := r.Body.Read(b); err != nil {
				return
			}
			w.Write(b)
			w.(http.Flusher).Flush()
		}
	}, func(t *testing.T, w *world) {
		_, r := w.raw("POST / HTTP/1.1\r\nHost: f.localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		_ = r
		nc, br := w.raw("POST / HTTP/1.1\r\nHost: f.localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1)
		for _, c := range "abc" {
			if c != 'a' {
				fmt.Fprintf(nc, "1\r\n%c\r\n", c)
			}
			if _, err := io.ReadFull(res.Body, b); err != nil || b[0] != byte(c) {
				t.Fatalf("%q %v, want %c", b, err, c)
			}
		}
		io.WriteString(nc, "0\r\n\r\n")
		if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
			t.Errorf("%q %v at the end", rest, err)
		}
	})
}

// An answer that comes before the body is complete ends the upload, and the
// rest of the body is not taken for a request.
func TestEarlyAnswerEndsTheUpload(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			t.Errorf("a request for %s, which was part of a body", r.URL.Path)
		}
		w.WriteHeader(403)
		io.WriteString(w, "no")
	}, func(t *testing.T, w *world) {
		nc, br := w.raw("POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 100000\r\n\r\nsome")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); res.StatusCode != 403 || string(b) != "no" {
			t.Errorf("%d %q", res.StatusCode, b)
		}
		io.WriteString(nc, "GET /smuggled HTTP/1.1\r\nHost: f.localhost\r\n\r\n")
		if rest, _ := io.ReadAll(br); len(rest) > 0 {
			t.Errorf("the connection went on with %q", rest)
		}
	})
}

func TestBodyLimit(t *testing.T) {
	both(t, api.RevisionSpec{BodyLimit: 50_000}, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	}, func(t *testing.T, w *world) {
		body := bytes.Repeat([]byte("x"), 50_001)
		for _, in := range []io.Reader{bytes.NewReader(body), io.MultiReader(bytes.NewReader(body))} {
			r, got := w.do(w.request("POST", "/", in))
			if r.StatusCode != 413 || r.Header.Get("X-Hearth-Error") != "too_large" {
				t.Errorf("%d %s", r.StatusCode, got)
			}
		}
		if r, got := w.do(w.request("POST", "/", io.MultiReader(bytes.NewReader(body[1:])))); r.StatusCode != 200 || got != "50000" {
			t.Errorf("at the limit: %d %s", r.StatusCode, got)
		}
		// A client that asks first is not made to send.
		_, br := w.raw("POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n")
		line, _ := br.ReadString('\n')
		if !strings.Contains(line, " 413 ") {
			t.Errorf("answer %q", line)
		}
	})
}

func TestExpectContinue(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }, func(t *testing.T, w *world) {
		nc, br := w.raw("POST / HTTP/1.1\r\nHost: f.localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
		if line, _ := br.ReadString('\n'); !strings.Contains(line, " 100 ") {
			t.Fatalf("answer %q", line)
		}
		br.ReadString('\n')
		io.WriteString(nc, "body")
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); string(b) != "body" {
			t.Errorf("got %q", b)
		}
	})
}

func TestTimeout(t *testing.T) {
	// Long enough for an answer to begin on a machine that has much else to do.
	both(t, api.RevisionSpec{Timeout: api.Duration{Duration: time.Second}}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}, func(t *testing.T, w *world) {
		t.Parallel()
		r, got := w.do(w.request("GET", "/", nil))
		if r.StatusCode != 504 || r.Header.Get("X-Hearth-Error") != "timeout" {
			t.Errorf("%d %s", r.StatusCode, got)
		}
		res, err := http.DefaultClient.Do(w.request("GET", "/begun", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("an answer cut short looked whole")
		}
	})
}

func TestClientGone(t *testing.T) {
	began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
		ended <- struct{}{}
	}, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-began; cancel() }()
		if _, err := http.DefaultClient.Do(w.request("GET", "/", nil).WithContext(ctx)); err == nil {
			t.Error("no error")
		}
		receive(t, ended)
		c := receive(t, w.calls.c)
		for c.Function != "f" {
			c = receive(t, w.calls.c)
		}
		if c.Status != 499 || c.Code != "canceled" {
			t.Errorf("record %+v", c)
		}
	})
}

func TestHeadAndNoContent(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/204" {
			w.WriteHeader(204)
			return
		}
		w.Header().Set("Content-Length", "5")
		if r.Method != "HEAD" {
			io.WriteString(w, "hello")
		}
	}, func(t *testing.T, w *world) {
		for range 3 { // on one connection: no byte may be left over
			if r, got := w.do(w.request("HEAD", "/", nil)); r.ContentLength != 5 || got != "" {
				t.Errorf("HEAD: %d %q", r.ContentLength, got)
			}
			if r, _ := w.do(w.request("GET", "/204", nil)); r.StatusCode != 204 {
				t.Errorf("%d", r.StatusCode)
			}
			if _, got := w.do(w.request("GET", "/", nil)); got != "hello" {
				t.Errorf("GET: %q", got)
			}
		}
	})
}

func TestEarlyHints(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(103)
		w.Header().Del("Link")
		io.WriteString(w, "done")
	}, func(t *testing.T, w *world) {
		_, br := w.raw("GET / HTTP/1.1\r\nHost: f.localhost\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(br)
		if s := string(b); !strings.HasPrefix(s, "HTTP/1.1 103 ") || !strings.Contains(s, "Link: </style.css>") || !strings.Contains(s, "HTTP/1.1 200 ") || strings.Count(s, "Link:") != 1 {
			t.Errorf("answer %q", s)
		}
	})
}

func TestHTTP2WithoutTLS(t *testing.T) {
	both(t, api.RevisionSpec{}, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
		w.Header().Set(http.TrailerPrefix+"X-T", "1")
	}, func(t *testing.T, w *world) {
		p := new(http.Protocols)
		p.SetUnencryptedHTTP2(true)
		tr := &http.Transport{Protocols: p}
		defer tr.CloseIdleConnections()
		want := strings.Repeat("h2", 100_000)
		r, err := (&http.Client{Transport: tr}).Do(w.request("POST", "/", strings.NewReader(want)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if b, _ := io.ReadAll(r.Body); r.ProtoMajor != 2 || string(b) != want || r.Trailer.Get("X-T") != "1" {
			t.Errorf("%s, %d bytes, trailer %v", r.Proto, len(b), r.Trailer)
		}
	})
}
