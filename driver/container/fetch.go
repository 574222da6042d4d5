package container

import (
	"context"
	"sync"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/container/image"
)

// fetch returns the pod's images by reference, each pinned until it is released.
func (e *Engine) fetch(ctx context.Context, s *engine.Spec) (map[string]*image.Image, error) {
	auth := image.Auth{Namespace: s.Tenant}
	for _, doc := range s.Pod.Pull {
		c, err := image.ParseDockerConfig(doc)
		if err != nil {
			return nil, err
		}
		auth.Credentials = append(auth.Credentials, c...)
	}
	type result struct {
		ref string
		img *image.Image
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	got := make(chan result)
	asked := map[string]bool{}
	tell := newFetching(ctx)
	for _, list := range [][]engine.Container{s.Pod.Init, s.Pod.Containers} {
		for _, c := range list {
			if asked[c.Image] {
				continue
			}
			asked[c.Image] = true
			go func() {
				img, err := e.o.Images.Fetch(tell.of(ctx), c.Image, auth)
				got <- result{c.Image, img, err}
			}()
		}
	}
	images := map[string]*image.Image{}
	var first error
	for range asked {
		r := <-got
		switch {
		case r.err == nil:
			images[r.ref] = r.img
		case first == nil:
			first = r.err
			cancel() // the others are of no use
		}
	}
	if first != nil {
		for _, i := range images {
			i.Release()
		}
		return nil, first
	}
	return images, nil
}

// fetching adds up how far the images of a pod are.
type fetching struct {
	tell func(engine.Progress) // nil: nobody asked
	mu   sync.Mutex
	sum  engine.Progress
}

func newFetching(ctx context.Context) *fetching { return &fetching{tell: engine.ProgressOf(ctx)} }

// of is the context one image is fetched with.
func (f *fetching) of(ctx context.Context) context.Context {
	if f.tell == nil {
		return ctx
	}
	var was engine.Progress
	return image.WithProgress(ctx, func(p image.Progress) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sum.Done += p.Bytes - was.Done
		f.sum.Total += p.Total - was.Total
		was = engine.Progress{Done: p.Bytes, Total: p.Total}
		if f.sum.Total > 0 {
			f.tell(f.sum)
		}
	})
}
