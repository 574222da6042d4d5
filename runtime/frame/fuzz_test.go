package frame

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"reflect"
	"testing"
	"time"
)

func FuzzHead(f *testing.F) {
	b, _ := AppendHead(nil, &Head{1000, "GET", "/a?b", "host", "http", "192.0.2.1:1", "id", Fields{{"A", "b"}, {"a", ""}}})
	f.Add(b)
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, p []byte) {
		var h Head
		rest, err := ParseHead(p, &h)
		if err != nil {
			return
		}
		// What was understood is written the same way again, names in lower case.
		again, err := AppendHead(nil, &h)
		if err != nil {
			t.Fatal(err)
		}
		var h2 Head
		if r, err := ParseHead(append(again, rest...), &h2); err != nil || !bytes.Equal(r, rest) {
			t.Fatalf("%v: %q, %q", err, r, rest)
		}
		for i := range h.Header {
			h.Header[i].Name = lower(h.Header[i].Name)
		}
		if len(h.Header) == 0 {
			h.Header, h2.Header = nil, nil
		}
		if !reflect.DeepEqual(h, h2) {
			t.Fatalf("%+v became %+v", h, h2)
		}
	})
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 32
		}
	}
	return string(b)
}

func FuzzLog(f *testing.F) {
	f.Add(AppendLog(nil, 1, "id", []byte("text")))
	f.Add([]byte{1, 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		l, err := ParseLog(p)
		if err != nil {
			return
		}
		if again := AppendLog(nil, l.Stream, l.Request, l.Text); !bytes.Equal(again, p) {
			t.Fatalf("%q became %q", p, again)
		}
	})
}

// FuzzClient feeds a client with what a broken instance may send, while calls
// are open: nothing may hang or panic, and every call must end.
func FuzzClient(f *testing.F) {
	response := binary.BigEndian.AppendUint16(nil, 200)
	response, _ = AppendBlock(response, Fields{{"a", "b"}})
	frames := func(fs ...[]byte) []byte { return bytes.Join(fs, nil) }
	f.Add(frames(AppendFrame(nil, 0, TypeHello, 0, []byte(`{"version":1}`)), AppendFrame(nil, 1, TypeResponse, FlagEnd, append(response, "body"...))))
	f.Add(frames(AppendFrame(nil, 1, TypeResponse, 0, response), AppendFrame(nil, 1, TypeData, 0, []byte("x")), AppendFrame(nil, 1, TypeTrailers, 0, []byte{0, 0})))
	f.Add(frames(AppendFrame(nil, 1, TypeCancel, 0, []byte("no")), AppendFrame(nil, 2, TypeWindow, 0, []byte{0, 1, 0, 0}), AppendFrame(nil, 0, TypePing, 0, make([]byte, 8))))
	f.Add(frames(AppendFrame(nil, 1, TypeResponse, 0, response), AppendFrame(nil, 1, TypeData, 0, make([]byte, InitialWindow+1))))
	f.Add(frames(AppendFrame(nil, 9, TypeData, 0, nil)))
	f.Add(frames(AppendFrame(nil, 0, 200, 0, []byte("later")), AppendFrame(nil, 0, TypeLog, 0, AppendLog(nil, 1, "", []byte("x"))), AppendFrame(nil, 0, TypeLoaded, 0, []byte("{}"))))
	f.Fuzz(func(t *testing.T, p []byte) {
		a, b := net.Pipe()
		c := NewClient(a, Options{})
		go io.Copy(io.Discard, b)
		go func() {
			b.SetWriteDeadline(time.Now().Add(30 * time.Second))
			b.Write(p)
			b.Close()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, body := range []io.Reader{nil, bytes.NewReader(make([]byte, 100))} {
			r, err := c.Do(ctx, &Request{Method: "GET", Target: "/", Body: body})
			if err != nil {
				continue
			}
			io.Copy(io.Discard, r)
			r.Close()
		}
		if ctx.Err() != nil {
			t.Fatal("a call hung")
		}
		c.Close()
		<-c.Done()
	})
}

// FuzzInstance feeds an instance with what a broken host may send.
func FuzzInstance(f *testing.F) {
	head, _ := AppendHead(nil, &Head{0, "POST", "/x", "h", "http", "r", "i", nil})
	f.Add(append(AppendFrame(nil, 1, TypeRequest, 0, head), AppendFrame(nil, 1, TypeData, FlagEnd, []byte("body"))...))
	f.Add(append(AppendFrame(nil, 1, TypeRequest, 0, head), AppendFrame(nil, 1, TypeRequest, 0, head)...))
	f.Add(append(AppendFrame(nil, 1, TypeRequest, 0, head), AppendFrame(nil, 1, TypeCancel, 0, nil)...))
	f.Add(AppendFrame(nil, 0, TypeLoad, 0, []byte(`{"code":"/code"}`)))
	f.Fuzz(func(t *testing.T, p []byte) {
		a, b := net.Pipe()
		in := NewInstance(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }), ServeOptions{Drain: func() {}})
		in.ServeConn(a)
		read := make(chan struct{})
		go func() { defer close(read); io.Copy(io.Discard, b) }()
		b.SetWriteDeadline(time.Now().Add(30 * time.Second))
		b.Write(p)
		b.Close()
		in.Close()
		<-read
	})
}

func BenchmarkCodec(b *testing.B) {
	b.ReportAllocs()
	h := &Head{1000, "GET", "/a?b", "host", "http", "192.0.2.1:1", "id", Fields{{"accept", "*/*"}, {"user-agent", "bench"}}}
	var buf []byte
	var into [8]Field
	for b.Loop() {
		buf, _ = AppendHead(buf[:0], h)
		if _, err := ParseHead(buf, &Head{Header: into[:0]}); err != nil {
			b.Fatal(err)
		}
	}
}
