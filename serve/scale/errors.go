package scale

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hearth-run/hearth/api"
)

func (b *backend) tooMany() *api.Error {
	e := api.Errorf(api.CodeQueueFull, "%d calls of %s already wait for an instance", b.queue.n, b.rev.Metadata.Name)
	e.RetryAfter = time.Second
	return e
}

func (b *backend) tooLong(waited time.Duration) *api.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := api.Errorf(api.CodeQueueTimeout, "no instance of %s was free within %s (%d of at most %d run, %d start)",
		b.rev.Metadata.Name, waited.Round(time.Millisecond), b.ready, b.max, b.starting)
	if n := b.ready - b.awake(); n > 0 {
		e.Message += fmt.Sprintf("; %d of them not ready: hearth logs says why", n)
	}
	e.RetryAfter = time.Second
	return e
}

// gaveUp is for a caller whose context ended while it waited.
func gaveUp(ctx context.Context, rev *api.Revision, waited time.Duration) *api.Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e := api.Errorf(api.CodeQueueTimeout, "no instance of %s was free before the call's time was over, after %s",
			rev.Metadata.Name, waited.Round(time.Millisecond)).WithCause(ctx.Err())
		e.RetryAfter = time.Second
		return e
	}
	return api.Errorf(api.CodeCanceled, "the caller of %s went away while it waited for an instance", rev.Metadata.Name).WithCause(ctx.Err())
}

// notStarted gives a start's error a code; one that has a code stays as it is.
func (b *backend) notStarted(err error) *api.Error {
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	return api.Errorf(api.CodeStartFailed, "an instance of %s did not start", b.rev.Metadata.Name).WithCause(err)
}

// crashing is what calls get while instances end as soon as they are started.
func (b *backend) crashing(in *instance) *api.Error {
	reason := "its call failed"
	select {
	case <-in.done:
		if x := in.run.Exit(); x.Reason != "" {
			reason = x.Reason
		}
	default:
	}
	return api.Errorf(api.CodeStartFailed, "instances of %s end right after they start (the last one: %s)", b.rev.Metadata.Name, reason)
}

func errClosing() *api.Error {
	e := api.Errorf(api.CodeNotReady, "hearth is stopping")
	e.RetryAfter = time.Second
	return e
}
