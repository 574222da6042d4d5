package container

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/container/image"
)

// defaultProgress is the longest start of a pod that names none.
const defaultProgress = 10 * time.Minute

var errProgress = errors.New("start took too long")

// Start implements engine.Engine.
func (e *Engine) Start(ctx context.Context, s engine.Spec) (engine.Instance, error) {
	if s.Pod == nil || s.Pod.Serving < 0 || s.Pod.Serving >= len(s.Pod.Containers) {
		return nil, errNoPod(&s)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := e.host.Containers(); err != nil {
		return nil, err
	}
	outer := ctx
	ctx, done, err := e.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	limit := s.Pod.Progress
	if limit == 0 {
		limit = defaultProgress
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errProgress)
	defer cancel()
	i, err := e.start(ctx, &s, limit)
	switch {
	case err == nil:
		return e.admit(i)
	case outer.Err() != nil:
		return nil, outer.Err()
	}
	return nil, err
}

func (e *Engine) admit(i *instance) (engine.Instance, error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		i.kill("")
		<-i.Done()
		return nil, errClosing()
	}
	if !i.left { // else it has ended already
		e.instances[i] = struct{}{}
	}
	e.mu.Unlock()
	i.live()
	return i, nil
}

// start makes an instance and brings it up to ready; when it fails nothing is
// left of it.
func (e *Engine) start(ctx context.Context, s *engine.Spec, limit time.Duration) (*instance, error) {
	images, err := e.fetch(ctx, s)
	if err != nil {
		if errors.Is(context.Cause(ctx), errProgress) {
			return nil, api.Errorf(api.CodeStartFailed, "the images of %s were not fetched within %s", s.Revision, limit).WithCause(err)
		}
		return nil, err
	}
	var b *blank
	if err = e.slot(ctx); err == nil {
		if b, err = e.blanks.take(s); err == nil {
			if err = b.shared.SetTenant(s.Tenant); err != nil {
				b.drop()
			}
		}
		<-e.slots
	}
	if err != nil {
		release(images)
		return nil, err
	}
	i := newInstance(e, s, b, images)
	defer e.comes(i)()
	if err := i.up(ctx); err != nil {
		err = i.explain(ctx, err, limit)
		i.abandon()
		return nil, err
	}
	return i, nil
}

func release(images map[string]*image.Image) {
	for _, i := range images {
		i.Release()
	}
}

// up runs the init containers one by one, then all others at once, and waits
// until they are ready.
func (i *instance) up(ctx context.Context) error {
	if err := i.makeVolumes(ctx); err != nil {
		return err
	}
	for n := range i.spec.Pod.Init {
		if err := i.initialize(ctx, n); err != nil {
			return err
		}
	}
	list := i.spec.Pod.Containers
	i.boxes = make([]*box, len(list))
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for n := range list {
		wg.Go(func() {
			role := beside
			if n == i.spec.Pod.Serving {
				role = serving
			}
			i.boxes[n], errs[n] = i.run(ctx, &list[n], n, role)
		})
	}
	wg.Wait()
	go i.watch()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return i.ready(ctx)
}

// initialize runs one init container to its end, which must be a good one.
func (i *instance) initialize(ctx context.Context, n int) error {
	b, err := i.run(ctx, &i.spec.Pod.Init[n], 100+n, initial)
	if err != nil {
		return err
	}
	defer i.asks(b, nil)()
	stop := context.AfterFunc(ctx, b.Kill)
	defer stop()
	<-b.Done()
	b.out.read.Drain()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if x := b.Exit(); x.Code != 0 || x.OOM {
		return &ended{box: b, exit: x}
	}
	return nil
}

// boxID names the n-th box of an instance.
func (i *instance) boxID(n int) string { return fmt.Sprintf("%s.%d", i.id, n) }
