// Package relay joins pairs of connections, whose bytes then go both ways until
// the pair ends: what becomes of a call when its connection changes its protocol,
// as for WebSocket.
//
// A pair waits far longer than it works. Where both connections are sockets and
// the system is Linux, all pairs share a few loops: waiting costs a pair neither
// a goroutine nor a buffer, and what has come for many of them is moved in one
// go. Elsewhere, and over TLS, a pair is two goroutines.
package relay

import (
	"net"
	"sync"
	"time"
)

// Pair is two connections to be joined. They belong to the relay from then on,
// which closes both when the pair ends: when both have ended their sending
// halves, each of which is passed on, when one fails or is closed for good, or
// when a limit is reached.
type Pair struct {
	A, B net.Conn
	// FromA and FromB came before, and go to the other side first.
	FromA, FromB []byte
	Limits       Limits
	// Ended is called once, from a goroutine of its own, when both are closed,
	// with the number of bytes from each side that were passed on. It is needed.
	Ended func(fromA, fromB int64)
}

// Limits of a pair; each is none when zero.
type Limits struct {
	Silence time.Duration // without a byte from either side
	Quiet   time.Duration // without a byte from B
	Until   time.Time     // the latest end
}

// Next is when the limits are reached unless something comes before, given when
// bytes came last; zero: never.
func (l Limits) Next(fromA, fromB time.Time) (at time.Time) {
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	if !l.Until.IsZero() {
		sooner(l.Until)
	}
	if l.Quiet > 0 {
		sooner(fromB.Add(l.Quiet))
	}
	if l.Silence > 0 && fromA.After(fromB) {
		sooner(fromA.Add(l.Silence))
	} else if l.Silence > 0 {
		sooner(fromB.Add(l.Silence))
	}
	return at
}

// Relay joins pairs. Make one with New.
type Relay struct {
	loops loops

	mu     sync.Mutex
	pairs  map[pair]struct{}
	closed bool
	left   sync.WaitGroup // pairs whose Ended has not returned
}

// pair is one that is joined.
type pair interface {
	// end closes both connections; a second one does nothing.
	end()
}

// New makes a relay, which costs nothing until it is used.
func New() *Relay { return &Relay{pairs: map[pair]struct{}{}} }

// Join joins p and returns at once.
func (r *Relay) Join(p Pair) {
	if !r.loops.join(r, &p) {
		newCopied(r, p)
	}
}

// Close ends all pairs, also those that are joined later, and returns when Ended
// has returned for each.
func (r *Relay) Close() error {
	r.mu.Lock()
	r.closed = true
	all := make([]pair, 0, len(r.pairs))
	for p := range r.pairs {
		all = append(all, p)
	}
	r.mu.Unlock()
	for _, p := range all {
		p.end()
	}
	r.left.Wait()
	r.loops.close()
	return nil
}

// Len is how many pairs are joined.
func (r *Relay) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pairs)
}

// add takes a pair in; false: it is to be ended at once. Either way done follows.
func (r *Relay) add(p pair) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left.Add(1)
	r.pairs[p] = struct{}{}
	return !r.closed
}

// done says that both connections of a pair are closed.
func (r *Relay) done(p pair, ended func(fromA, fromB int64), fromA, fromB int64) {
	r.mu.Lock()
	delete(r.pairs, p)
	r.mu.Unlock()
	go func() {
		defer r.left.Done()
		ended(fromA, fromB)
	}()
}
