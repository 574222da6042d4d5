package runtime_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStreamedEcho(t *testing.T) {
	const size = 10 << 20
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	for _, tt := range []struct{ name, handler string }{
		{"node", "stream.echo"}, {"node", "stream.pipe"}, {"python", "stream:echo"}, {"python", "stream:aecho"},
	} {
		for _, concurrency := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s/%s/%d", tt.name, tt.handler, concurrency), func(t *testing.T) {
				t.Parallel()
				_, k := loaded(t, tt.name, tt.handler, concurrency)
				c := k.start(request{method: "POST", open: true})
				go c.write(data, 40_000, true)
				if err := c.response(); err != nil {
					t.Fatal(err)
				}
				sum, n := sha256.New(), 0
				for {
					p, err := c.read()
					sum.Write(p)
					n += len(p)
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatalf("after %d bytes: %v", n, err)
					}
				}
				if want := sha256.Sum256(data); n != size || !bytes.Equal(sum.Sum(nil), want[:]) {
					t.Errorf("%d bytes came back, or others than were sent", n)
				}
			})
		}
	}
}

// TestBackpressure: who is granted nothing gets no more than the window, and
// other calls go on.
func TestBackpressure(t *testing.T) {
	for _, tt := range []struct{ name, handler string }{
		{"node", "stream.flood"}, {"node", "stream.floodGenerator"}, {"python", "stream.aflood"}, {"python", "stream.flood"},
	} {
		t.Run(tt.name+"/"+tt.handler, func(t *testing.T) {
			t.Parallel()
			_, k := loaded(t, tt.name, tt.handler, 2)
			slow, fast := k.start(request{}), k.start(request{})
			if err := slow.response(); err != nil {
				t.Fatal(err)
			}
			if err := fast.response(); err != nil {
				t.Fatal(err)
			}
			for n := 0; n < 2<<20; {
				p, err := fast.read()
				if err != nil {
					t.Fatal(err)
				}
				n += len(p)
			}
			// All of what slow may have is there; a PING's answer comes after it.
			k.send(packet{typ: tPing, payload: []byte("12345678")})
			k.expect(t, tHello)
			if p := k.expect(t, tPong); string(p.payload) != "12345678" {
				t.Errorf("pong %q", p.payload)
			}
			got := len(slow.first)
			for got < 262144 {
				f, err := slow.in.get(patience)
				if err != nil {
					t.Fatalf("after %d bytes: %v", got, err)
				}
				got += len(f.payload)
			}
			slow.in.mu.Lock()
			more := len(slow.in.items)
			slow.in.mu.Unlock()
			if got != 262144 || more > 0 {
				t.Errorf("%d bytes and %d frames more, want exactly the window", got, more)
			}
			slow.cancel("enough")
			fast.cancel("enough")
		})
	}
}

func TestCancelAndDeadline(t *testing.T) {
	for _, name := range []string{"node", "python"} {
		for _, how := range []string{"cancel", "deadline"} {
			t.Run(name+"/"+how, func(t *testing.T) {
				t.Parallel()
				i, k := loaded(t, name, "stream.waits", 2)
				r := request{id: "gone"}
				if how == "deadline" {
					r.ms = 2000 // enough for the handler to begin
				}
				c := k.start(r)
				if l := i.control.log(t); l != (logLine{1, "gone", "waiting"}) {
					t.Fatalf("%+v", l)
				}
				if how == "cancel" {
					c.cancel("the caller is gone")
				}
				l := i.control.log(t)
				if l.id != "gone" || !strings.HasPrefix(l.text, "stopped: ") {
					t.Errorf("%+v", l)
				}
				// The connection is well.
				if c := k.start(request{ms: 100}); c.stream == 0 {
					t.Error("no call")
				}
			})
		}
	}
}

func TestTrailers(t *testing.T) {
	for _, name := range []string{"node", "python"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, k := loaded(t, name, "stream.trailers", 1)
			c := k.start(request{method: "POST", open: true, body: "x"})
			k.send(packet{stream: c.stream, typ: tTrailers, payload: block([]header{{"x-in", "sum"}})})
			if err := c.response(); err != nil {
				t.Fatal(err)
			}
			body, err := c.all()
			if err != nil || body != "body" || len(c.trailers) != 1 || c.trailers[0] != (header{"x-sum", "sum!"}) {
				t.Errorf("%q %v %v", body, c.trailers, err)
			}
		})
	}
}

