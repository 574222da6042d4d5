package frame

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"sync"

	"github.com/hearth-run/hearth/api"
)

// Roles of a connection.
const (
	RoleControl = "control"
	RoleData    = "data"
)

// Options of a client.
type Options struct {
	Role string // RoleControl or RoleData; data when empty
	// OnLog takes LOG frames of a control connection. It is called by the
	// goroutine that reads the connection: it must not block and not keep text.
	OnLog func(stream int, request string, text []byte)
}

// Hello is what an instance says of itself.
type Hello struct {
	Version        int    `json:"version"`
	Runtime        string `json:"runtime,omitempty"`
	RuntimeVersion string `json:"runtimeVersion,omitempty"`
	Loader         string `json:"loader,omitempty"`
	Zygote         bool   `json:"zygote,omitempty"`
	Role           string `json:"role,omitempty"` // the host's hello only
}

// Load tells a loader which code to load.
type Load struct {
	Code        string            `json:"code"`
	Handler     string            `json:"handler,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	Concurrency int               `json:"concurrency,omitempty"`
	TimeoutMS   int64             `json:"timeoutMs,omitempty"`
	Function    string            `json:"function,omitempty"`
	Namespace   string            `json:"namespace,omitempty"`
	Revision    string            `json:"revision,omitempty"`
	Metadata    map[string]any    `json:"metadata,omitempty"`
}

// Loaded is the answer to a Load that worked.
type Loaded struct {
	MS float64 `json:"ms"`
}

// Failed is the answer to a Load that did not.
type Failed struct {
	Message   string `json:"message"`
	Traceback string `json:"traceback,omitempty"`
	Stage     string `json:"stage,omitempty"`
}

// Client is the host's end of one connection to an instance. All methods are
// safe for concurrent use.
type Client struct {
	conn
	o Options

	cmu    sync.Mutex // guards what follows
	hello  *Hello
	helloc chan struct{} // closed with hello
	loads  []chan loadAnswer
	pongs  map[uint64]chan struct{}
	pings  uint64
	forks  map[string]chan forked
}

type loadAnswer struct {
	loaded Loaded
	err    error
}

// NewClient takes over nc, sends the host's HELLO and starts to read. It never
// blocks for the instance. Close ends it.
func NewClient(nc net.Conn, o Options) *Client {
	if o.Role == "" {
		o.Role = RoleData
	}
	c := &Client{o: o, helloc: make(chan struct{}), pongs: map[uint64]chan struct{}{}, forks: map[string]chan forked{}}
	c.start(nc, c)
	p, _ := json.Marshal(Hello{Version: 1, Role: o.Role})
	c.wbuf = AppendFrame(c.wbuf, 0, TypeHello, 0, p)
	c.mu.Lock()
	c.kick() // not here: the peer may not read yet
	if c.lazy = o.Role == RoleData; c.lazy {
		c.watch()
	} else {
		c.reading = true
		go c.readLoop()
	}
	c.mu.Unlock()
	return c
}

// Done is closed when the connection has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is nil while the connection lives.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and with it all calls. On a control connection it
// ends the instance.
func (c *Client) Close() error {
	c.close()
	return nil
}

// Open is the number of calls in progress.
func (c *Client) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams)
}

// Hello waits for the instance's HELLO.
func (c *Client) Hello(ctx context.Context) (Hello, error) {
	c.attend()
	select {
	case <-c.helloc:
		return *c.hello, nil
	case <-c.done:
		return Hello{}, c.gone()
	case <-ctx.Done():
		return Hello{}, ctx.Err()
	}
}

// gone is the error of something that waited on a connection that ended.
func (c *Client) gone() error {
	return &api.Error{Code: api.CodeInstanceLost, Message: "the connection to the instance ended", Cause: c.Err()}
}

// Load has the loader load code and waits for the outcome. When the code does
// not load the error is api.CodeLoadFailed with the language's own traceback in
// Detail. When ctx ends first, the outcome is unknown and the instance unfit.
func (c *Client) Load(ctx context.Context, l Load) (Loaded, error) {
	c.attend()
	p, err := json.Marshal(l)
	if err != nil {
		return Loaded{}, api.Errorf(api.CodeInternal, "load: %w", err)
	}
	if len(p) > MaxPayload {
		return Loaded{}, api.Errorf(api.CodeTooLarge, "environment and metadata of the function have %d bytes; at most %d fit", len(p), MaxPayload)
	}
	answer := make(chan loadAnswer, 1)
	c.cmu.Lock()
	c.loads = append(c.loads, answer)
	c.cmu.Unlock()
	if err := c.send(0, TypeLoad, 0, p); err != nil {
		return Loaded{}, c.gone()
	}
	select {
	case a := <-answer:
		return a.loaded, a.err
	case <-c.done:
		select {
		case a := <-answer:
			return a.loaded, a.err
		default:
			return Loaded{}, c.gone()
		}
	case <-ctx.Done():
		return Loaded{}, ctx.Err()
	}
}

// Ping waits for the peer's PONG.
func (c *Client) Ping(ctx context.Context) error {
	c.attend()
	answer := make(chan struct{})
	c.cmu.Lock()
	c.pings++
	id := c.pings
	c.pongs[id] = answer
	c.cmu.Unlock()
	defer func() {
		c.cmu.Lock()
		delete(c.pongs, id)
		c.cmu.Unlock()
	}()
	if err := c.send(0, TypePing, 0, binary.BigEndian.AppendUint64(nil, id)); err != nil {
		return c.gone()
	}
	select {
	case <-answer:
		return nil
	case <-c.done:
		return c.gone()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Drain tells the instance that no call will follow: it finishes those open and
// exits.
func (c *Client) Drain() error {
	if c.send(0, TypeDrain, 0, nil) != nil {
		return c.gone()
	}
	return nil
}

// control implements peer.
func (c *Client) control(h Header, p []byte) error {
	switch h.Type {
	case TypeHello:
		var hello Hello
		if err := json.Unmarshal(p, &hello); err != nil || hello.Version != 1 {
			return fmt.Errorf("%w: a malformed HELLO", ErrProtocol)
		}
		c.cmu.Lock()
		defer c.cmu.Unlock()
		if c.hello != nil {
			return fmt.Errorf("%w: a second HELLO", ErrProtocol)
		}
		c.hello = &hello
		close(c.helloc)
		return nil
	case TypeLoaded, TypeFailed:
		return c.loadAnswered(h, p)
	case TypeLog:
		l, err := ParseLog(p)
		if err == nil && c.o.OnLog != nil {
			c.o.OnLog(l.Stream, l.Request, l.Text)
		}
		return err
	case TypePong:
		c.cmu.Lock()
		defer c.cmu.Unlock()
		if answer := c.pongs[binary.BigEndian.Uint64(p)]; answer != nil {
			delete(c.pongs, binary.BigEndian.Uint64(p))
			close(answer)
		}
		return nil
	case TypeForked:
		return c.forkAnswered(p)
	}
	return fmt.Errorf("%w: a frame of type %d on the connection", ErrProtocol, h.Type)
}

func (c *Client) loadAnswered(h Header, p []byte) error {
	var a loadAnswer
	if h.Type == TypeLoaded {
		if err := json.Unmarshal(p, &a.loaded); err != nil {
			return fmt.Errorf("%w: a malformed LOADED", ErrProtocol)
		}
	} else {
		var f Failed
		if err := json.Unmarshal(p, &f); err != nil {
			return fmt.Errorf("%w: a malformed FAILED", ErrProtocol)
		}
		if f.Message == "" {
			f.Message = "the code did not load"
		}
		a.err = &api.Error{Code: api.CodeLoadFailed, Message: f.Message, Detail: f.Traceback}
	}
	c.cmu.Lock()
	defer c.cmu.Unlock()
	if len(c.loads) == 0 {
		return fmt.Errorf("%w: LOADED without a LOAD", ErrProtocol)
	}
	c.loads[0] <- a
	c.loads = c.loads[1:]
	return nil
}

// lost implements peer; all who wait watch done.
func (c *Client) lost() {}
