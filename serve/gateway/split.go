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

// tagged is a choice that can be asked for by name.
type tagged struct {
	tag string
	choice
}

// share is what a split is made of.
type share struct {
	function *function
	revision *revisionRef
	weight   int
	tag      string
}

// set makes s share by the weights; those of 0 have their tag only.
func (s *split) set(shares []share) {
	var factor uint64
	for _, d := range shares {
		factor = gcd(factor, uint64(d.weight))
	}
	for _, d := range shares {
		c := choice{function: d.function, revision: d.revision}
		if d.tag != "" {
			s.tags = append(s.tags, tagged{d.tag, c})
		}
		if d.weight == 0 {
			continue
		}
		s.total += uint64(d.weight) / factor
		c.upto = s.total
		s.choices = append(s.choices, c)
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
		if d := s.tag(c); d != nil {
			c.tagged = true
			return d.resolve(c)
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

// tag returns the choice c asks for by name; nil: none of these.
func (s *split) tag(c *call) *choice {
	name := c.target.tag
	if name == "" {
		name = first(c.r.Header, "Hearth-Tag")
	}
	if name == "" {
		name = first(c.r.Header, "Knative-Serving-Tag")
	}
	if name == "" {
		return nil
	}
	for i := range s.tags {
		if s.tags[i].tag == name {
			return &s.tags[i].choice
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
