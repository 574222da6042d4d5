package container

import (
	"cmp"
	"context"
	"fmt"
	"sync"
)

// steady is whether an instance is ready now. It is when all containers are.
type steady struct {
	mu      sync.Mutex
	not     map[*box]bool // those that are not ready; nil stands for the whole instance
	changed chan struct{} // closed when an answer of ready changes
}

func newSteady() steady { return steady{not: map[*box]bool{}, changed: make(chan struct{})} }

func (s *steady) set(b *box, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.not) == 0
	if ready {
		delete(s.not, b)
	} else {
		s.not[b] = true
	}
	if before != (len(s.not) == 0) {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// Ready implements engine.Probed.
func (i *instance) Ready() (now bool, changed <-chan struct{}) {
	s := &i.steady
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.not) == 0, s.changed
}

// live starts what looks after an instance that is ready. All of it ends with
// the first container.
func (i *instance) live() {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-i.ending; cancel() }()
	for _, b := range i.boxes {
		if b.spec.Liveness != nil {
			go i.keepAlive(ctx, b)
		}
		if r := b.spec.Readiness; r != nil && r.Period > 0 {
			go i.keepReady(ctx, b)
		}
	}
	i.mu.Lock()
	for _, r := range i.renewals {
		if !i.over {
			i.renewing.Go(func() { i.renew(ctx, r) })
		}
	}
	i.mu.Unlock()
	if i.bounded() {
		go i.watchDisk(ctx)
	}
}

// keepAlive asks b from time to time, and ends the instance when b has failed to
// answer as often as the probe says.
func (i *instance) keepAlive(ctx context.Context, b *box) {
	p := newProber(i, b, b.spec.Liveness)
	failed, err := p.untilFailure(ctx)
	if err == nil || i.Asked() {
		return
	}
	i.dismiss(fmt.Sprintf("killed: the liveness probe%s failed %d times: %v", i.of(b), failed, err), cmp.Or(b.spec.Liveness.Grace, i.grace()))
}

// keepReady asks b from time to time. After as many failures in a row as the
// probe allows the instance is not ready, until b answers well again.
func (i *instance) keepReady(ctx context.Context, b *box) {
	p := newProber(i, b, b.spec.Readiness)
	for pause(ctx, b.spec.Readiness.Period) {
		failed, err := p.untilFailure(ctx)
		if err == nil || i.Asked() {
			return
		}
		i.steady.set(b, false)
		b.out.emit("stderr", fmt.Sprintf("instance takes no calls: the readiness probe%s failed %d times: %v", i.of(b), failed, err))
		if !pause(ctx, b.spec.Readiness.Period) {
			return
		}
		if p.untilSuccess(ctx, false); ctx.Err() != nil {
			return
		}
		i.steady.set(b, true)
		b.out.emit("stderr", "instance takes calls again")
	}
}

// of names b where that has to be said.
func (i *instance) of(b *box) string {
	if !i.named() {
		return ""
	}
	return " of " + b.spec.Name
}
