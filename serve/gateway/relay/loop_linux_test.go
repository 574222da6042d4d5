package relay

import (
	"io"
	"runtime"
	"testing"
	"time"
)

// A peer that is gone for good ends the pair at once, even if the other side is
// silent and stays; over TCP only the next bytes would tell.
func TestGone(t *testing.T) {
	for _, half := range []bool{false, true} {
		r := New()
		defer r.Close()
		a, x := sockets(t, "tcp")
		b, y := sockets(t, "unix")
		ended := make(chan result, 1)
		r.Join(Pair{A: x, B: y, Ended: func(p, q int64) { ended <- result{p, q} }})
		io.WriteString(b, "last words")
		if half { // it says first that it has no more to say
			b.CloseWrite()
		} else {
			b.Close()
		}
		if got, err := io.ReadAll(a); string(got) != "last words" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		b.Close()
		if got := <-ended; got != (result{0, 10}) {
			t.Errorf("%+v", got)
		}
	}
}

// Pairs of sockets cost no goroutine.
func TestIdle(t *testing.T) {
	r := New()
	defer r.Close()
	before := runtime.NumGoroutine()
	for range 200 {
		_, x := sockets(t, "tcp")
		_, y := sockets(t, "unix")
		r.Join(Pair{A: x, B: y, Limits: Limits{Silence: time.Hour}, Ended: func(int64, int64) {}})
	}
	if n := runtime.NumGoroutine() - before; n > maxLoops {
		t.Errorf("%d goroutines for 200 pairs that wait", n)
	}
}
