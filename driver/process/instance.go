package process

import (
	"context"
	"net"
	"syscall"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/engine/life"
)

// instance is a specialised one.
type instance struct {
	*life.Life
	engine   *Engine
	pool     *pool
	warm     *warm
	spec     *engine.Spec
	protocol string
	dial     func(context.Context) (net.Conn, error)
	onEnd    func()
}

var _ engine.Measured = (*instance)(nil)

func (i *instance) key() string { return i.spec.Tenant + "/" + i.spec.Revision }

// ID implements engine.Instance.
func (i *instance) ID() string { return i.warm.id }

// Protocol implements engine.Instance.
func (i *instance) Protocol() string { return i.protocol }

// Dial implements engine.Instance.
func (i *instance) Dial(ctx context.Context) (net.Conn, error) { return i.dial(ctx) }

// Usage implements engine.Measured.
func (i *instance) Usage() (engine.Usage, error) { return i.warm.box.Usage() }

// watch waits for the end, however it comes.
func (i *instance) watch() {
	<-i.warm.box.Done()
	exit := i.warm.box.Exit()
	if unexpected(exit, i.Asked()) {
		i.warm.out.last("instance " + exit.Reason)
	}
	i.warm.clean()
	if i.onEnd != nil {
		i.onEnd()
	}
	i.engine.leave(i)
	i.End(exit)
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
	i.Life.Stop(ctx, i.engine.o.Grace, i.ask, i.warm.box.Kill)
	return nil
}

// ask tells the program that it shall end.
func (i *instance) ask() {
	if c := i.warm.control; c != nil {
		c.Drain()
	} else {
		i.warm.box.Signal(syscall.SIGTERM)
	}
}
