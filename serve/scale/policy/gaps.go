package policy

import (
	"math"
	"time"
)

// The bins of Gaps grow by a twelfth each, from a second to more than two days.
const (
	bins  = 160
	ratio = 1.08
)

// edges holds the seconds at which bins begin, and where the last one ends.
var edges = func() (e [bins + 1]float64) {
	for i := range e {
		e[i] = math.Pow(ratio, float64(i))
	}
	return e
}()

// tails holds how much of what is believed lies beyond each edge.
var tails = func() (t [bins + 1]float64) {
	for i := range t {
		t[i] = math.Pow(edges[i], -Tail)
	}
	return t
}()

// What is believed of a revision that was hardly called: the longer it was not
// called, the longer it will not be, as a power law has it. Tail is its exponent:
// after an idle time t the chance of a call in the next second is Tail/t, so that
// waiting is worth it for Tail times the worth of a cold start. It weighs as much
// as belief observed gaps.
const (
	Tail   = 1.0 / 6
	belief = 1.0
)

// Restart is what starting an instance again costs, in seconds of an idle one.
const Restart = 30.0

// recent is how many gaps are looked at to tell whether calls come by the clock.
const recent = 8

// Gaps remembers for how long a revision was idle between calls: a histogram
// whose old entries fade, and the last few exactly. The zero value knows nothing.
// It takes 200 bytes.
type Gaps struct {
	counts [bins]uint8
	total  uint16 // sum of counts
	seen   uint8  // of last; the next goes to last[seen%recent], and it stays within 2*recent
	last   [recent]uint32
}

// Add notes a gap. Gaps below a second are not worth noting.
func (g *Gaps) Add(gap time.Duration) {
	s := gap.Seconds()
	if s < 1 {
		return
	}
	i := bin(s)
	if g.counts[i] == math.MaxUint8 {
		g.total = 0
		for j, n := range g.counts {
			g.counts[j] = n/2 + n%2 // rare ones stay
			g.total += uint16(g.counts[j])
		}
	}
	g.counts[i]++
	g.total++
	g.last[g.seen%recent] = uint32(min(s*100, math.MaxUint32))
	if g.seen++; g.seen == 2*recent {
		g.seen = recent
	}
}

// bin is the one that a number of seconds, at least 1, falls into.
func bin(s float64) int { return min(bins-1, int(math.Log(s)/math.Log(ratio))) }

// Len is how many gaps count.
func (g *Gaps) Len() int { return int(g.total) }

// Plan weighs at every moment of an idle time the cost of waiting for the call
// against the chance that it comes. worth is how long an instance may be idle to
// spare one cold start.
func (g *Gaps) Plan(worth time.Duration) Plan {
	w := worth.Seconds()
	if w <= 1 {
		return Plan{{To: worth}}
	}
	if g.total == 0 {
		return Plan{{To: max(time.Second, time.Duration(Tail*float64(worth)))}}
	}
	c := g.clock(w)
	return g.weigh(w, c).with(c)
}

// density is the chance of the idle time's end in each bin, and rest what is left
// after the last one. What was seen is blurred to the bins beside, unless it is by
// the clock.
func (g *Gaps) density(c clock) (d [bins]float64, rest float64) {
	n := float64(g.total) + belief
	for i := range d {
		d[i] = belief * (tails[i] - tails[i+1]) / n
	}
	width := g.blur()
	whole := float64(width+1) * float64(width+1)
	for i, count := range g.counts {
		v := float64(count) / n
		switch {
		case count == 0:
		case c.to > 0 && i >= c.from-1 && i <= c.to+1:
			for k := c.from; k <= c.to; k++ {
				d[k] += v / float64(c.to-c.from+1)
			}
		default:
			for k := -width; k <= width; k++ {
				d[min(max(i+k, 0), bins-1)] += v / whole * float64(width+1-max(k, -k))
			}
		}
	}
	return d, belief * tails[bins] / n
}

// blur is to how many bins on each side a gap is spread: the wider the more the
// gaps differ, and the fewer there are. (The usual rule for the width of a
// kernel, with a spread that is believed to be about two until a few were seen.)
func (g *Gaps) blur() int {
	quarter := func(q float64) float64 {
		rank, below := q*float64(g.total), 0.0
		for i, c := range g.counts {
			if below+float64(c) >= rank && c > 0 {
				return float64(i) + (rank-below)/float64(c)
			}
			below += float64(c)
		}
		return bins
	}
	n := float64(g.total)
	spread := (quarter(0.75) - quarter(0.25)) / 1.34
	spread = (n*spread + 2*9) / (n + 2)
	return max(0, int(2.6*spread*math.Pow(n, -0.2)+0.5))
}

// Keep is how long an instance is worth keeping that is not started in advance.
func (g *Gaps) Keep(worth time.Duration) time.Duration {
	w := worth.Seconds()
	if g.total == 0 || w <= 1 {
		return g.Plan(worth)[0].To
	}
	d, _ := g.density(clock{})
	var gain, best float64
	alive, keep := 1.0, 1.0
	for i, v := range d {
		gain += w*v - (edges[i+1]-edges[i])*(alive-v/2)
		alive -= v
		if gain > best {
			best, keep = gain, edges[i+1]
		}
	}
	return time.Duration(keep * float64(time.Second))
}

// weigh finds the cheapest plan by going through the bins backwards: for each and
// for both states before it, what the rest costs at best.
func (g *Gaps) weigh(worth float64, c clock) Plan {
	d, alive := g.density(c)
	var stay, begin [bins]bool // whether to be warm in a bin, coming from a warm or a cold one
	var warm, cold float64     // least cost from the bin after
	for i := bins - 1; i >= 0; i-- {
		after := alive
		alive += d[i]
		idle := (edges[i+1] - edges[i]) * (after + d[i]/2)
		miss := worth*d[i] + cold
		wait := idle + warm
		stay[i], begin[i] = wait < miss, wait+Restart*alive < miss
		warm, cold = min(wait, miss), min(wait+Restart*alive, miss)
	}
	var p Plan
	n, on := 0, true
	from := 0.0
	for i := range bins {
		now := begin[i]
		if on {
			now = stay[i]
		}
		switch {
		case on && !now:
			p[n] = span(from, edges[i])
			if n++; n == len(p) {
				return p
			}
		case !on && now:
			from = edges[i]
		}
		on = now
	}
	if on {
		p[n] = span(from, edges[bins])
	}
	return p
}

func span(from, to float64) Span {
	return Span{time.Duration(from * float64(time.Second)), time.Duration(to * float64(time.Second))}
}
