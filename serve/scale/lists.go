package scale

import (
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// instance is a running instance with its slots, under its backend's lock.
type instance struct {
	b      *backend
	run    engine.Instance
	done   <-chan struct{}
	ready  time.Time     // since when it takes calls
	used   time.Time     // when the last call ended; since then it is unused if busy is 0
	busy   int           // calls in flight
	tick   uint32        // the scaler's clock when the last call ended
	lost   bool          // it has ended, and its goroutine has not said so yet
	rests  bool          // it is not ready now
	state  instanceState // where it stands
	crash  bool          // counted as a crash
	stop   chan struct{} // closed: stop it now
	halted bool          // stop is closed

	prev, next *instance // in the list of free ones
	free       bool      // is in that list
}

type instanceState uint8

const (
	taking  instanceState = iota // takes calls, unless it rests
	leaving                      // takes no more; stopped when its calls are over
	ended                        // gone
)

// stack lists the instances with a free slot. A full instance that gets a slot
// free goes to the top and calls are put on top, so that load is packed on few
// instances, the most recently used ones, and the others become idle.
type stack struct{ top *instance }

func (s *stack) push(in *instance) {
	if in.free || in.rests {
		return
	}
	in.free, in.prev, in.next = true, nil, s.top
	if s.top != nil {
		s.top.prev = in
	}
	s.top = in
}

func (s *stack) remove(in *instance) {
	if !in.free {
		return
	}
	if in.prev != nil {
		in.prev.next = in.next
	} else {
		s.top = in.next
	}
	if in.next != nil {
		in.next.prev = in.prev
	}
	in.free, in.prev, in.next = false, nil, nil
}

// waiter is a call without a slot.
type waiter struct {
	since      time.Time
	answer     chan grant // of capacity 1; gets exactly one value unless the waiter leaves
	prev, next *waiter
	queued     bool
}

// grant is a slot, or the reason why there is none.
type grant struct {
	in   *instance
	cold bool
	err  error
}

// queue is first in, first out, and lets a waiter leave from the middle.
type queue struct {
	first, last *waiter
	n           int
}

func (q *queue) push(w *waiter) {
	w.queued, w.prev = true, q.last
	if q.last != nil {
		q.last.next = w
	} else {
		q.first = w
	}
	q.last = w
	q.n++
}

func (q *queue) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	w.queued, w.prev, w.next = false, nil, nil
	q.n--
}
