package h1

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// FuzzAnswer feeds the client with any bytes as an answer. It must end, and what
// it takes for a whole answer must be what net/http takes for one.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\nto the end",
		"HTTP/1.1 103 Hints\r\nA: b\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\nA: b\nContent-Length: 1\n\nx",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		c := New(func(context.Context) (net.Conn, error) {
			a, b := net.Pipe()
			go func() {
				b.SetDeadline(time.Now().Add(30 * time.Second))
				http.ReadRequest(newReader(b))
				b.Write(p)
				b.Close()
			}()
			return a, nil
		})
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		r, err := c.Do(ctx, &Request{Method: "GET", Target: "/", Host: "h"})
		if err != nil {
			if ctx.Err() != nil {
				t.Fatal("it hung")
			}
			return
		}
		var got bytes.Buffer
		for {
			b, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				r.Close()
				return
			}
			got.Write(b)
		}
		status, mode := r.Status, r.k.mode
		r.Close()
		br := newReader(bytes.NewReader(p))
		for {
			want, err := http.ReadResponse(br, &http.Request{Method: "GET"})
			if err != nil {
				return // we are more lenient in ways that do not matter, such as header names
			}
			if want.StatusCode < 200 {
				continue
			}
			body, err := io.ReadAll(want.Body)
			if err != nil || mode == bodyNone {
				return
			}
			if want.StatusCode != status || !bytes.Equal(body, got.Bytes()) {
				t.Fatalf("%d %q, net/http reads %d %q", status, got.Bytes(), want.StatusCode, body)
			}
			return
		}
	})
}
