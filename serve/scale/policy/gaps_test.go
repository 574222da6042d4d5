package policy

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"
)

func seen(gaps ...time.Duration) *Gaps {
	g := new(Gaps)
	for _, d := range gaps {
		g.Add(d)
	}
	return g
}

func TestPlanWithoutKnowledge(t *testing.T) {
	p := new(Gaps).Plan(12 * time.Minute)
	if d := p[0].To - 2*time.Minute; d > time.Millisecond || d < -time.Millisecond || p[1] != (Span{}) {
		t.Errorf("%v, want two minutes", p)
	}
	if p := seen(time.Millisecond, 999*time.Millisecond); p.Len() != 0 {
		t.Error("gaps below a second count")
	}
}

// TestPlanOfTimers holds that what comes by the clock is started just in time.
func TestPlanOfTimers(t *testing.T) {
	for _, period := range []time.Duration{2 * time.Minute, 15 * time.Minute, time.Hour, 24 * time.Hour} {
		g := new(Gaps)
		rnd := rand.New(rand.NewPCG(1, 1))
		for range 12 {
			g.Add(period + time.Duration(rnd.Float64()*float64(time.Second)))
		}
		g.Add(2 * period) // one was left out
		p := g.Plan(12 * time.Minute)
		if warm, _ := p.At(period + time.Second/2); !warm || !p.Ahead(period+time.Second/2) {
			t.Errorf("every %s: %v does not foresee the next", period, p)
		}
		if warm, _ := p.At(period / 2); warm {
			t.Errorf("every %s: %v waits all the time", period, p)
		}
		var total time.Duration
		for _, s := range p {
			if s.From < 3*period/2 {
				total += s.To - max(s.From, 0)
			}
		}
		if total > 10*time.Second+period/20 {
			t.Errorf("every %s: %v waits for %s", period, p, total)
		}
	}
	p := seen(20*time.Second, 20*time.Second, 20*time.Second, 20*time.Second).Plan(12 * time.Minute)
	if warm, _ := p.At(10 * time.Second); !warm {
		t.Errorf("%v stops for twenty seconds, which costs more than it saves", p)
	}
}

// TestPlanOfChance holds that for calls without memory waiting is all or nothing.
func TestPlanOfChance(t *testing.T) {
	chance := func(mean time.Duration) *Gaps {
		g, rnd := new(Gaps), rand.New(rand.NewPCG(2, 2))
		for range 400 {
			g.Add(time.Duration(rnd.ExpFloat64() * float64(mean)))
		}
		return g
	}
	if d := chance(time.Minute).Keep(12 * time.Minute); d < 4*time.Minute {
		t.Errorf("once a minute: kept for %s", d)
	}
	if d := chance(2 * time.Hour).Keep(12 * time.Minute); d > time.Minute {
		t.Errorf("once in two hours: kept for %s", d)
	}
	if p := chance(2 * time.Hour).Plan(12 * time.Minute); p[0].To > time.Minute {
		t.Errorf("once in two hours: %v", p)
	}
}

func TestOldGapsFade(t *testing.T) {
	g := new(Gaps)
	for range 200 {
		g.Add(time.Hour)
	}
	for i := range 400 {
		g.Add(time.Duration(20+i%20) * time.Second)
	}
	if d := g.Keep(12 * time.Minute); d > 5*time.Minute {
		t.Errorf("kept for %s", d)
	}
	if g.Len() > 600 {
		t.Errorf("%d gaps count", g.Len())
	}
	if n := unsafe.Sizeof(*g); n > 200 {
		t.Errorf("it takes %d bytes", n)
	}
	for range 100_000 {
		g.Add(time.Minute)
	}
	if n := g.Len(); n > bins*math.MaxUint8 {
		t.Errorf("%d gaps count", n)
	}
}

