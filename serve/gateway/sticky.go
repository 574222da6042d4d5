package gateway

import (
	"hash/fnv"
	"math"
	"net/http"
	"strconv"

	"github.com/hearth-run/hearth/api"
)

// sticky sends who comes again to the same revision.
type sticky struct {
	cookie string
	header string // canonical
}

func newSticky(s *api.Sticky) *sticky {
	if s == nil {
		return nil
	}
	return &sticky{cookie: s.Cookie, header: canonical(s.Header)}
}

// pick returns the choice c sticks to; -1: none yet.
//
// A cookie names the revision, so it holds whatever becomes of the weights. A
// header's value is the client's own: each choice draws a lot for it, weighted,
// and the highest wins, so that a change of weights moves no more values than it
// must.
func (k *sticky) pick(s *split, c *call) int {
	if k.cookie != "" {
		want := ""
		if ck, err := c.r.Cookie(k.cookie); err == nil {
			want = ck.Value
		}
		if want == "" {
			return -1
		}
		for i := range s.choices {
			if s.choices[i].leadsTo(want) {
				return i
			}
		}
		return -1
	}
	value := first(c.r.Header, k.header)
	if value == "" {
		return -1
	}
	best, high, before := -1, math.Inf(-1), uint64(0)
	for i := range s.choices {
		d := &s.choices[i]
		weight := float64(d.upto - before)
		before = d.upto
		name := d.name()
		if name == "" {
			continue
		}
		u := (float64(hash(name, value)>>11) + 0.5) / (1 << 53)
		if lot := weight / -math.Log(u); lot > high {
			best, high = i, lot
		}
	}
	return best
}

// name tells d from other choices; empty: it leads nowhere now.
func (d *choice) name() string {
	if d.function != nil {
		return "~" + d.function.namespace + "/" + d.function.name
	}
	if r := d.revision.cur.Load(); r != nil {
		return r.name
	}
	return ""
}

// leadsTo reports whether d may answer with the revision a cookie names.
func (d *choice) leadsTo(id string) bool {
	is := func(ref *revisionRef) bool {
		if ref == nil {
			return false
		}
		r := ref.cur.Load()
		return r != nil && r.id() == id
	}
	if d.function == nil {
		return is(d.revision)
	}
	s := d.function.split.Load()
	if s == nil {
		return is(d.function.rev.Load())
	}
	for i := range s.choices {
		if is(s.choices[i].revision) {
			return true
		}
	}
	return false
}

// id is what a cookie calls a revision: not its name, which is nobody's business.
func (r *revision) id() string {
	return strconv.FormatUint(hash(r.function.namespace+"/"+r.name, r.uid), 36)
}

func hash(a, b string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(a))
	h.Write([]byte{0})
	h.Write([]byte(b))
	v := h.Sum64() // whose high bits hardly depend on the last bytes
	v ^= v >> 33
	v *= 0xff51afd7ed558ccd
	v ^= v >> 33
	v *= 0xc4ceb9fe1a85ec53
	return v ^ v>>33
}

// set tells the client where it belongs, unless it knows.
func (k *sticky) set(h http.Header, c *call) {
	if k.cookie == "" {
		return
	}
	id := c.rev.id()
	if ck, err := c.r.Cookie(k.cookie); err == nil && ck.Value == id {
		return
	}
	ck := http.Cookie{Name: k.cookie, Value: id, Path: "/", HttpOnly: true, Secure: c.secure(), SameSite: http.SameSiteLaxMode}
	h.Add("Set-Cookie", ck.String())
}
