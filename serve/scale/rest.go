package scale

import (
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// attend follows whether an instance is ready, until it ends or is to be
// stopped. One that is not gets no calls, and finishes those it has. It counts as
// one there is all the same: it will be back, and others started in its place
// would only be too many then, and would not be ready either where the fault is
// somewhere else. Calls that find no other instance start one, or wait.
func (b *backend) attend(in *instance) {
	p, ok := in.run.(engine.Probed)
	if !ok {
		return
	}
	for {
		ready, changed := p.Ready()
		b.rest(in, !ready)
		select {
		case <-changed:
		case <-in.done:
			return
		case <-in.stop:
			return
		}
	}
}

func (b *backend) rest(in *instance, rests bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if in.rests == rests || in.state != taking {
		return
	}
	in.rests = rests
	if rests {
		b.free.remove(in)
	} else if in.busy < b.concurrency {
		b.free.push(in)
	}
	b.settle(time.Now())
}

// awake is how many instances take calls now; mu is held.
func (b *backend) awake() (n int) {
	for _, in := range b.all {
		if in.state == taking && !in.rests {
			n++
		}
	}
	return n
}
