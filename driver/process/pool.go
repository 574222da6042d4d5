package process

import (
	"context"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
)

// pool holds warm instances of one runtime. Takers that find it empty wait in
// line; every instance that gets ready goes to the first of them, whoever caused
// its start, so waiting takers never serialise behind one start.
type pool struct {
	name    string
	loading loading
	least   int
	most    int
	afford  func() int

	mu       sync.Mutex
	ready    []*warm
	waiting  []chan *warm
	starting int
	closed   bool
	err      error     // of the newest start, if it failed
	pause    time.Time // no refill before this: starts fail
	fails    int
	arrivals arrivals
	cost     time.Duration // of one start, smoothed
	bytes    int64         // memory of one warm instance, smoothed
	touched  time.Time     // last start or deployment
	dormant  map[string]bool
	running  map[string]int
	wg       sync.WaitGroup
}

func newPool(name string, l loading, least, most int, afford func() int) *pool {
	return &pool{
		name: name, loading: l, least: least, most: most, afford: afford, cost: 100 * time.Millisecond, bytes: 12 << 20,
		dormant: map[string]bool{}, running: map[string]int{},
	}
}

// prepared notes a revision that may be called from zero.
func (p *pool) prepared(revision string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touched = time.Now()
	if p.running[revision] == 0 {
		p.dormant[revision] = true
	}
	p.fillLocked()
}

func (p *pool) started(revision string) {
	p.mu.Lock()
	p.running[revision]++
	delete(p.dormant, revision)
	p.mu.Unlock()
}

func (p *pool) ended(revision string) {
	p.mu.Lock()
	if p.running[revision]--; p.running[revision] <= 0 {
		delete(p.running, revision)
		p.dormant[revision] = true
	}
	p.mu.Unlock()
}

func (p *pool) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready)
}

// take returns a warm instance, which is the caller's from then on. While none
// is ready it waits in line until ctx ends or starting fails.
func (p *pool) take(ctx context.Context) (*warm, error) {
	p.mu.Lock()
	now := time.Now()
	p.arrivals.add(now, 1)
	p.touched = now
	for len(p.ready) > 0 {
		w := p.ready[0] // the oldest has had the most time to settle
		p.ready = p.ready[1:]
		if w.ended() {
			continue
		}
		p.mu.Unlock()
		// The refill waits until the call this instance is for is likely over:
		// on a machine with few processors it would slow down just that call.
		time.AfterFunc(refillDelay, p.adapt)
		return w, nil
	}
	if p.closed {
		p.mu.Unlock()
		return nil, api.Errorf(api.CodeStartFailed, "the engine is closing")
	}
	if p.fails > 0 && now.Before(p.pause) {
		err := p.err
		p.mu.Unlock()
		return nil, err
	}
	c := make(chan *warm, 1)
	p.waiting = append(p.waiting, c)
	p.fillLocked()
	p.mu.Unlock()
	select {
	case w := <-c:
		if w == nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			return nil, p.err
		}
		return w, nil
	case <-ctx.Done():
		p.leave(c)
		return nil, ctx.Err()
	}
}

// leave gives up a place in line, and back what was handed over meanwhile.
func (p *pool) leave(c chan *warm) {
	p.mu.Lock()
	for i, o := range p.waiting {
		if o == c {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			p.mu.Unlock()
			return
		}
	}
	p.mu.Unlock()
	if w := <-c; w != nil {
		p.put(w)
	}
}

func (p *pool) target(now time.Time) int {
	return size(demand{
		least: p.least, most: p.most, rate: p.arrivals.at(now), startTime: p.cost,
		dormant: len(p.dormant), quiet: now.Sub(p.touched), affordable: p.afford(),
	})
}

// adapt fills the pool up, or ends what is too much.
func (p *pool) adapt() {
	p.mu.Lock()
	p.fillLocked()
	var drop []*warm
	if !p.closed {
		// A quarter of slack, so that a rate that moves does not stop and
		// start instances all the time.
		want := p.target(time.Now())
		if n := len(p.ready); n > want+want/4+1 {
			drop = append(drop, p.ready[want:]...)
			p.ready = p.ready[:want:want]
		}
	}
	p.mu.Unlock()
	for _, w := range drop {
		w.kill()
	}
}

// fillLocked starts what is missing, at most parallel() at a time.
func (p *pool) fillLocked() {
	now := time.Now()
	if p.closed || p.fails > 0 && now.Before(p.pause) {
		return
	}
	for p.starting < parallel() && p.starting+len(p.ready) < p.target(now)+len(p.waiting) {
		p.starting++
		urgent := p.starting <= len(p.waiting)
		p.wg.Go(func() { p.launch(urgent) })
	}
}

func (p *pool) launch(urgent bool) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	w, err := p.loading.start(ctx, urgent)
	cancel()
	p.mu.Lock()
	p.starting--
	if err != nil {
		p.err, p.fails = err, p.fails+1
		p.pause = time.Now().Add(min(30*time.Second, 100*time.Millisecond<<min(p.fails, 10)))
		for _, c := range p.waiting {
			c <- nil
		}
		p.waiting = nil
		p.mu.Unlock()
		return
	}
	p.fails = 0
	p.cost += (time.Since(begin) - p.cost) / 8
	if w.memory > 0 {
		p.bytes += (w.memory - p.bytes) / 8
	}
	p.mu.Unlock()
	if !urgent { // while it waits it does nothing, and whoever takes it shall not wait for this
		w.hurry()
	}
	p.put(w)
}

// memory is what one warm instance costs, in bytes; called with p locked.
func (p *pool) memory() int64 { return max(p.bytes, 1<<20) }

// refillDelay is how long a pool that is not empty waits before it replaces an
// instance that was taken.
const refillDelay = 20 * time.Millisecond

// put hands w to the first in line, or keeps it.
func (p *pool) put(w *warm) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		w.kill()
		return
	}
	if len(p.waiting) > 0 {
		c := p.waiting[0]
		p.waiting = p.waiting[1:]
		c <- w
	} else {
		p.ready = append(p.ready, w)
	}
	p.fillLocked()
	p.mu.Unlock()
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.err = api.Errorf(api.CodeStartFailed, "the engine is closing")
	ready := p.ready
	p.ready = nil
	for _, c := range p.waiting {
		c <- nil
	}
	p.waiting = nil
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, w := range ready {
		wg.Go(w.kill)
	}
	wg.Wait()
	p.wg.Wait() // starts in flight end in put, which kills them
}
