package policy

import (
	"math"
	"slices"
	"time"
)

// Span is a part of an idle time, from its beginning.
type Span struct{ From, To time.Duration }

// Plan says when, after the last call, an instance should be there. Spans are in
// order and apart from each other; those not needed are zero. One that begins at
// 0 is keeping the instance, each other is a start in advance.
type Plan [3]Span

// At reports whether an instance should be there after idle, and until when that
// stays so; for ever is the longest Duration.
func (p Plan) At(idle time.Duration) (warm bool, until time.Duration) {
	for _, s := range p {
		if s.To > idle {
			if s.From > idle {
				return false, s.From
			}
			return true, s.To
		}
	}
	return false, math.MaxInt64
}

// Ahead reports whether after idle an instance should be there that was started
// in advance.
func (p Plan) Ahead(idle time.Duration) bool {
	for _, s := range p {
		if s.From > 0 && s.From <= idle && idle < s.To {
			return true
		}
	}
	return false
}

// clock is a narrow time in which the next call is expected, in seconds, and the
// bins around it. The zero value is none.
type clock struct {
	early, late float64
	from, to    int
}

// clock finds out whether the last gaps are alike but for one or two, as those of
// timers are, and narrow enough to be worth waiting in.
func (g *Gaps) clock(worth float64) clock {
	n := min(int(g.seen), recent)
	if n < 3 {
		return clock{}
	}
	var v [recent]uint32
	copy(v[:], g.last[:n])
	s := v[:n]
	slices.Sort(s)
	if n >= 6 {
		s = s[1 : n-1]
	}
	early, late := float64(s[0])/100, float64(s[len(s)-1])/100
	if late-early > max(2, late/20) {
		return clock{}
	}
	margin := max(1, late-early, late/500)
	early, late = max(early-margin, 1), late+margin
	if late-early > worth || early < 3*Restart || late >= edges[bins-1] {
		return clock{} // what all gaps say is as good
	}
	return clock{early, late, bin(early), bin(late)}
}

// with is p, with c instead of the bins around it.
func (p Plan) with(c clock) Plan {
	if c.to == 0 {
		return p
	}
	const s = float64(time.Second)
	first, last := time.Duration(edges[c.from]*s), time.Duration(edges[c.to+1]*s)
	var out Plan
	n := 0
	add := func(from, to time.Duration) {
		switch {
		case to <= from:
		case n > 0 && float64(from-out[n-1].To) < Restart*s: // stopping in between would not pay
			out[n-1].To = max(out[n-1].To, to)
		case n < len(out):
			out[n] = Span{from, to}
			n++
		}
	}
	for _, o := range p {
		add(o.From, min(o.To, first))
	}
	add(time.Duration(c.early*s), time.Duration(c.late*s))
	for _, o := range p {
		add(max(o.From, last), o.To)
	}
	return out
}