func TestFailureMidway(t *testing.T) {
	for _, name := range []string{"node", "python"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, k := loaded(t, name, "stream.half", 1)
			c := k.start(request{id: "h"})
			if err := c.response(); err != nil {
				t.Fatal(err)
			}
			body, err := c.all()
			if body != "begun" || err == nil || c.canceled == "" {
				t.Errorf("%q, %v: want a CANCEL after the first piece", body, err)
			}
			if l := i.control.log(t); l.id != "h" || !strings.Contains(l.text, "midway") {
				t.Errorf("%+v", l)
			}
		})
	}
}

func TestLogs(t *testing.T) {
	for _, tt := range []struct {
		name, handler string
		concurrency   int
	}{{"node", "stream.logs", 1}, {"node", "stream.logs", 8}, {"python", "stream.logs", 1}, {"python", "stream.logs", 8}, {"python", "stream.slogs", 1}, {"python", "stream.slogs", 8}} {
		t.Run(fmt.Sprintf("%s/%s/%d", tt.name, tt.handler, tt.concurrency), func(t *testing.T) {
			t.Parallel()
			i, k := loaded(t, tt.name, tt.handler, tt.concurrency)
			var calls []*call
			for n := range tt.concurrency {
				calls = append(calls, k.start(request{method: "POST", id: fmt.Sprintf("id%d", n), body: fmt.Sprintf("n%d", n), headers: []header{{"content-type", "text/plain"}}}))
			}
			got := map[logLine]bool{}
			for range 3 * tt.concurrency {
				got[i.control.log(t)] = true
			}
			for n, c := range calls {
				if err := c.response(); err != nil || c.status != 200 {
					t.Fatal(c.status, err)
				}
				id := fmt.Sprintf("id%d", n)
				for _, want := range []logLine{{1, id, fmt.Sprintf("one n%d", n)}, {2, id, fmt.Sprintf("err n%d", n)}, {1, id, "two halves"}} {
					if !got[want] {
						t.Errorf("no %+v in %v", want, got)
					}
				}
			}
		})
	}
	for _, name := range []string{"node", "python"} {
		t.Run(name+"/direct", func(t *testing.T) {
			t.Parallel()
			i, k := loaded(t, name, "stream.direct", 1)
			k.do(t, request{})
			if !i.out.wait("straight to the descriptor\n") {
				t.Errorf("the pipe has %q", i.out)
			}
		})
	}
}

// TestConcurrency: the calls answer only when all of them are inside.
func TestConcurrency(t *testing.T) {
	for _, tt := range []struct{ name, handler string }{{"node", "stream.together"}, {"python", "stream.together"}, {"python", "stream.atogether"}} {
		t.Run(tt.name+"/"+tt.handler, func(t *testing.T) {
			t.Parallel()
			i, k := loaded(t, tt.name, tt.handler, 10)
			k2 := dial(t, i.socket, "data")
			var calls []*call
			for n := range 10 {
				calls = append(calls, []*conn{k, k2}[n%2].start(request{method: "POST", id: fmt.Sprint("c", n), body: "10", headers: []header{{"content-type", "application/json"}}}))
			}
			for n, c := range calls {
				if err := c.response(); err != nil {
					t.Fatal(err)
				}
				if b, err := c.all(); b != fmt.Sprint("c", n) || err != nil {
					t.Errorf("call %d answered %q, %v", n, b, err)
				}
			}
		})
	}
}

