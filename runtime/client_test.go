package runtime_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// A small client of the protocol, written from PROTOCOL.md alone and on
// purpose without runtime/frame: what both agree on is what the text says.

const (
	tHello = iota + 1
	tLoad
	tLoaded
	tFailed
	tRequest
	tData
	tTrailers
	tResponse
	tCancel
	tWindow
	tPing
	tPong
	tLog
	tDrain
	_
	tFork
	tForked
	tExited
)

// patience is how long anything may take on a busy machine.
const patience = 2 * time.Minute

type packet struct {
	stream  uint32
	typ     byte
	end     bool
	payload []byte
}

func encode(f packet) []byte {
	b := make([]byte, 12, 12+len(f.payload))
	binary.BigEndian.PutUint32(b, uint32(len(f.payload)))
	binary.BigEndian.PutUint32(b[4:], f.stream)
	b[8] = f.typ
	if f.end {
		b[9] = 1
	}
	return append(b, f.payload...)
}

// queue is an unbounded channel of frames.
type queue struct {
	mu     sync.Mutex
	items  []packet
	closed bool
	wake   chan struct{}
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func (q *queue) put(f packet) {
	q.mu.Lock()
	q.items = append(q.items, f)
	q.mu.Unlock()
	q.nudge()
}

func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.nudge()
}

func (q *queue) get(d time.Duration) (packet, error) {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			f := q.items[0]
			q.items = q.items[1:]
			if len(q.items) > 0 {
				q.nudge()
			}
			q.mu.Unlock()
			return f, nil
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			q.nudge()
			return packet{}, io.EOF
		}
		select {
		case <-q.wake:
		case <-timeout.C:
			return packet{}, fmt.Errorf("nothing came in %v", d)
		}
	}
}

type conn struct {
	net.Conn
	wmu     sync.Mutex
	mu      sync.Mutex
	streams map[uint32]*call
	last    uint32
	zero    *queue // frames of stream 0
	logs    *queue
	done    chan struct{}
}

func newConn(c net.Conn, role string) *conn {
	k := &conn{Conn: c, streams: map[uint32]*call{}, zero: newQueue(), logs: newQueue(), done: make(chan struct{})}
	go k.read()
	k.send(packet{typ: tHello, payload: []byte(`{"version":1,"role":"` + role + `"}`)})
	return k
}

func (k *conn) send(f packet) error {
	k.wmu.Lock()
	defer k.wmu.Unlock()
	_, err := k.Write(encode(f))
	return err
}

func (k *conn) read() {
	defer func() {
		k.mu.Lock()
		for _, c := range k.streams {
			c.in.close()
		}
		k.mu.Unlock()
		k.zero.close()
		k.logs.close()
		close(k.done)
	}()
	head := make([]byte, 12)
	for {
		if _, err := io.ReadFull(k, head); err != nil {
			return
		}
		f := packet{stream: binary.BigEndian.Uint32(head[4:]), typ: head[8], end: head[9]&1 != 0}
		f.payload = make([]byte, binary.BigEndian.Uint32(head))
		if _, err := io.ReadFull(k, f.payload); err != nil {
			return
		}
		switch {
		case f.typ == tLog:
			k.logs.put(f)
		case f.stream == 0:
			k.zero.put(f)
		default:
			k.mu.Lock()
			c := k.streams[f.stream]
			k.mu.Unlock()
			if c == nil {
				continue
			}
			if f.typ == tWindow {
				c.grant(int(binary.BigEndian.Uint32(f.payload)))
			} else {
				c.in.put(f)
			}
		}
	}
}

// expect gives the payload of the next frame of stream 0, which must be of one
// of the types.
func (k *conn) expect(t testing.TB, types ...byte) packet {
	t.Helper()
	f, err := k.zero.get(patience)
	if err != nil {
		t.Fatalf("waiting for frame of type %v: %v", types, err)
	}
	for _, want := range types {
		if f.typ == want {
			return f
		}
	}
	t.Fatalf("frame of type %d %s, want one of %v", f.typ, f.payload, types)
	return f
}

type logLine struct {
	stream   byte
	id, text string
}

func (k *conn) log(t testing.TB) logLine {
	t.Helper()
	f, err := k.logs.get(patience)
	if err != nil {
		t.Fatalf("waiting for a log line: %v", err)
	}
	n := binary.BigEndian.Uint16(f.payload[1:])
	return logLine{f.payload[0], string(f.payload[3 : 3+n]), string(f.payload[3+n:])}
}

type header [2]string

func block(h []header) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(h)))
	for _, kv := range h {
		b = binary.BigEndian.AppendUint16(b, uint16(len(kv[0])))
		b = append(b, kv[0]...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(kv[1])))
		b = append(b, kv[1]...)
	}
	return b
}

func unblock(b []byte) ([]header, []byte) {
	n := binary.BigEndian.Uint16(b)
	b = b[2:]
	var h []header
	for range n {
		l := binary.BigEndian.Uint16(b)
		name := string(b[2 : 2+l])
		b = b[2+l:]
		v := binary.BigEndian.Uint32(b)
		h = append(h, header{name, string(b[4 : 4+v])})
		b = b[4+v:]
	}
	return h, b
}

type request struct {
	method, target string
	id             string
	headers        []header
	body           string
	open           bool // more body follows
	ms             uint32
}

