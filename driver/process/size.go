package process

import (
	"math"
	"time"
)

// demand is what the size of a pool is decided from. All of it is counted where
// starts pass; nothing is scraped.
type demand struct {
	least, most int     // bounds of the runtime
	rate        float64 // instances taken per second, smoothed
	startTime   time.Duration
	dormant     int           // prepared revisions of the runtime without an instance
	quiet       time.Duration // since the last start or deployment
	affordable  int           // warm instances the memory budget allows
}

// Sizing constants; RATIONALE.md ("How large is a warm pool?") has the reasons.
const (
	// headroom is how many refill times of arrivals a pool holds.
	headroom = 3
	// settle is how long after the last start or deployment a pool stays sized
	// for a burst over all dormant functions; then it shrinks to what the
	// arrival rate needs.
	settle = 10 * time.Minute
)

// size is how many warm instances a pool should hold: enough for the arrivals
// while one refill lasts, and, while the system is in use, one for every
// function that could be called from zero, as far as memory allows.
func size(d demand) int {
	want := int(math.Ceil(d.rate * d.startTime.Seconds() * headroom))
	if d.quiet < settle {
		want = max(want, d.dormant)
	}
	want = min(want, d.affordable)
	return max(min(want, d.most), d.least)
}

// arrivals smooths a rate with a time constant; it is not safe for concurrent
// use.
type arrivals struct {
	rate float64
	last time.Time
}

// tau is the time constant of the smoothed arrival rate.
const tau = 10 * time.Second

func (a *arrivals) add(now time.Time, n int) {
	a.rate = a.at(now) + float64(n)/tau.Seconds()
	a.last = now
}

func (a *arrivals) at(now time.Time) float64 {
	if a.last.IsZero() {
		return 0
	}
	return a.rate * math.Exp(-now.Sub(a.last).Seconds()/tau.Seconds())
}
