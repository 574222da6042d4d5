package scale

import (
	"math/rand/v2"
	"time"

	"github.com/hearth-run/hearth/api"
)

// A crash is an instance that ends by itself, or fails its call, within
// crashWindow of being ready. So many in a row are a crash loop.
const (
	crashWindow = time.Second
	crashLoop   = 3
)

// backoff keeps a revision that cannot start from being hammered.
type backoff struct {
	failures  int       // in a row; 0: all is well
	crashes   int       // in a row
	until     time.Time // no start before
	err       *api.Error
	epoch     int // counts failures; starts of one epoch fail once
	lastCrash time.Time
}

// blocked reports whether now is too early for another start.
func (o *backoff) blocked(now time.Time) bool { return o.failures > 0 && now.Before(o.until) }

// failed notes a start that began in epoch and did not work. Those that began
// together fail together: only the first moves the back-off.
func (o *backoff) failed(now time.Time, err *api.Error, epoch int, least, most time.Duration) {
	o.err = err
	if epoch != o.epoch {
		return
	}
	o.epoch++
	o.failures++
	o.until = now.Add(delay(o.failures, least, most))
}

// started notes a start that worked. In a crash loop that proves nothing.
func (o *backoff) started() {
	if o.crashes < crashLoop {
		o.failures, o.err, o.until = 0, nil, time.Time{}
	}
}

// crashed notes an instance that did not last.
func (o *backoff) crashed(now time.Time, err *api.Error, least, most time.Duration) {
	o.crashes++
	o.lastCrash = now
	if o.crashes < crashLoop {
		return
	}
	o.err = err
	o.epoch++
	o.failures++
	o.until = now.Add(delay(o.failures, least, most))
}

// lasted notes an instance, ready since the given time, that was well at now.
func (o *backoff) lasted(ready, now time.Time) {
	if o.crashes == 0 || now.Sub(ready) < crashWindow || ready.Before(o.lastCrash) {
		return
	}
	o.crashes, o.failures, o.err, o.until = 0, 0, nil, time.Time{}
}

// answer is what a call gets while blocked: the error as it was, and when to
// come again.
func (o *backoff) answer(now time.Time) *api.Error {
	e := *o.err
	e.RetryAfter = max(o.until.Sub(now), time.Millisecond)
	return &e
}

// delay is the n-th wait (from 1): doubling from least up to most, with a
// quarter of it left to chance so that revisions do not retry in step.
func delay(n int, least, most time.Duration) time.Duration {
	d := least
	for i := 1; i < n && d < most; i++ {
		d *= 2
	}
	d = min(d, most)
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}
