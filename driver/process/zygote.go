package process

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/hearth-run/hearth/sandbox"
)

// zygote is the loading of a loader that can fork itself: instances are children
// of one process that has everything imported, so that a burst costs forks and
// not interpreter starts. Where forking does not work (no root, no zygote), it
// starts instances one by one like any loader.
type zygote struct {
	*loader

	mu     sync.Mutex
	mother *warm
	failed time.Time // last time it did not start or died
}

func newZygote(l *loader) *zygote { return &zygote{loader: l} }

// zygoteRetry is how long a zygote that failed is left alone.
const zygoteRetry = 30 * time.Second

// living returns the mother process, starting it if need be, or nil.
func (z *zygote) living(ctx context.Context) *warm {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.mother != nil && !z.mother.ended() {
		return z.mother
	}
	if time.Since(z.failed) < zygoteRetry {
		return nil
	}
	m, err := z.loader.bootZygote(ctx)
	if err != nil {
		z.failed = time.Now()
		z.engine.log.Warn("no zygote; instances start one by one", "runtime", z.runtime.Name, "err", err)
		return nil
	}
	z.mother = m
	return m
}

func (l *loader) bootZygote(ctx context.Context) (*warm, error) {
	return l.greet(ctx, l.engine.newID(l.runtime.Name+"-zygote"), func(c sandbox.Config, _ []*os.File) (*sandbox.Box, error) {
		c.Args, c.Env, c.Binds, c.Zygote = l.mother, l.env, l.binds, true
		return l.engine.host.Start(ctx, c)
	})
}

// start implements loading.
func (z *zygote) start(ctx context.Context, urgent bool) (*warm, error) {
	m := z.living(ctx)
	if m == nil {
		return z.loader.start(ctx, urgent)
	}
	id := z.engine.newID(z.runtime.Name)
	w, err := z.boot(ctx, id, urgent, func(c sandbox.Config, files []*os.File) (*sandbox.Box, error) {
		return z.fork(ctx, m, c, files)
	})
	if err != nil && m.ended() {
		return z.loader.start(ctx, urgent)
	}
	return w, err
}

func (z *zygote) fork(ctx context.Context, m *warm, c sandbox.Config, files []*os.File) (*sandbox.Box, error) {
	plan, a, err := z.engine.host.ForkPlan(c)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	text, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	names, own := a.Files()
	names, files = append([]string{"listen", "stdout", "stderr"}, names...), append(files, own...)
	type outcome struct {
		box *sandbox.Box
		err error
	}
	adopted := make(chan outcome, 1)
	go func() {
		// The child waits in its plan until it is adopted.
		box, err := z.engine.host.Adopt(ctx, a)
		adopted <- outcome{box, err}
	}()
	if _, err := m.control.Fork(ctx, c.ID, text, nil, names, files); err != nil {
		a.Close()
		if o := <-adopted; o.box != nil {
			o.box.Kill()
		}
		return nil, err
	}
	a.Sent()
	o := <-adopted
	return o.box, o.err
}

// close implements loading.
func (z *zygote) close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.mother != nil {
		z.mother.kill()
		z.mother = nil
	}
	z.failed = time.Now().Add(time.Hour)
}
