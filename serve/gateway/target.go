package gateway

import (
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/api"
)

// target is what a route leads to.
type target struct {
	route   string // namespace/name; empty: a function's own address
	keep    bool   // pass the path on with its prefix
	timeout time.Duration
	cors    *cors
	choices []choice
	total   uint64 // sum of the weights, divided by their common factor
	stride  uint64 // coprime with total
	next    atomic.Uint64
}

// choice is one destination: a function's newest ready revision, or one
// revision. It has the turns below upto that the ones before it have not.
type choice struct {
	function *function
	revision *revisionRef
	upto     uint64
}

func (s *state) target(id, namespace string, spec *api.RouteSpec) *target {
	t := &target{route: id, keep: spec.KeepPrefix, timeout: spec.Timeout.Or(0), cors: newCORS(spec.CORS)}
	var factor uint64
	for _, d := range spec.Targets {
		factor = gcd(factor, weight(d))
	}
	for _, d := range spec.Targets {
		w := weight(d)
		if w == 0 {
			continue
		}
		t.total += w / factor
		c := choice{upto: t.total}
		if d.Function != "" {
			c.function = s.function(namespace, d.Function)
		} else {
			c.revision = s.revision(namespace, d.Revision)
		}
		t.choices = append(t.choices, c)
	}
	t.stride = stride(t.total)
	return t
}

func weight(d api.RouteTarget) uint64 {
	if d.Weight == nil {
		return 1
	}
	return uint64(max(*d.Weight, 0))
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

// choose takes the next turn: of every total calls in a row each destination
// gets exactly its weight. One that is not ready is passed over. It returns nil
// when none is, and then the function that was meant, where it is known.
func (t *target) choose() (*revision, *function) {
	i := 0
	if len(t.choices) > 1 {
		turn := (t.next.Add(1) - 1) % t.total * t.stride % t.total
		for turn >= t.choices[i].upto {
			i++
		}
	}
	var meant *function
	for range t.choices {
		c := &t.choices[i]
		ref := c.revision
		if c.function != nil {
			ref = c.function.rev.Load()
			if meant == nil {
				meant = c.function
			}
		}
		if ref != nil {
			if r := ref.cur.Load(); r != nil {
				return r, r.function
			}
		}
		if i++; i == len(t.choices) {
			i = 0
		}
	}
	return nil, meant
}
