package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// side is what a test has of a pair's connection: the other end.
type side interface {
	net.Conn
	CloseWrite() error
}

// sockets makes a connection: ours, and the one to be joined.
func sockets(t testing.TB, network string) (side, net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = t.TempDir() + "/s"
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ours, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return ours.(side), theirs
}

// hidden is a connection that is no socket to a relay, as with TLS.
type hidden struct{ side }

// result is what Ended is told.
type result struct{ fromA, fromB int64 }

// ends is a pair with a test at both of its ends.
type ends struct {
	a, b  side
	ended chan result
}

// kinds are the pairs there are; each test runs with all.
var kinds = map[string]func(t testing.TB) (a, b side, p Pair){
	"sockets": func(t testing.TB) (side, side, Pair) {
		a, x := sockets(t, "tcp")
		b, y := sockets(t, "unix")
		return a, b, Pair{A: x, B: y}
	},
	"tcp": func(t testing.TB) (side, side, Pair) {
		a, x := sockets(t, "tcp")
		b, y := sockets(t, "tcp")
		return a, b, Pair{A: x, B: y}
	},
	"copied": func(t testing.TB) (side, side, Pair) {
		a, x := sockets(t, "tcp")
		b, y := sockets(t, "unix")
		return a, b, Pair{A: hidden{x.(side)}, B: y}
	},
}

func each(t *testing.T, f func(t *testing.T, join func(change func(*Pair)) ends, r *Relay)) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			r := New()
			t.Cleanup(func() { r.Close() })
			f(t, func(change func(*Pair)) ends {
				a, b, p := kind(t)
				e := ends{a, b, make(chan result, 1)}
				p.Ended = func(x, y int64) { e.ended <- result{x, y} }
				if change != nil {
					change(&p)
				}
				r.Join(p)
				return e
			}, r)
		})
	}
}

// pour writes n bytes that seed determines in pieces of any size, and ends the
// half.
func pour(w side, seed uint64, n int) error {
	data := made(seed, n)
	sizes := rand.New(rand.NewPCG(seed, 1))
	for len(data) > 0 {
		m := min(len(data), 1+sizes.IntN(1+sizes.IntN(200<<10)))
		if _, err := w.Write(data[:m]); err != nil {
			return err
		}
		if data = data[m:]; sizes.IntN(4) == 0 {
			runtime.Gosched()
		}
	}
	return w.CloseWrite()
}

func made(seed uint64, n int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	p := make([]byte, n)
	rand.NewChaCha8(key).Read(p)
	return p
}

// drink reads to the end, slowly: in pieces of any size.
func drink(r net.Conn, seed uint64) ([]byte, error) {
	sizes := rand.New(rand.NewPCG(seed, 2))
	var all []byte
	for buf := make([]byte, 100<<10); ; {
		n, err := r.Read(buf[:1+sizes.IntN(len(buf))])
		if all = append(all, buf[:n]...); err == io.EOF {
			return all, nil
		} else if err != nil {
			return all, err
		}
		if sizes.IntN(3) == 0 {
			runtime.Gosched()
		}
	}
}

// Every byte arrives, in order, both ways, with the halves' ends behind them,
// whatever the pieces are and whoever ends first.
func TestBytes(t *testing.T) {
	each(t, func(t *testing.T, join func(func(*Pair)) ends, _ *Relay) {
		for seed := range uint64(12) {
			sizes := rand.New(rand.NewPCG(seed, 3))
			up, down := sizes.IntN(1<<(4+seed*3/2)), sizes.IntN(1<<(4+seed*3/2))
			earlyA, earlyB := made(seed+200, sizes.IntN(20)), made(seed+300, sizes.IntN(20))
			e := join(func(p *Pair) { p.FromA, p.FromB = earlyA, earlyB })
			var all sync.WaitGroup
			check := func(what string, from, to side, seed uint64, early []byte, n int) {
				all.Go(func() {
					if err := pour(from, seed, n); err != nil {
						t.Errorf("%s: %v", what, err)
					}
				})
				all.Go(func() {
					got, err := drink(to, seed)
					if want := append(bytes.Clone(early), made(seed, n)...); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s: %d bytes of %d: %v", what, len(got), len(want), err)
					}
				})
			}
			check("from A", e.a, e.b, seed, earlyA, up)
			check("from B", e.b, e.a, seed+100, earlyB, down)
			all.Wait()
			if got, want := <-e.ended, (result{int64(up + len(earlyA)), int64(down + len(earlyB))}); got != want {
				t.Errorf("%+v bytes counted, want %+v", got, want)
			}
		}
	})
}