func TestWarmAndLifeCycle(t *testing.T) {
	for _, name := range []string{"node", "python"} {
		t.Run(name+"/warm", func(t *testing.T) {
			t.Parallel()
			i := start(t, name)
			for range 3 {
				if c, body := i.control.do(t, jsonBody()); c.status != 200 || body != "warm" {
					t.Errorf("%d %q", c.status, body)
				}
			}
			if f := i.control.load(t, spec(t, name, "hello", 1)); f != nil {
				t.Fatal(f)
			}
			if _, body := i.control.do(t, jsonBody()); body != `{"greeting":"Hello, Ada"}` {
				t.Error(body)
			}
		})
		for _, how := range []string{"DRAIN", "SIGTERM"} {
			for _, handler := range []string{"stream.slow", "stream.aslow"} {
				if name == "node" && handler == "stream.aslow" {
					continue
				}
				for _, concurrency := range []int{1, 3} {
					t.Run(fmt.Sprintf("%s/%s/%s/%d", name, how, handler, concurrency), func(t *testing.T) {
						t.Parallel()
						i, k := loaded(t, name, handler, concurrency)
						k.do(t, request{}) // its connection is accepted
						c := k.start(request{})
						if how == "DRAIN" {
							i.control.send(packet{typ: tDrain})
						} else {
							i.cmd.Process.Signal(syscall.SIGTERM)
						}
						if err := c.response(); err != nil {
							t.Errorf("the open call was not finished: %v", err)
						}
						if code := i.exit(t); code != 0 {
							t.Errorf("exit status %d", code)
						}
					})
				}
			}
			t.Run(name+"/"+how+"/idle", func(t *testing.T) {
				t.Parallel()
				i := start(t, name)
				if how == "DRAIN" {
					i.control.send(packet{typ: tDrain})
				} else {
					i.control.do(t, request{}) // it is up
					i.cmd.Process.Signal(syscall.SIGTERM)
				}
				if code := i.exit(t); code != 0 {
					t.Errorf("exit status %d", code)
				}
			})
		}
		t.Run(name+"/control lost", func(t *testing.T) {
			t.Parallel()
			i, _ := loaded(t, name, "hello", 1)
			i.control.Close()
			i.exit(t)
		})
		t.Run(name+"/exit", func(t *testing.T) {
			t.Parallel()
			i, k := loaded(t, name, "shapes.exits", 1)
			c := k.start(request{})
			if err := c.response(); err == nil {
				t.Error("an answer came")
			}
			if code := i.exit(t); code != 7 {
				t.Errorf("status %d", code)
			}
		})
		t.Run(name+"/children", func(t *testing.T) {
			t.Parallel()
			_, k := loaded(t, name, "shapes.child", 1)
			_, body := k.do(t, request{})
			if !strings.Contains(body, " 0 -> ") {
				t.Errorf("no descriptors in %s", body)
			}
			if m := inherited.FindString(body); m != "" {
				t.Errorf("a child has a socket of the loader: %s\n%s", m, body)
			}
		})
	}
}

// inherited finds sockets above 2, which is all of the loader's; its own stdio
// may be sockets.
var inherited = regexp.MustCompile(` ([3-9]|[1-9]\d+) -> socket:.*`)