func (r request) payload() []byte {
	b := binary.BigEndian.AppendUint32(nil, r.ms)
	if r.method == "" {
		r.method = "GET"
	}
	if r.target == "" {
		r.target = "/"
	}
	for _, s := range []string{r.method, r.target, "example.test", "http", "192.0.2.7:4711", r.id} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	return append(append(b, block(r.headers)...), r.body...)
}

type call struct {
	k      *conn
	stream uint32
	in     *queue
	mu     sync.Mutex
	cond   *sync.Cond
	window int

	status   int
	headers  []header
	trailers []header
	first    []byte
	ended    bool
	canceled string
	taken    int
}

func (k *conn) start(r request) *call {
	k.mu.Lock()
	k.last++
	c := &call{k: k, stream: k.last, in: newQueue(), window: 262144 - len(r.body)}
	c.cond = sync.NewCond(&c.mu)
	k.streams[c.stream] = c
	k.mu.Unlock()
	k.send(packet{stream: c.stream, typ: tRequest, end: !r.open, payload: r.payload()})
	return c
}

func (c *call) grant(n int) {
	c.mu.Lock()
	c.window += n
	c.mu.Unlock()
	c.cond.Broadcast()
}

// write sends body bytes in pieces of at most size, as the window allows.
func (c *call) write(b []byte, size int, end bool) {
	for {
		c.mu.Lock()
		for c.window <= 0 && len(b) > 0 {
			c.cond.Wait()
		}
		n := min(len(b), size, c.window)
		c.window -= n
		c.mu.Unlock()
		last := n == len(b)
		c.k.send(packet{stream: c.stream, typ: tData, end: end && last, payload: b[:n]})
		if last {
			return
		}
		b = b[n:]
	}
}

// response waits for the final RESPONSE; informational ones are skipped.
func (c *call) response() error {
	for {
		f, err := c.in.get(patience)
		if err != nil {
			return err
		}
		switch f.typ {
		case tCancel:
			c.canceled = string(f.payload)
			return fmt.Errorf("cancelled: %s", f.payload)
		case tResponse:
			c.status = int(binary.BigEndian.Uint16(f.payload))
			c.headers, c.first = unblock(f.payload[2:])
			c.taken = len(c.first)
			c.ended = f.end
			if c.status >= 200 || c.status == 101 {
				return nil
			}
		default:
			return fmt.Errorf("frame %d before a response", f.typ)
		}
	}
}

// read gives the next body bytes and grants what it took; io.EOF at the end.
func (c *call) read() ([]byte, error) {
	if len(c.first) > 0 {
		b := c.first
		c.first = nil
		c.credit(0)
		return b, nil
	}
	if c.ended {
		return nil, io.EOF
	}
	f, err := c.in.get(patience)
	if err != nil {
		return nil, err
	}
	switch f.typ {
	case tData:
		c.ended = f.end
		c.taken += len(f.payload)
		if !f.end {
			c.credit(65536)
		}
		return f.payload, nil
	case tTrailers:
		c.trailers, _ = unblock(f.payload)
		c.ended = true
		return nil, io.EOF
	case tCancel:
		c.canceled = string(f.payload)
		return nil, fmt.Errorf("cancelled: %s", f.payload)
	}
	return nil, fmt.Errorf("frame of type %d in a body", f.typ)
}

func (c *call) credit(step int) {
	if c.taken < step || c.taken == 0 || c.ended {
		return
	}
	c.k.send(packet{stream: c.stream, typ: tWindow, payload: binary.BigEndian.AppendUint32(nil, uint32(c.taken))})
	c.taken = 0
}

func (c *call) all() (string, error) {
	var b []byte
	for {
		p, err := c.read()
		b = append(b, p...)
		if err == io.EOF {
			return string(b), nil
		}
		if err != nil {
			return string(b), err
		}
	}
}

func (c *call) header(name string) string {
	for _, h := range c.headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

func (c *call) cancel(reason string) {
	c.k.send(packet{stream: c.stream, typ: tCancel, payload: []byte(reason)})
}

// do makes a whole call.
func (k *conn) do(t testing.TB, r request) (*call, string) {
	t.Helper()
	c := k.start(r)
	if err := c.response(); err != nil {
		t.Fatalf("%s %s: %v", r.method, r.target, err)
	}
	body, err := c.all()
	if err != nil {
		t.Fatalf("%s %s: body: %v", r.method, r.target, err)
	}
	k.mu.Lock()
	delete(k.streams, c.stream)
	k.mu.Unlock()
	return c, body
}

type loadSpec struct {
	Code        string            `json:"code"`
	Handler     string            `json:"handler"`
	Env         map[string]string `json:"env"`
	Concurrency int               `json:"concurrency"`
	TimeoutMs   int               `json:"timeoutMs"`
	Function    string            `json:"function"`
	Namespace   string            `json:"namespace"`
	Revision    string            `json:"revision"`
	Metadata    map[string]any    `json:"metadata"`
}

type failure struct{ Message, Traceback, Stage string }

func (k *conn) load(t testing.TB, s loadSpec) *failure {
	t.Helper()
	if s.Concurrency == 0 {
		s.Concurrency = 1
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	k.send(packet{typ: tLoad, payload: b})
	f := k.expect(t, tLoaded, tFailed)
	if f.typ == tLoaded {
		return nil
	}
	var x failure
	if err := json.Unmarshal(f.payload, &x); err != nil {
		t.Fatal(err)
	}
	return &x
}
