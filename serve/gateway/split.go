package gateway

import (
	"slices"
	"sync/atomic"
)

// split shares calls between choices by weight.
type split struct {
	choices []choice
	tags    []tagged
	total   uint64 // sum of the weights, divided by their common factor
	stride  uint64 // coprime with total
	next    atomic.Uint64
}

// choice is one destination: a function, or one revision. It has the turns
// below upto that the ones before it have not.
type choice struct {
	function *function
	revision *revisionRef
	upto     uint64
}

// tagged is what can be asked for by name: the choices with one tag.
type tagged struct {
	tag string
	to  *split
}

// share is what a split is made of.
type share struct {
	function *function
	revision *revisionRef
	weight   int
	tag      string
	ofTag    *int // weight among those with the tag; nil: the same
}

// inTag is the weight among those with d's tag.
func (d share) inTag() int {
	if d.ofTag != nil {
		return max(*d.ofTag, 0)
	}
	return d.weight
}

// set makes s share by the weights; those of 0 have their tag only. Several
// with one tag share its calls, by their weights or evenly where all are 0.
func (s *split) set(shares []share) {
	s.setWeights(shares)
	for i, d := range shares {
		first := func(o share) bool { return o.tag == d.tag }
		if d.tag == "" || slices.IndexFunc(shares, first) < i {
			continue
		}
		var own []share
		heavy := slices.ContainsFunc(shares, func(o share) bool { return o.tag == d.tag && o.inTag() > 0 })
		for _, o := range shares {
			if o.tag != d.tag {
				continue
			}
			if o.tag, o.weight = "", o.inTag(); !heavy {
				o.weight = 1
			}
			own = append(own, o)
		}
		t := &split{}
		t.setWeights(own)
		s.tags = append(s.tags, tagged{d.tag, t})
	}
}

func (s *split) setWeights(shares []share) {
	var factor uint64
	for _, d := range shares {
		factor = gcd(factor, uint64(d.weight))
	}
	for _, d := range shares {
		if d.weight == 0 {
			continue
		}
		s.total += uint64(d.weight) / factor
		s.choices = append(s.choices, choice{function: d.function, revision: d.revision, upto: s.total})
	}
	s.choices = slices.Clip(s.choices)
	s.stride = stride(s.total)
}

// stride is a step that visits each of n turns once before any a second time
// and keeps neighbours apart: near the golden section, coprime with n.
func stride(n uint64) uint64 {
	if n < 3 {
		return 1
	}
	s := uint64(float64(n) * 0.6180339887498949)
	for gcd(s, n) != 1 {
		s++
	}
	return s
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// choose takes the tag c asks for, else who it stuck to before, else the next
// turn: of every total calls in a row each destination gets exactly its weight.
// One that is not ready is passed over.
func (s *split) choose(c *call) (*revision, *function) {
	if s.tags != nil {
		if t := s.tag(c); t != nil {
			c.tagged = true
			return t.choose(c)
		}
	}
	i := 0
	if len(s.choices) > 1 {
		i = s.pick(c)
	}
	var meant *function
	for range s.choices {
		r, f := s.choices[i].resolve(c)
		if r != nil {
			return r, f
		}
		if meant == nil {
			meant = f
		}
		if i++; i == len(s.choices) {
			i = 0
		}
	}
	return nil, meant
}

// pick returns a choice's index.
func (s *split) pick(c *call) int {
	if x := c.target.rules; x != nil && x.sticky != nil {
		if i := x.sticky.pick(s, c); i >= 0 {
			return i
		}
	}
	i, turn := 0, (s.next.Add(1)-1)%s.total*s.stride%s.total
	for turn >= s.choices[i].upto {
		i++
	}
	return i
}

// tag returns what c asks for by name; nil: nothing of this.
func (s *split) tag(c *call) *split {
	name := c.target.tag
	heard := c.target.rules == nil || !c.target.rules.deaf
	if name == "" && heard {
		name = first(c.r.Header, "Hearth-Tag")
	}
	if name == "" && heard {
		name = first(c.r.Header, "Knative-Serving-Tag")
	}
	if name == "" {
		return nil
	}
	for i := range s.tags {
		if s.tags[i].tag == name {
			return s.tags[i].to
		}
	}
	return nil
}

// resolve returns the revision d leads to now; nil: none, and then its function,
// where it is known. A function whose own split leads nowhere is answered by its
// newest revision that works.
func (d *choice) resolve(c *call) (*revision, *function) {
	f, ref := d.function, d.revision
	if f != nil {
		if s := f.split.Load(); s != nil {
			if r, _ := s.choose(c); r != nil || c.tagged {
				return r, f
			}
		}
		ref = f.rev.Load()
	}
	if ref != nil {
		if r := ref.cur.Load(); r != nil {
			return r, r.function
		}
	}
	return nil, f
}
