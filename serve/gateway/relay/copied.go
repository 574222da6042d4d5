package relay

import (
	"io"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// What a direction of a pair of goroutines reads at a time: little of every
// connection that waits, more where more comes.
const (
	fewBytes  = 4 << 10
	manyBytes = 32 << 10
)

// copied is a pair of two goroutines.
type copied struct {
	r    *Relay
	p    Pair
	once sync.Once
	n    [2]atomic.Int64 // bytes from A and from B
	last [2]atomic.Int64 // when some came, in Unix nanoseconds
	over atomic.Bool
	tick *time.Timer // of the limits; nil: there are none
}

func newCopied(r *Relay, p Pair) {
	c := &copied{r: r, p: p}
	now := time.Now()
	c.last[0].Store(now.UnixNano())
	c.last[1].Store(now.UnixNano())
	if !r.add(c) {
		c.end()
	}
	if at := p.Limits.Next(now, now); !at.IsZero() {
		c.tick = time.AfterFunc(math.MaxInt64, c.look)
		c.tick.Reset(time.Until(at)) // look knows c.tick
	}
	var both sync.WaitGroup
	both.Go(func() { c.carry(p.B, p.A, p.FromA, 0) })
	both.Go(func() { c.carry(p.A, p.B, p.FromB, 1) })
	go func() {
		both.Wait()
		c.end()
		if c.tick != nil {
			c.tick.Stop()
		}
		r.done(c, p.Ended, c.n[0].Load(), c.n[1].Load())
	}()
}

// look ends c if a limit is reached.
func (c *copied) look() {
	at := c.p.Limits.Next(time.Unix(0, c.last[0].Load()), time.Unix(0, c.last[1].Load()))
	if d := time.Until(at); d > 0 && !c.over.Load() {
		c.tick.Reset(d)
		return
	}
	c.end()
}

func (c *copied) end() {
	c.once.Do(func() {
		c.over.Store(true)
		c.p.A.Close()
		c.p.B.Close()
	})
}

// carry passes on what came from src, and its end.
func (c *copied) carry(dst, src net.Conn, early []byte, from int) {
	pass := func(p []byte) bool {
		n, err := dst.Write(p)
		c.n[from].Add(int64(n))
		return err == nil
	}
	if len(early) > 0 && !pass(early) {
		c.end()
		return
	}
	for buf := make([]byte, fewBytes); ; {
		n, err := src.Read(buf)
		if n > 0 {
			c.last[from].Store(time.Now().UnixNano())
			if !pass(buf[:n]) {
				c.end()
				return
			}
			if n == len(buf) && n < manyBytes {
				buf = make([]byte, manyBytes)
			}
		}
		if err == nil {
			continue
		}
		if w, ok := dst.(interface{ CloseWrite() error }); err != io.EOF || !ok || w.CloseWrite() != nil {
			c.end()
		}
		return
	}
}
