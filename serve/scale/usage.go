package scale

import (
	"errors"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// usage is what a revision needs that scales by what its instances use, under its
// backend's lock. The instances are asked without it.
type usage struct {
	spec   policy.Usage
	state  policy.UsageState
	want   int // instances there should be; 0: nothing is known yet
	mean   float64
	next   time.Time // when to look again
	meters map[*instance]*meter
	blind  bool // nothing can be measured: calls decide alone
}

func newUsage(sp *api.RevisionSpec) *usage {
	spec, ok := policy.UsageOf(sp)
	if !ok {
		return nil
	}
	return &usage{spec: spec}
}

// meter holds what an instance had used at the last looks.
type meter struct {
	n    int // looks, up to its length
	at   [policy.UsageSpan/policy.UsageTick + 1]time.Time
	used [policy.UsageSpan/policy.UsageTick + 1]time.Duration
}

// read notes a look and returns the processors used since the earliest that is
// kept; false at the first, because time from before the instance took calls is
// none of the load's.
func (m *meter) read(now time.Time, used time.Duration) (float64, bool) {
	if m.n == len(m.at) {
		copy(m.at[:], m.at[1:])
		copy(m.used[:], m.used[1:])
		m.n--
	}
	m.at[m.n], m.used[m.n] = now, used
	m.n++
	d := now.Sub(m.at[0])
	if m.n < 2 || d <= 0 {
		return 0, false
	}
	return float64(used-m.used[0]) / float64(d), true
}

// look is what one instance said.
type look struct {
	in   *instance
	at   time.Time
	used engine.Usage
	err  error
}

// measure asks the instances what they use, where that decides and it is time.
func (b *backend) measure(now time.Time) {
	u := b.usage
	if u == nil || now.Before(u.next) {
		return
	}
	u.next = now.Add(b.s.cfg.Look) // Run's alone
	b.mu.Lock()
	looks := make([]look, 0, b.ready)
	for _, in := range b.all {
		if in.state == taking {
			looks = append(looks, look{in: in})
		}
	}
	b.mu.Unlock()
	for i := range looks {
		l := &looks[i]
		l.at, l.err = time.Now(), errUnmeasured
		if m, ok := l.in.run.(engine.Measured); ok {
			l.used, l.err = m.Usage()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decide(looks, now)
}

// decide draws the conclusion; mu is held.
func (b *backend) decide(looks []look, now time.Time) {
	u := b.usage
	m := policy.UsageMetrics{Starting: b.starting}
	meters := make(map[*instance]*meter, len(looks))
	var why error
	for _, l := range looks {
		if l.in.state != taking || api.IsCode(l.err, api.CodeNotFound) {
			continue // gone meanwhile
		}
		if l.err != nil {
			m.Missing++
			why = l.err
			continue
		}
		x := u.meters[l.in]
		if x == nil {
			x = new(meter)
		}
		meters[l.in] = x
		v, ok := x.read(l.at, l.used.CPU)
		if u.spec.Memory {
			v, ok = float64(l.used.MemoryBytes), true
		}
		if !ok || l.in.rests && !u.spec.Memory { // what it uses now is not for calls
			m.Starting++
			continue
		}
		m.Sum += v
		m.Measured++
	}
	u.meters, u.mean = meters, m.Mean()
	if m.Missing > 0 && len(meters) == 0 {
		if !u.blind {
			b.s.log.Warn("what instances use cannot be measured here; their number follows the calls alone",
				"tenant", b.rev.Metadata.Namespace, "revision", b.rev.Metadata.Name, "err", why)
		}
		u.forget()
		u.blind = true
		return
	}
	u.blind = false
	u.state, u.want = u.spec.Decide(u.state, m, now)
}

// forget is for a revision that has come to zero.
func (u *usage) forget() {
	if u != nil {
		u.state, u.want, u.mean, u.meters = policy.UsageState{}, 0, 0, nil
	}
}

// asked is the number usage asks for where there are instances at all, one as long
// as nothing is known, and 0 where usage has no say. mu is held.
func (b *backend) asked() int {
	if b.usage == nil || b.usage.blind {
		return 0
	}
	return max(b.usage.want, 1)
}

// errUnmeasured is for instances of engines that do not measure.
var errUnmeasured = errors.New("the engine does not tell")
