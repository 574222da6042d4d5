package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/record"
)

// rss is the memory hearth itself has in use, in bytes.
func (s *server) rss() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.pid))
	if err != nil {
		s.t.Fatal(err)
	}
	n, _ := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return n * int64(os.Getpagesize())
}

// flat runs f and fails if hearth's memory grew by more than so much meanwhile.
func (s *server) flat(most int64, f func()) {
	s.t.Helper()
	before, peak := s.rss(), int64(0)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				peak = max(peak, s.rss())
			}
		}
	}()
	f()
	close(stop)
	<-ended
	if peak-before > most {
		s.t.Errorf("hearth grew by %d MiB", (peak-before)>>20)
	}
}

// dial opens a connection to the gateway and sends text.
func (s *server) dial(text string) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.gateway)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, text); err != nil {
		s.t.Fatal(err)
	}
	return nc, bufio.NewReader(nc)
}

const wires = `import fs from 'node:fs'
import crypto from 'node:crypto'
let turns = 0, turn = () => {}
const asked = async () => { if (turns === 0) await new Promise(r => { turn = r }); turns-- }
export default {
	async fetch(req) {
		const u = new URL(req.url)
		switch (u.pathname) {
		case '/count': { const h = crypto.createHash('sha256'); let n = 0; for await (const c of req.body ?? []) { n += c.length; h.update(c) } return Response.json({n, sum: h.digest('hex')}) }
		case '/bytes': {
			let left = +u.searchParams.get('n'); const chunk = new Uint8Array(65536)
			return new Response(new ReadableStream({ pull(c) { if (left <= 0) return c.close(); const k = Math.min(left, chunk.length); c.enqueue(chunk.slice(0, k)); left -= k } }))
		}
		case '/echo': return new Response(req.body)
		case '/sse': {
			let n = 0
			// Each event but the first waits until its reader asks for it.
			return new Response(new ReadableStream({ async pull(c) { if (n === 3) return c.close(); if (n > 0) await asked(); c.enqueue('data: ' + n++ + '\n\n') } }), {headers: {'content-type': 'text/event-stream'}})
		}
		case '/next': turns++; turn(); return new Response('asked')
		case '/gone': console.log('begun'); await new Promise(r => req.signal.addEventListener('abort', r)); console.log('the caller is gone'); return new Response('x')
		case '/headers': console.log('seen ' + req.headers.get('x-request-id')); return Response.json(Object.fromEntries(req.headers))
		}
		return new Response('wires')
	},
}`

