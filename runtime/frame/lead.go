package frame

import (
	"errors"
	"os"
	"time"
)

// Reading a data connection is a role that passes from hand to hand, because
// waking another goroutine costs a lone call more than the call itself:
//
//   - a call that is alone takes the role and reads until its answer begins, a
//     few milliseconds at most, so that it can notice its context's end;
//   - otherwise a goroutine, readLoop, has it until no call is open;
//   - with no call open for a moment, readLoop watches for the end of the
//     connection.

// leadTime is the least time a call reads for itself; twice that is the most.
const leadTime = 5 * time.Millisecond

// lead reads until the answer of s begins. It is called with the lock, by the
// holder of the role, which it gives up.
func (c *conn) lead(s *stream) {
	if now := time.Now(); c.readUntil.Sub(now) < leadTime {
		c.readUntil = now.Add(2 * leadTime)
		c.nc.SetReadDeadline(c.readUntil)
	}
	for c.err == nil && !s.started && s.err == nil && len(s.infos) == 0 {
		c.mu.Unlock()
		err := c.fill()
		if err == nil {
			err = c.handleAll()
		}
		c.mu.Lock()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			c.fail(err)
		}
	}
	switch {
	case c.err != nil:
		c.reading = false
	case len(c.streams) > 0 || !c.lazy:
		go c.readLoop()
	default:
		c.reading = false
		c.watch()
	}
}

// watch sees to it that someone reads when no call is open for a moment. It is
// called with the lock.
func (c *conn) watch() {
	c.used = time.Now()
	if c.armed {
		return
	}
	c.armed = true
	time.AfterFunc(2*leadTime, c.idled)
}

func (c *conn) idled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = false
	switch {
	case c.reading || c.err != nil:
	case time.Since(c.used) < leadTime:
		c.armed = true
		time.AfterFunc(2*leadTime, c.idled)
	default:
		c.reading = true
		go c.readLoop()
	}
}

// attend makes the connection one that is always read.
func (c *conn) attend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lazy = false
	if !c.reading && c.err == nil {
		c.reading = true
		go c.readLoop()
	}
}

// readLoop reads and handles frames until the connection ends or, on a lazy
// one, no call is open. It holds the role.
func (c *conn) readLoop() {
	c.mu.Lock()
	if !c.readUntil.IsZero() {
		c.readUntil = time.Time{}
		c.nc.SetReadDeadline(time.Time{})
	}
	c.mu.Unlock()
	for {
		err := c.fill()
		if err == nil {
			err = c.handleAll()
		}
		c.mu.Lock()
		if err != nil {
			c.fail(err)
			c.mu.Unlock()
			c.peer.lost()
			return
		}
		if c.lazy && len(c.streams) == 0 {
			c.reading = false
			c.watch()
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
	}
}
