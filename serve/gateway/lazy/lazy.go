// Package lazy has what every request needs and few look at, made so that it
// costs next to nothing: a context that does until someone waits for it, and the
// date.
package lazy

import (
	"context"
	"sync"
	"time"
)

// Context ends with Cancel. Its zero value is ready for use.
type Context struct {
	mu    sync.Mutex
	done  chan struct{} // nil until someone asks
	err   error
	after []*func() // nil where taken back
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// Deadline implements context.Context.
func (x *Context) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (x *Context) Value(any) any { return nil }

// Done implements context.Context.
func (x *Context) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		if x.err != nil {
			x.done = closed
		} else {
			x.done = make(chan struct{})
		}
	}
	return x.done
}

// Err implements context.Context.
func (x *Context) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// AfterFunc has f run in a goroutine of its own once the context has ended, as
// context.AfterFunc does, which uses it.
func (x *Context) AfterFunc(f func()) (stop func() bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		go f()
		return func() bool { return false }
	}
	p := &f
	x.after = append(x.after, p)
	return func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		for i, q := range x.after {
			if q == p {
				x.after = append(x.after[:i], x.after[i+1:]...)
				return true
			}
		}
		return false
	}
}

// Cancel ends x. A second Cancel does nothing.
func (x *Context) Cancel() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return
	}
	x.err = context.Canceled
	if x.done != nil {
		close(x.done)
	}
	for _, f := range x.after {
		go (*f)()
	}
	x.after = nil
}

var _ context.Context = (*Context)(nil)
