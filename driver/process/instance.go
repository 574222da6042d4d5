package process

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// instance is a specialised one.
type instance struct {
	engine   *Engine
	pool     *pool
	warm     *warm
	spec     *engine.Spec
	protocol string
	dial     func(context.Context) (net.Conn, error)
	onEnd    func()

	done     chan struct{}
	exit     engine.Exit // valid once done is closed
	stopOnce sync.Once
	asked    atomic.Bool // Stop was called
}

var _ engine.Instance = (*instance)(nil)

func (i *instance) key() string { return i.spec.Tenant + "/" + i.spec.Revision }

// ID implements engine.Instance.
func (i *instance) ID() string { return i.warm.id }

// Protocol implements engine.Instance.
func (i *instance) Protocol() string { return i.protocol }

// Dial implements engine.Instance.
func (i *instance) Dial(ctx context.Context) (net.Conn, error) { return i.dial(ctx) }

// Done implements engine.Instance.
func (i *instance) Done() <-chan struct{} { return i.done }

// Exit implements engine.Instance.
func (i *instance) Exit() engine.Exit {
	select {
	case <-i.done:
		return i.exit
	default:
		return engine.Exit{}
	}
}

// watch waits for the end, however it comes.
func (i *instance) watch() {
	<-i.warm.box.Done()
	i.exit = i.warm.box.Exit()
	if unexpected(i.exit, i.asked.Load()) {
		i.warm.out.last("instance " + i.exit.Reason)
	}
	i.warm.clean()
	if i.onEnd != nil {
		i.onEnd()
	}
	i.engine.leave(i)
	close(i.done)
}

// unexpected reports whether an end is worth a line in the log: it came by
// itself, or with more than being asked to stop explains.
func unexpected(x engine.Exit, asked bool) bool {
	switch {
	case x.Reason == "killed": // by us
		return false
	case x.OOM || !asked:
		return true
	case x.Signal != "":
		return x.Signal != "SIGTERM"
	}
	return x.Code > 0 && x.Code != 128+int(syscall.SIGTERM) && x.Code != 128+int(syscall.SIGINT)
}

// Stop implements engine.Instance.
func (i *instance) Stop(ctx context.Context) error {
	i.stopOnce.Do(func() {
		i.asked.Store(true)
		if c := i.warm.control; c != nil {
			c.Drain()
		} else {
			i.warm.box.Signal(syscall.SIGTERM)
		}
		t := time.NewTimer(i.engine.o.Grace)
		defer t.Stop()
		select {
		case <-i.done:
			return
		case <-ctx.Done():
		case <-t.C:
		}
		i.warm.box.Kill()
	})
	<-i.done
	return nil
}
