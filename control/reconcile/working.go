package reconcile

import (
	"context"
	"strconv"
	"sync"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// workings is what must be remembered of functions between two looks at them.
// All of it may be lost: a restart then tries once more.
type workings struct {
	mu sync.Mutex
	m  map[store.Key]*working
}

type working struct {
	print   string             // of the object being worked on; empty: none is
	cancel  context.CancelFunc // stops that work
	tried   string             // full print of the last attempt
	failed  bool               // that attempt failed for good: only a change helps
	waiting bool               // for something it refers to
	fails   int                // attempts that failed, for the wait until the next
}

func newWorkings() *workings { return &workings{m: map[store.Key]*working{}} }

// printOf is what decides, in the object itself, what is to be built. A status
// does not change it.
func printOf(f *api.Function) string {
	return f.Metadata.UID + "/" + strconv.FormatInt(f.Metadata.Generation, 10) + "/" + f.Metadata.Annotations[api.AnnotationRebuild]
}

func (w *workings) get(k store.Key) working {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.m[k]; c != nil {
		return *c
	}
	return working{}
}

func (w *workings) change(k store.Key, f func(*working)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m[k] == nil {
		w.m[k] = &working{}
	}
	f(w.m[k])
}

// begin notes that k is worked on for full; print is the part of it that is in
// the object.
func (w *workings) begin(k store.Key, print, full string, cancel context.CancelFunc) {
	w.change(k, func(c *working) {
		if c.tried != full {
			c.fails = 0
		}
		c.print, c.cancel, c.tried, c.failed, c.waiting = print, cancel, full, false, false
	})
}

func (w *workings) end(k store.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.m[k]; c != nil {
		c.print, c.cancel = "", nil
	}
}

// supersede stops the work on k if it is about something older than print.
func (w *workings) supersede(k store.Key, print string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.m[k]; c != nil && c.cancel != nil && c.print != print {
		c.cancel()
	}
}

// forget stops the work on k, which is gone.
func (w *workings) forget(k store.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.m[k]; c != nil && c.cancel != nil {
		c.cancel()
	}
	delete(w.m, k)
}

// waiting lists the functions of a namespace that miss something.
func (w *workings) waiting(namespace string) (out []store.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, c := range w.m {
		if k.Namespace == namespace && c.waiting {
			out = append(out, k)
		}
	}
	return out
}