func TestWire(t *testing.T) {
	s := up(t)
	s.deploy("wire", "runtime: node\nconcurrency: 32\nscale: {max: 1}\nbodyLimit: 300Mi\n"+inline(wires))
	s.deploy("small", "runtime: node\nconcurrency: 4\n"+inline("exports.handler = (event) => event.method"))
	s.must("wire", "/")

	t.Run("upload and download of 200 MB", func(t *testing.T) {
		s := s.in(t)
		const n = 200 << 20
		h := sha256.New()
		io.CopyN(h, zeros{}, n)
		s.flat(64<<20, func() {
			for _, length := range []int64{n, -1} {
				r, _ := http.NewRequest("POST", "http://"+s.gateway+"/count", io.LimitReader(zeros{}, n))
				r.Host, r.ContentLength = "wire.localhost", length
				a := ask(s.web(), r)
				if want := fmt.Sprintf(`{"n":%d,"sum":"%s"}`, n, hex.EncodeToString(h.Sum(nil))); a.body != want {
					t.Errorf("an upload of length %d: %s", length, a)
				}
			}
			r, _ := http.NewRequest("GET", fmt.Sprintf("http://%s/bytes?n=%d", s.gateway, n), nil)
			r.Host = "wire.localhost"
			res, err := s.web().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if got, err := io.Copy(io.Discard, res.Body); got != n || err != nil || res.ContentLength != -1 {
				t.Errorf("a download of %d bytes gave %d: %v", n, got, err)
			}
		})
	})

	t.Run("both ways at once", func(t *testing.T) {
		s := s.in(t)
		pr, pw := io.Pipe()
		r, _ := http.NewRequest("POST", "http://"+s.gateway+"/echo", pr)
		r.Host = "wire.localhost"
		go io.WriteString(pw, "first ")
		res, err := s.web().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b := make([]byte, 6)
		if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "first " {
			t.Fatalf("%q %v", b, err)
		}
		io.WriteString(pw, "second")
		pw.Close()
		if rest, err := io.ReadAll(res.Body); string(rest) != "second" || err != nil {
			t.Errorf("%q %v", rest, err)
		}
	})

	t.Run("10 GB", func(t *testing.T) {
		s := s.in(t)
		const huge = 10 << 30
		s.flat(32<<20, func() {
			_, br := s.dial(fmt.Sprintf("POST / HTTP/1.1\r\nHost: small.localhost\r\nContent-Length: %d\r\n\r\n", int64(huge)))
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != 413 || !strings.Contains(string(body), `"hint"`) || !strings.Contains(string(body), "too_large") {
				t.Errorf("declared: %d %s", res.StatusCode, body)
			}
			r, _ := http.NewRequest("POST", "http://"+s.gateway+"/", io.LimitReader(zeros{}, huge))
			r.Host, r.ContentLength = "small.localhost", -1
			begin := time.Now()
			// The answer comes while the client still sends: it sees the 413, or
			// that the connection is closed.
			if a := ask(s.web(), r); a.err == nil && a.status != 413 {
				t.Errorf("chunked: %s", a)
			}
			if took := time.Since(begin); took > time.Minute {
				t.Errorf("it took %s to refuse it", took)
			}
		})
		if got := s.do(s.web(), "POST", "small", "/", "x"); got.body != "POST" {
			t.Error(got)
		}
	})

	t.Run("two lengths", func(t *testing.T) {
		s := s.in(t)
		for name, head := range map[string]string{
			"CL and TE":      "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
			"two CLs":        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
			"odd TE":         "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
			"TE twice":       "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
			"negative CL":    "Content-Length: -1\r\n\r\n",
			"CL with a sign": "Content-Length: +5\r\n\r\nhello",
			"space in name":  "Content-Length : 5\r\n\r\nhello",
			"bad chunk":      "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
		} {
			smuggled := "GET /smuggled HTTP/1.1\r\nHost: wire.localhost\r\n\r\n"
			_, br := s.dial("POST /count HTTP/1.1\r\nHost: wire.localhost\r\n" + head + smuggled)
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Errorf("%s: no answer: %v", name, err)
				continue
			}
			io.Copy(io.Discard, res.Body)
			if res.StatusCode < 400 || res.StatusCode == 500 || res.StatusCode == 504 {
				t.Errorf("%s: %s", name, res.Status)
			}
			if again, err := http.ReadResponse(br, nil); err == nil {
				t.Errorf("%s: a second answer %s: the rest was taken for a request", name, again.Status)
			}
		}
		calls, err := s.c.Calls(t.Context(), record.Query{Function: "wire"})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			if c.Path == "/smuggled" {
				t.Errorf("a smuggled request reached the function: %+v", c)
			}
		}
	})

	t.Run("slow-loris", func(t *testing.T) {
		s := s.in(t)
		begin := time.Now()
		var slow []net.Conn
		for i := range 300 {
			text := "GET / HTTP/1.1\r\nHost: wire.localhost\r\nX-Slow: "
			if i%2 == 0 {
				text = "G"
			}
			nc, _ := s.dial(text)
			slow = append(slow, nc)
		}
		l := s.load("small", 2, nil)
		var wg sync.WaitGroup
		var late sync.Map
		for i, nc := range slow {
			wg.Go(func() {
				nc.SetReadDeadline(begin.Add(time.Minute))
				if _, err := io.Copy(io.Discard, nc); err != nil && !strings.Contains(err.Error(), "reset") {
					late.Store(i, err)
				}
			})
		}
		wg.Wait()
		l.stop(t)
		late.Range(func(i, err any) bool {
			t.Errorf("connection %v is still open after %s: %v", i, time.Since(begin), err)
			return false
		})
		t.Logf("all closed after %s, %d calls meanwhile", time.Since(begin), l.calls)
	})

	t.Run("caller gone", func(t *testing.T) {
		s := s.in(t)
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+s.gateway+"/gone", nil)
		r.Host = "wire.localhost"
		done := make(chan struct{})
		go func() { defer close(done); ask(s.web(), r) }()
		s.awaitLine("wire", "begun")
		cancel()
		<-done
		s.awaitLine("wire", "the caller is gone")
		eventually(t, patience, "a call with status 499 is recorded", func() bool {
			calls, _ := s.c.Calls(t.Context(), record.Query{Function: "wire", Errors: true})
			for _, c := range calls {
				if c.Status == 499 && c.Path == "/gone" && c.Code == "canceled" {
					return true
				}
			}
			return false
		})
	})

	t.Run("one id through everything", func(t *testing.T) {
		s := s.in(t)
		const id, trace = "my-request-1", "4bf92f3577b34da6a3ce929d0e0e4736"
		r, _ := http.NewRequest("GET", "http://"+s.gateway+"/headers", nil)
		r.Host = "wire.localhost"
		r.Header.Set("X-Request-Id", id)
		r.Header.Set("Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
		r.Header.Set("Tracestate", "vendor=value")
		a := ask(s.web(), r)
		var seen map[string]string
		if err := json.Unmarshal([]byte(a.body), &seen); err != nil {
			t.Fatal(a)
		}
		if seen["x-request-id"] != id || a.header.Get("X-Request-Id") != id {
			t.Errorf("the id %q became %q, and %q in the answer", id, seen["x-request-id"], a.header.Get("X-Request-Id"))
		}
		if tp := seen["traceparent"]; !strings.HasPrefix(tp, "00-"+trace+"-") || strings.Contains(tp, "00f067aa0ba902b7") || !strings.HasSuffix(tp, "-01") || seen["tracestate"] != "vendor=value" {
			t.Errorf("the trace became %q %q", tp, seen["tracestate"])
		}
		var call record.Call
		eventually(t, patience, "the call is recorded", func() bool {
			calls, _ := s.c.Calls(t.Context(), record.Query{Request: id})
			if len(calls) == 1 {
				call = calls[0]
			}
			return len(calls) == 1
		})
		if call.Trace != trace || call.Status != 200 || call.Path != "/headers" || call.Instance == "" || call.Revision != "wire-1" {
			t.Errorf("the record says %+v", call)
		}
		var line string
		eventually(t, patience, "the line is found by the id", func() bool {
			for l, err := range s.c.Logs(t.Context(), record.Query{Request: id}) {
				if err == nil {
					line = l.Text
				}
			}
			return line != ""
		})
		if line != "seen "+id {
			t.Errorf("the line says %q", line)
		}
		if out, _, code := s.run("logs", "wire", "--request", id); code != 0 || !strings.Contains(out, "seen "+id) {
			t.Errorf("hearth logs --request: %d %q", code, out)
		}
	})

	t.Run("server-sent events", func(t *testing.T) {
		s := s.in(t)
		r, _ := http.NewRequest("GET", "http://"+s.gateway+"/sse", nil)
		r.Host = "wire.localhost"
		res, err := s.web().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		events := 0
		for sc := bufio.NewScanner(res.Body); sc.Scan(); {
			if strings.HasPrefix(sc.Text(), "data: ") {
				if events++; events < 3 { // it is here, although there will be more
					s.must("wire", "/next")
				}
			}
		}
		if events != 3 || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%d events, %v", events, res.Header)
		}
	})

	t.Run("WebSocket to a program", func(t *testing.T) {
		s := s.in(t)
		s.deploy("socket", "runtime: command\nconcurrency: 4\ncommand: [node, s.js]\n"+files(map[string]string{"s.js": `
const http = require('http'), crypto = require('crypto')
const s = http.createServer((q, r) => r.end('http'))
s.on('upgrade', (q, sock) => {
	const key = crypto.createHash('sha1').update(q.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
	sock.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + key + '\r\n\r\n')
	sock.on('data', (d) => { // one small masked text frame at a time
		const n = d[1] & 127, mask = d.subarray(2, 6), text = Buffer.alloc(n)
		for (let i = 0; i < n; i++) text[i] = d[6 + i] ^ mask[i % 4]
		const answer = Buffer.from(text.toString().toUpperCase())
		sock.write(Buffer.concat([Buffer.from([0x81, answer.length]), answer]))
	})
	sock.on('error', () => {})
})
s.listen(process.env.PORT)`}))
		nc, br := s.dial("GET /chat HTTP/1.1\r\nHost: socket.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 101 || res.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
			t.Fatalf("%v %v", res, err)
		}
		for _, word := range []string{"hello", "again"} {
			frame := append([]byte{0x81, 0x80 | byte(len(word)), 1, 2, 3, 4}, word...)
			for i := range word {
				frame[6+i] ^= byte(1 + i%4)
			}
			nc.Write(frame)
			got := make([]byte, 2+len(word))
			if _, err := io.ReadFull(br, got); err != nil || string(got[2:]) != strings.ToUpper(word) {
				t.Errorf("%q became %q: %v", word, got, err)
			}
		}
		if s.must("socket", "/") != "http" {
			t.Error("plain requests are not answered beside it")
		}
	})

	t.Run("h2c", func(t *testing.T) {
		s := s.in(t)
		p := new(http.Protocols)
		p.SetUnencryptedHTTP2(true)
		c := &http.Client{Transport: &http.Transport{Protocols: p}, Timeout: 30 * time.Second}
		r, _ := http.NewRequest("POST", "http://"+s.gateway+"/count", bytes.NewReader(make([]byte, 1<<20)))
		r.Host = "wire.localhost"
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.ProtoMajor != 2 || !strings.Contains(string(b), `"n":1048576`) {
			t.Errorf("%s %s", res.Proto, b)
		}
	})
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "functions"}, DNSNames: []string{"f.localhost", "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, _ := x509.MarshalECPrivateKey(key)
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})))
	s := up(t, "--tls-cert", certFile, "--tls-key", keyFile)
	s.deploy("f", "runtime: node\n"+inline("exports.handler = (event) => event.headers['x-forwarded-proto'] || 'none'"))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	for _, two := range []bool{true, false} {
		c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return net.Dial("tcp", s.gateway) },
			TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: two,
		}}
		res, err := c.Get("https://f.localhost/")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if want := map[bool]int{true: 2, false: 1}[two]; res.StatusCode != 200 || res.ProtoMajor != want || string(b) != "https" {
			t.Errorf("%s %s %q", res.Proto, res.Status, b)
		}
	}
	other := t.TempDir()
	cmd := hearth(other, "up", "--state", other, "--gateway-port", "0", "--api-port", "0", "--tls-cert", certFile, "--tls-key", certFile)
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() == 0 || !strings.Contains(string(out), "cannot use the certificate") || !strings.Contains(string(out), "hint: ") {
		t.Errorf("a key that is none: %s", out)
	}
}
