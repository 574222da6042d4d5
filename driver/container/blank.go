package container

import (
	"context"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/sandbox"
)

// blank is a network with a box in it that waits for a root and a program: of
// a start, what does not depend on what is started.
type blank struct {
	id     string
	shared *sandbox.Shared
	box    *sandbox.Box // nil: none was ready
	out    *output
}

// refillDelay is how long a blank that was taken is not replaced.
const refillDelay = 50 * time.Millisecond

// blanks are those that wait.
type blanks struct {
	engine *Engine
	want   int

	mu     sync.Mutex
	ready  []*blank
	making bool
	closed bool
	wg     sync.WaitGroup
}

// take returns a blank for s, without a box if none is ready.
func (p *blanks) take(s *engine.Spec) (*blank, error) {
	network := s.Network
	if network == "" {
		network = sandbox.NetworkPrivate
	}
	if network == sandbox.NetworkPrivate {
		if b := p.pop(); b != nil {
			// The next is made when the call this start is for is likely over: on
			// a machine with few processors it would slow down just that call.
			time.AfterFunc(refillDelay, p.fill)
			return b, nil
		}
	}
	time.AfterFunc(refillDelay, p.fill)
	id := p.engine.newID()
	shared, err := p.engine.host.Share(id, network)
	if err != nil {
		return nil, err
	}
	return &blank{id: id, shared: shared}, nil
}

func (p *blanks) pop() *blank {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ready) > 0 {
		b := p.ready[0]
		p.ready = p.ready[1:]
		select {
		case <-b.box.Done(): // something killed it
			b.shared.Close()
		default:
			return b
		}
	}
	return nil
}

// fill makes what is missing, in the background and one after the other.
func (p *blanks) fill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.making || p.closed || len(p.ready) >= p.want {
		return
	}
	p.making = true
	p.wg.Go(func() {
		for {
			b, err := p.make()
			if err != nil {
				p.engine.log.Warn("cannot prepare a box for containers", "err", err)
			}
			p.mu.Lock()
			if err != nil || p.closed {
				p.making = false
				p.mu.Unlock()
				b.drop()
				return
			}
			p.ready = append(p.ready, b)
			if len(p.ready) >= p.want {
				p.making = false
				p.mu.Unlock()
				return
			}
			p.mu.Unlock()
		}
	})
}

func (p *blanks) make() (*blank, error) {
	e := p.engine
	id := e.newID()
	shared, err := e.host.Share(id, sandbox.NetworkPrivate)
	if err != nil {
		return nil, err
	}
	b := &blank{id: id, shared: shared, out: newOutput(e.o.Sink, id)}
	stdout, stderr, err := b.out.read.Pipes()
	if err != nil {
		shared.Close()
		return nil, api.Errorf(api.CodeStartFailed, "start %s: %w", id, err)
	}
	defer stdout.Close()
	defer stderr.Close()
	b.box, err = e.host.Start(context.Background(), sandbox.Config{ID: id, Shared: shared, Hold: true, Stdout: stdout, Stderr: stderr})
	if err != nil {
		shared.Close()
		return nil, err
	}
	return b, nil
}

func (b *blank) drop() {
	if b == nil {
		return
	}
	if b.box != nil {
		b.box.Kill()
		<-b.box.Done()
	}
	b.shared.Close()
}

func (p *blanks) close() {
	p.mu.Lock()
	p.closed = true
	ready := p.ready
	p.ready = nil
	p.mu.Unlock()
	for _, b := range ready {
		b.drop()
	}
	p.wg.Wait()
}

// takeBlank gives the waiting box to the container that serves, unless that
// needs another kind.
func (i *instance) takeBlank(c *engine.Container, r role) *sandbox.Box {
	far := func(n *int64) bool { return n != nil && *n >= 65536 } // the box's range of users is fixed
	if r != serving || i.blank == nil || asksInside(c) || far(c.User) || far(c.Group) {
		return nil
	}
	b := i.blank
	i.blank = nil
	return b
}
