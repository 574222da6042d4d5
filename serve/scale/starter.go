package scale

import "sync"

// starter bounds how many starts are under way at once, over all revisions, and
// is fair between them: they take turns, and none holds more than half of the
// places, so that a slow one does not keep the others from waking.
//
// Its lock is taken after a backend's, never before one.
type starter struct {
	limit, share int
	launch       func(*backend) // must not block nor take a lock of a backend

	mu      sync.Mutex
	running int
	turns   []*backend // with starts asked for; each at most once
}

// turn is a backend's part of the starter, under the starter's lock.
type turn struct {
	pending, running int
	queued           bool
}

func newStarter(limit int, launch func(*backend)) *starter {
	return &starter{limit: limit, share: max(1, (limit+1)/2), launch: launch}
}

// request asks for n starts of b; each ends with a call of finish.
func (st *starter) request(b *backend, n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	b.turn.pending += n
	st.enqueue(b)
	st.dispatch()
}

// finish gives a place back.
func (st *starter) finish(b *backend) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.running--
	b.turn.running--
	st.enqueue(b)
	st.dispatch()
}

// withdraw takes up to n starts of b back that have not begun, and returns how
// many.
func (st *starter) withdraw(b *backend, n int) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	n = min(n, b.turn.pending)
	b.turn.pending -= n
	return n
}

func (st *starter) enqueue(b *backend) {
	if b.turn.pending > 0 && !b.turn.queued && b.turn.running < st.share {
		b.turn.queued = true
		st.turns = append(st.turns, b)
	}
}

func (st *starter) dispatch() {
	for st.running < st.limit && len(st.turns) > 0 {
		b := st.turns[0]
		st.turns[0] = nil
		st.turns = st.turns[1:]
		b.turn.queued = false
		if b.turn.pending == 0 {
			continue
		}
		b.turn.pending--
		b.turn.running++
		st.running++
		st.enqueue(b)
		st.launch(b)
	}
}