func TestStrayErrors(t *testing.T) {
	t.Run("rejection", func(t *testing.T) {
		i, k := loaded(t, "node", "shapes.stray", 1)
		for range 2 {
			if c, _ := k.do(t, request{id: "s"}); c.status != 500 {
				t.Errorf("status %d", c.status)
			}
			if l := i.control.log(t); l.id != "s" || !strings.Contains(l.text, "nobody waits") {
				t.Errorf("%+v", l)
			}
		}
	})
	for _, concurrency := range []int{1, 4} {
		t.Run(fmt.Sprint("exception/", concurrency), func(t *testing.T) {
			i, k := loaded(t, "node", "shapes.uncaught", concurrency)
			if c, _ := k.do(t, request{id: "u"}); c.status != 500 {
				t.Errorf("status %d", c.status)
			}
			if l := i.control.log(t); l.id != "u" || !strings.Contains(l.text, "nobody catches") {
				t.Errorf("%+v", l)
			}
			if code := i.exit(t); code != 1 {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

func TestMalformedFrames(t *testing.T) {
	big := make([]byte, 12)
	binary.BigEndian.PutUint32(big, 1<<20+1)
	badBlock := append(request{}.payload()[:len(request{}.payload())-2], 0, 9)
	cases := map[string][]byte{
		"too large":           big,
		"unknown type":        encode(packet{typ: 99, stream: 1}),
		"stream zero":         encode(packet{typ: tRequest, payload: request{}.payload(), end: true}),
		"head cut off":        encode(packet{typ: tRequest, stream: 1, payload: []byte{0, 0, 0, 0, 0, 9, 'G'}, end: true}),
		"block cut off":       encode(packet{typ: tRequest, stream: 1, payload: badBlock, end: true}),
		"short window":        encode(packet{typ: tWindow, stream: 1, payload: []byte{1}}),
		"short ping":          encode(packet{typ: tPing, payload: []byte{1}}),
		"load on data":        encode(packet{typ: tLoad, payload: []byte(`{}`)}),
		"load not JSON":       encode(packet{typ: tLoad, payload: []byte(`{`)}),
		"answer from host":    encode(packet{typ: tResponse, stream: 1, payload: []byte{0, 200, 0, 0}}),
		"window exceeded":     append(encode(packet{typ: tRequest, stream: 1, payload: request{}.payload()}), encode(packet{typ: tData, stream: 1, payload: make([]byte, 262145)})...),
		"stream in use":       append(encode(packet{typ: tRequest, stream: 1, payload: request{}.payload()}), encode(packet{typ: tRequest, stream: 1, payload: request{}.payload()})...),
		"HELLO of version 2":  encode(packet{typ: tHello, payload: []byte(`{"version":2,"role":"data"}`)}),
		"something not HELLO": encode(packet{typ: tPing, payload: make([]byte, 8)}),
	}
	for _, name := range []string{"node", "python"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, k := loaded(t, name, "hello", 4)
			for what, b := range cases {
				c, err := net.Dial("unix", i.socket)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(what, "HELLO") {
					c.Write(encode(packet{typ: tHello, payload: []byte(`{"version":1,"role":"data"}`)}))
				}
				c.Write(b)
				c.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
					t.Errorf("%s: the connection did not end: %v", what, err)
				}
				c.Close()
			}
			// Unknown types of 128 and above are no error, nor are late frames.
			k.send(packet{typ: 200, stream: 5, payload: []byte("?")})
			k.send(packet{typ: tData, stream: 99, payload: []byte("late")})
			k.send(packet{typ: tWindow, stream: 99, payload: make([]byte, 4)})
			k.send(packet{typ: tCancel, stream: 99})
			if _, body := k.do(t, jsonBody()); body != `{"greeting":"Hello, Ada"}` {
				t.Error(body)
			}
		})
	}
}

// TestNodeFrameworks: what Express and others look for in a request.
func TestNodeFrameworks(t *testing.T) {
	i, k := loaded(t, "node", "shapes.next", 1)
	if c, _ := k.do(t, request{}); c.status != 404 {
		t.Errorf("next(): %d", c.status)
	}
	if c, _ := k.do(t, request{target: "/fails", id: "n"}); c.status != 500 {
		t.Errorf("next(err): %d", c.status)
	}
	if l := i.control.log(t); l.id != "n" || !strings.Contains(l.text, "passed on") {
		t.Errorf("%+v", l)
	}
	if _, body := k.do(t, request{method: "POST", target: "/length", body: "12345"}); body != "5 true production" {
		t.Errorf("%q", body)
	}
}

// TestNodeResponses: the light Response is a Response.
func TestNodeResponses(t *testing.T) {
	_, k := loaded(t, "node", "shapes.responses", 4)
	for _, tt := range []struct {
		target string
		status int
		header header
		body   string
	}{
		{"/", 200, header{"content-type", "application/json"}, `[true,"text",true,"b",{"a":1},true,"TypeError",false,"undefined","text/plain;charset=UTF-8"]`},
		{"/json", 201, header{"content-type", "application/json"}, `{"a":1}`},
		{"/looked", 202, header{"x-b", "c"}, "seen"},
		{"/bytes", 200, header{}, "hi"},
		{"/empty", 204, header{}, ""},
		{"/redirect", 307, header{"location", "http://x.test/"}, ""},
		{"/stream", 200, header{}, "blob"},
	} {
		c, body := k.do(t, request{target: tt.target})
		if c.status != tt.status || body != tt.body || tt.header[0] != "" && c.header(tt.header[0]) != tt.header[1] {
			t.Errorf("%s: %d %v %s", tt.target, c.status, c.headers, body)
		}
	}
}