// cost is what a plan costs on average by what g believes.
func (g *Gaps) cost(p Plan, worth float64) (cost float64) {
	d, _ := g.density(clock{})
	alive, before := 1.0, true
	for i, v := range d {
		middle := time.Duration((edges[i] + edges[i+1]) / 2 * float64(time.Second))
		warm, _ := p.At(middle)
		switch {
		case !warm:
			cost += worth * v
		case !before:
			cost += Restart * alive
			fallthrough
		default:
			cost += (edges[i+1] - edges[i]) * (alive - v/2)
		}
		alive -= v
		before = warm
	}
	return cost
}

// TestPlanIsTheCheapest compares plans with every plan of keeping for a while and
// starting once more.
func TestPlanIsTheCheapest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := new(Gaps)
		for _, s := range rapid.SliceOfN(rapid.Float64Range(0, 12), 1, 30).Draw(t, "gaps") {
			g.Add(time.Duration(math.Exp(s) * float64(time.Second)))
		}
		worth := rapid.Float64Range(5, 20_000).Draw(t, "worth")
		p := g.weigh(worth, clock{})
		var last time.Duration
		for i, s := range p {
			if s == (Span{}) {
				continue
			}
			if s.From < last || s.To <= s.From || i > 0 && s.From == last {
				t.Fatalf("%v is out of order", p)
			}
			last = s.To
		}
		if p[2] != (Span{}) {
			return // there may have been more
		}
		best := g.cost(p, worth)
		for a := 0; a < bins; a += 7 {
			for b := a; b < bins; b += 7 {
				for c := b; c <= bins; c += 7 {
					q := Plan{span(0, edges[a])}
					if c > b {
						q[1] = span(edges[b], edges[c])
					}
					if x := g.cost(q, worth); x < best-1e-6*worth-1e-6 {
						t.Fatalf("%v costs %v, %v only %v", p, best, q, x)
					}
				}
			}
		}
	})
}

func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := new(Gaps)
		for _, s := range rapid.SliceOfN(rapid.Float64Range(0, 14), 0, 60).Draw(t, "gaps") {
			g.Add(time.Duration(math.Exp(s) * float64(time.Second)))
		}
		worth := time.Duration(rapid.Float64Range(0, 1e5).Draw(t, "worth") * float64(time.Second))
		if more := worth + time.Duration(rapid.Float64Range(0, 1e4).Draw(t, "more")*float64(time.Second)); g.Keep(more) < g.Keep(worth) {
			t.Fatalf("more worth keeps for less: %s for %s, %s for %s", g.Keep(more), more, g.Keep(worth), worth)
		}
		p := g.Plan(worth)
		for at := time.Duration(0); ; {
			warm, until := p.At(at)
			if until <= at {
				t.Fatalf("%v: at %s nothing changes until %s", p, at, until)
			}
			if p.Ahead(at) && !warm {
				t.Fatalf("%v at %s", p, at)
			}
			if until == math.MaxInt64 {
				break
			}
			at = until
		}
	})
}

func TestForesight(t *testing.T) {
	const worth = 12 * time.Minute
	var f *Foresight
	if f.Spare(worth) != new(Gaps).Keep(worth) || f.First(worth) != new(Gaps).Plan(worth) || f.Clone() != nil || f.Gaps() != 0 {
		t.Error("nil knows something")
	}
	f = new(Foresight)
	for range 20 {
		f.Woke(time.Hour)
		f.Reused(10 * time.Second)
	}
	c := f.Clone()
	if p := c.First(worth); !p.Ahead(time.Hour) || p != c.First(worth) || c.Gaps() != 20 {
		t.Errorf("%v", p)
	}
	if d := c.Spare(worth); d < 10*time.Second || d > 5*time.Minute {
		t.Errorf("spare ones are kept for %s", d)
	}
	for range 20 {
		c.Woke(20 * time.Minute)
		c.Reused(5 * time.Minute)
	}
	if f.Gaps() != 20 || f.upper.Len() != 20 {
		t.Error("the copy is not one")
	}
	if p := c.First(worth); !p.Ahead(20 * time.Minute) {
		t.Errorf("%v does not follow", p)
	}
}
