package reconcile

import (
	"context"
	"sync"
	"time"
)

const (
	firstWait = 500 * time.Millisecond
	longest   = 5 * time.Minute
)

// queue is a set of keys to work on. A key is worked on by one worker at a
// time; added again meanwhile, it comes once more afterwards. A key that failed
// comes back after a time that doubles with every failure.
type queue[K comparable] struct {
	mu      sync.Mutex
	cond    *sync.Cond
	ready   []K
	in      map[K]bool // in ready
	running map[K]bool
	again   map[K]bool // added while running
	fails   map[K]int
	timers  map[K]*time.Timer
	closed  bool
}

func newQueue[K comparable]() *queue[K] {
	q := &queue[K]{in: map[K]bool{}, running: map[K]bool{}, again: map[K]bool{}, fails: map[K]int{}, timers: map[K]*time.Timer{}}
	q.cond = sync.NewCond(&q.mu)
	return q
}

// add asks for k to be worked on soon.
func (q *queue[K]) add(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.put(k)
}

func (q *queue[K]) put(k K) {
	if t := q.timers[k]; t != nil {
		t.Stop()
		delete(q.timers, k)
	}
	switch {
	case q.closed || q.in[k]:
	case q.running[k]:
		q.again[k] = true
	default:
		q.in[k] = true
		q.ready = append(q.ready, k)
		q.cond.Signal()
	}
}

// addAfter asks for k to be worked on when d has passed, unless it is sooner.
func (q *queue[K]) addAfter(k K, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.in[k] || q.again[k] {
		return
	}
	if t := q.timers[k]; t != nil {
		t.Stop()
	}
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.timers[k] == t {
			q.put(k)
		}
	})
	q.timers[k] = t
}

// run works with n workers until ctx ends and waits for the last of them. do
// returns after how long to look again (0: not by itself), or an error.
func (q *queue[K]) run(ctx context.Context, n int, do func(context.Context, K) (time.Duration, error), failed func(K, error)) {
	stop := context.AfterFunc(ctx, q.close)
	defer stop()
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			for {
				k, ok := q.take()
				if !ok {
					return
				}
				after, err := do(ctx, k)
				if err != nil && ctx.Err() == nil {
					failed(k, err)
				}
				q.done(k, after, err)
			}
		})
	}
	workers.Wait()
}

func (q *queue[K]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.ready = true, nil
	for _, t := range q.timers {
		t.Stop()
	}
	clear(q.timers)
	q.cond.Broadcast()
}

func (q *queue[K]) take() (k K, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return k, false
	}
	k, q.ready = q.ready[0], q.ready[1:]
	delete(q.in, k)
	q.running[k] = true
	return k, true
}

func (q *queue[K]) done(k K, after time.Duration, err error) {
	q.mu.Lock()
	delete(q.running, k)
	if err == nil {
		delete(q.fails, k)
	} else {
		after = backOff(q.fails[k])
		q.fails[k]++
	}
	again := q.again[k]
	delete(q.again, k)
	if again {
		q.put(k)
	}
	q.mu.Unlock()
	if !again && after > 0 {
		q.addAfter(k, after)
	}
}

// backOff is the wait after n earlier failures.
func backOff(n int) time.Duration {
	if n > 10 {
		return longest
	}
	return min(firstWait<<n, longest)
}
