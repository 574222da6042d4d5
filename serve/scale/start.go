package scale

import (
	"context"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Start starts what rev needs to be ready, its initial scale and at least one
// instance, and returns once so many take calls. They stay for the first calls as
// long as unused instances do. Unlike a call it waits as long as ctx lets it.
//
// Errors: the start's own, as soon as one fails; api.CodeNotReady once the scaler
// is closed; ctx.Err(). What was started for it is then left to itself.
func (s *Scaler) Start(ctx context.Context, rev *api.Revision) error {
	b, n, err := s.aim(rev)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() {
		if b.aims--; b.aims == 0 {
			b.aim = 0
		}
		b.settle(time.Now())
	}()
	for epoch := b.back.epoch; b.ready < n; {
		now := time.Now()
		switch {
		case b.cut || s.closed.Load():
			return errClosing()
		case b.back.failures > 0 && (b.back.epoch != epoch || b.starting == 0 && b.back.blocked(now)):
			return b.back.answer(now)
		}
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-changed:
		}
		b.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	// The first ones have waited for the last: all of them are as if new.
	for _, in := range b.all {
		if in.busy == 0 {
			in.used, in.tick = time.Now(), s.clock.Load()
		}
	}
	return nil
}

// aim makes rev's backend hold what Start waits for.
func (s *Scaler) aim(rev *api.Revision) (*backend, int, error) {
	n := 1
	if a := rev.Spec.Scale.Auto; a != nil && a.Initial != nil {
		n = max(n, *a.Initial)
	}
	for {
		b := s.backend(rev)
		b.mu.Lock()
		if b.dropped {
			b.mu.Unlock()
			continue
		}
		defer b.mu.Unlock()
		if s.closed.Load() {
			return nil, 0, errClosing()
		}
		n = min(n, b.max)
		b.retired = false
		b.aim = max(b.aim, n)
		b.aims++
		b.watch()
		b.settle(time.Now())
		return b, n, nil
	}
}