// One half may end long before the other.
func TestHalfClose(t *testing.T) {
	each(t, func(t *testing.T, join func(func(*Pair)) ends, _ *Relay) {
		e := join(nil)
		e.a.CloseWrite()
		if got, err := io.ReadAll(e.b); err != nil || len(got) > 0 {
			t.Fatalf("%q, %v", got, err)
		}
		for range 3 {
			io.WriteString(e.b, "more")
			if _, err := io.ReadFull(e.a, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
		}
		e.b.Close()
		if got, err := io.ReadAll(e.a); err != nil || len(got) > 0 {
			t.Errorf("%q, %v", got, err)
		}
		if got := <-e.ended; got != (result{0, 12}) {
			t.Errorf("%+v", got)
		}
	})
}

// Whoever does not read is not written for: the sender waits, and gets on.
func TestBackpressure(t *testing.T) {
	each(t, func(t *testing.T, join func(func(*Pair)) ends, r *Relay) {
		e := join(nil)
		want := made(1, 32<<20) // more than fits into any socket
		e.a.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := e.a.Write(want)
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() {
			t.Fatalf("%d bytes went nowhere: %v", n, err)
		}
		// The other direction is not held up.
		io.WriteString(e.b, "hello")
		if _, err := io.ReadFull(e.a, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		e.a.SetWriteDeadline(time.Time{})
		go func() {
			e.a.Write(want[n:])
			e.a.CloseWrite()
		}()
		if got, err := io.ReadAll(e.b); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes of %d: %v", len(got), len(want), err)
		}
		e.b.Close()
		<-e.ended
	})
}

// A connection that is reset ends the pair, also when what it sent before fills
// the way to the other side, which reads it only then.
func TestReset(t *testing.T) {
	each(t, func(t *testing.T, join func(func(*Pair)) ends, _ *Relay) {
		for _, full := range []bool{false, true} {
			e := join(nil)
			if full {
				e.a.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				e.a.Write(make([]byte, 32<<20))
			}
			e.a.(*net.TCPConn).SetLinger(0)
			e.a.Close()
			io.Copy(io.Discard, e.b)
			<-e.ended
		}
	})
}

// Many pairs at a time, all of them busy.
func TestMany(t *testing.T) {
	each(t, func(t *testing.T, join func(func(*Pair)) ends, r *Relay) {
		const pairs, rounds = 500, 5
		var all sync.WaitGroup
		var every []ends
		for range pairs {
			e := join(nil)
			every = append(every, e)
			all.Go(func() {
				io.Copy(e.b, e.b) // an echo
				e.b.CloseWrite()
			})
			all.Go(func() {
				defer e.a.Close()
				for i := range rounds {
					want := fmt.Sprintf("message %d", i)
					got := make([]byte, len(want))
					io.WriteString(e.a, want)
					if _, err := io.ReadFull(e.a, got); err != nil || string(got) != want {
						t.Errorf("%q, %v", got, err)
						return
					}
				}
			})
		}
		all.Wait()
		for _, e := range every {
			if got := <-e.ended; got != (result{9 * rounds, 9 * rounds}) {
				t.Fatalf("%+v", got)
			}
		}
		if n := r.Len(); n != 0 {
			t.Errorf("%d pairs are left", n)
		}
	})
}

// Close ends pairs and waits for what follows; those that come later end at once.
func TestClose(t *testing.T) {
	each(t, func(t *testing.T, join func(func(*Pair)) ends, r *Relay) {
		var every []ends
		for range 20 {
			every = append(every, join(nil))
		}
		r.Close()
		every = append(every, join(nil))
		r.Close()
		for i, e := range every {
			select {
			case <-e.ended:
			default:
				t.Errorf("pair %d has not ended", i)
			}
			if _, err := e.a.Read(make([]byte, 1)); err == nil {
				t.Error("it is not closed")
			}
		}
	})
}

// A limit ends a pair that has reached it.
func TestLimits(t *testing.T) {
	for name, l := range map[string]Limits{"silence": {Silence: time.Millisecond}, "quiet": {Quiet: time.Millisecond}, "until": {Until: time.Now()}} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, join func(func(*Pair)) ends, _ *Relay) {
				<-join(func(p *Pair) { p.Limits = l }).ended
			})
		})
	}
}

// Bytes put a limit off, each those it is about.
func TestLimitsMove(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		fromA  bool          // every second; else from B
		want   time.Duration // until it ends; the bytes end after 10 s
	}{
		"silence, from A": {Limits{Silence: 2 * time.Second}, true, 12 * time.Second},
		"silence, from B": {Limits{Silence: 2 * time.Second}, false, 12 * time.Second},
		"quiet, from A":   {Limits{Quiet: 2 * time.Second}, true, 2 * time.Second},
		"quiet, from B":   {Limits{Quiet: 2 * time.Second}, false, 12 * time.Second},
		"both, from A":    {Limits{Silence: 5 * time.Second, Quiet: 7 * time.Second}, true, 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New()
				defer r.Close()
				begin := time.Now()
				a, x := net.Pipe()
				b, y := net.Pipe()
				ended := make(chan time.Duration, 1)
				r.Join(Pair{A: x, B: y, Limits: c.limits, Ended: func(int64, int64) { ended <- time.Since(begin) }})
				from, to := a, b
				if !c.fromA {
					from, to = b, a
				}
				go io.Copy(io.Discard, to)
				for range 10 {
					time.Sleep(time.Second)
					from.Write([]byte("x"))
				}
				if got := <-ended; got != c.want {
					t.Errorf("it ended after %v, want %v", got, c.want)
				}
			})
		})
	}
	if at := (Limits{}).Next(time.Now(), time.Now()); !at.IsZero() {
		t.Errorf("no limit is reached at %v", at)
	}
	until := time.Now().Add(time.Second)
	if at := (Limits{Until: until, Silence: time.Minute}).Next(time.Now(), time.Now()); at != until {
		t.Errorf("%v, want %v", at, until)
	}
}
