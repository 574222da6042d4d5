package scale

import (
	"container/heap"
	"sync"
	"time"
)

// alarms are the moments at which revisions without instances want to be looked
// at, so that until then they cost nothing.
//
// Its lock is taken after a backend's, never before one.
type alarms struct {
	mu   sync.Mutex
	heap alarmHeap
	wake func() // must not block
}

// alarm is one backend's, under the lock of alarms.
type alarm struct {
	at    time.Time
	b     *backend
	index int // in the heap
}

// set asks for b to be looked at at the given time, or earlier if it asked
// for that.
func (a *alarms) set(b *backend, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch x := b.alarm; {
	case x == nil:
		b.alarm = &alarm{at: at, b: b}
		heap.Push(&a.heap, b.alarm)
	case !at.Before(x.at):
		return
	default:
		x.at = at
		heap.Fix(&a.heap, x.index)
	}
	if a.heap[0].b == b {
		a.wake()
	}
}

// next is when the first alarm is; the zero time where there is none.
func (a *alarms) next() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.heap) == 0 {
		return time.Time{}
	}
	return a.heap[0].at
}

// due takes one backend whose time has come, or nil.
func (a *alarms) due(now time.Time) *backend {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.heap) == 0 || a.heap[0].at.After(now) {
		return nil
	}
	return a.pop(a.heap[0])
}

// clear forgets b's.
func (a *alarms) clear(b *backend) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b.alarm != nil {
		a.pop(b.alarm)
	}
}

func (a *alarms) pop(x *alarm) *backend {
	heap.Remove(&a.heap, x.index)
	x.b.alarm = nil
	return x.b
}

type alarmHeap []*alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *alarmHeap) Push(x any) {
	e := x.(*alarm)
	e.index = len(*h)
	*h = append(*h, e)
}
func (h *alarmHeap) Pop() any {
	n := len(*h) - 1
	x := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return x
}
