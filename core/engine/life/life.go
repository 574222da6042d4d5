// Package life is how the instances of an engine end: once, and when they are
// stopped with time to do it by themselves. Drivers share it; what asks and what
// kills an instance is theirs.
package life

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// Life is for an instance to embed: Done and Exit are those of engine.Instance.
// Its methods are safe for concurrent use.
type Life struct {
	done  chan struct{}
	exit  engine.Exit // valid once done is closed
	stop  sync.Once
	asked atomic.Bool
}

// New returns the life of an instance that runs.
func New() *Life { return &Life{done: make(chan struct{})} }

// Done implements engine.Instance.
func (l *Life) Done() <-chan struct{} { return l.done }

// Exit implements engine.Instance; it is zero before Done is closed.
func (l *Life) Exit() engine.Exit {
	select {
	case <-l.done:
		return l.exit
	default:
		return engine.Exit{}
	}
}

// End closes Done. It is called once, when nothing of the instance is left.
func (l *Life) End(x engine.Exit) {
	l.exit = x
	close(l.done)
}

// Asked reports whether the instance was asked to end.
func (l *Life) Asked() bool { return l.asked.Load() }

// Stop is the body of engine.Instance's: it calls ask, then kill when the
// instance has not ended after grace or when ctx ends, and returns at the end.
// When it is called again ask and kill are not.
func (l *Life) Stop(ctx context.Context, grace time.Duration, ask, kill func()) {
	l.stop.Do(func() {
		l.asked.Store(true)
		ask()
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-l.done:
			return
		case <-ctx.Done():
		case <-t.C:
		}
		kill()
	})
	<-l.done
}
