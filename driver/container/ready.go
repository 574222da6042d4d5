package container

import (
	"context"
	"fmt"

	"github.com/hearth-run/hearth/core/engine"
)

// unready is why an instance is not ready.
type unready struct {
	box   *box
	kind  string // startup or readiness
	times int    // failures that are the verdict; 0: it is time that ran out
	cause error  // of the last answer; nil: there was none yet
}

// Error implements error.
func (u *unready) Error() string {
	return fmt.Sprintf("%s probe of %s: %v", u.kind, u.box.spec.Name, u.cause)
}

// ended is a container that ended before it should have.
type ended struct {
	box  *box
	exit engine.Exit
}

// Error implements error.
func (e *ended) Error() string { return e.box.spec.Name + " " + e.exit.Reason }

// ready waits until every container has started and is ready, or the first of
// them has failed for good.
func (i *instance) ready(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(i.boxes))
	for n, b := range i.boxes {
		go func() { results <- i.readyBox(ctx, b, n == i.spec.Pod.Serving) }()
	}
	var first error
	for range i.boxes {
		select {
		case err := <-results:
			if err != nil && first == nil {
				first = err
				cancel() // the others say what they wait for
			}
		case <-i.ending:
			i.first.out.read.Drain()
			return &ended{box: i.first, exit: i.first.Exit()}
		}
	}
	select {
	case <-i.ending: // an end explains a probe that failed, not the other way round
		i.first.out.read.Drain()
		return &ended{box: i.first, exit: i.first.Exit()}
	default:
		return first
	}
}

// readyBox waits for one container.
func (i *instance) readyBox(ctx context.Context, b *box, serves bool) error {
	if s := b.spec.Startup; s != nil {
		p := newProber(i, b, s)
		over := i.asks(b, p)
		times, err := p.first(ctx, true)
		over()
		if err != nil {
			return &unready{box: b, kind: "startup", times: times, cause: err}
		}
	}
	r := b.spec.Readiness
	if r == nil && serves {
		r = &engine.Probe{TCP: &i.spec.Pod.Port}
	}
	if r == nil {
		return nil
	}
	p := newProber(i, b, r)
	defer i.asks(b, p)()
	if _, err := p.first(ctx, false); err != nil {
		return &unready{box: b, kind: "readiness", cause: err}
	}
	return nil
}
