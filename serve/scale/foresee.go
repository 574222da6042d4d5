package scale

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// idling is how a revision treats instances that are not used, under its
// backend's lock. Its memory is small, because ten thousand functions that were
// called once have one each.
type idling struct {
	fixed time.Duration // an idle time someone chose; 0: it is foreseen
	worth time.Duration // of a spared cold start, where it is foreseen
	since time.Time     // when the last call ended; zero while there are calls, and before the first
	sight *policy.Foresight
	shed  []time.Time   // when the instances that were stopped were last used, the latest last
	took  time.Duration // the last start
	ahead bool          // an instance is wanted in advance
}

func idlingOf(sc api.Scale) idling {
	g := idling{worth: api.DefaultWorth}
	if sc.Auto != nil {
		g.worth = sc.Auto.Worth.Or(g.worth)
	}
	if sc.Idle != nil {
		g.fixed = max(sc.Idle.Duration, 1)
	}
	return g
}

// spare is how long an instance beyond the first may be unused.
func (b *backend) spare() time.Duration {
	if b.fixed > 0 {
		return b.fixed
	}
	return b.sight.Spare(b.worthNow())
}

// first is when the first one should be there.
func (b *backend) first() policy.Plan {
	if b.fixed > 0 {
		return policy.Plan{{To: b.fixed}}
	}
	return b.sight.First(b.worthNow())
}

// thriftMost is how often the worth is halved at most: from twelve minutes to
// three seconds.
const thriftMost = 8

// press makes waiting worth less while memory is short, step by step, and more
// again, ten times slower, when it is not. It is Run's alone.
func (s *Scaler) press() {
	if s.cfg.Pressed == nil {
		return
	}
	n := s.thrift.Load()
	switch {
	case s.cfg.Pressed():
		s.relieved = 0
		n = min(n+1, thriftMost)
	case n > 0:
		if s.relieved++; s.relieved == 10 {
			s.relieved = 0
			n--
		}
	}
	s.thrift.Store(n)
}

func (b *backend) worthNow() time.Duration { return b.worth >> b.s.thrift.Load() }

// see is what is remembered; mu is held. The newest revision of a function that
// has something to remember leaves it to the next.
func (b *backend) see() *policy.Foresight {
	if b.sight == nil {
		b.sight = new(policy.Foresight)
		b.s.sights.Store(function(b.rev), b)
	}
	return b.sight
}

// inherit gives a new backend what the revision before it had seen. It takes the
// locks of both, one after the other.
func (b *backend) inherit() {
	v, ok := b.s.sights.Load(function(b.rev))
	if !ok || b.fixed > 0 || b.knative != nil {
		return
	}
	older := v.(*backend)
	older.mu.Lock()
	sight := older.sight.Clone()
	older.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sight == nil && !b.dropped {
		b.sight = sight
		b.s.sights.Store(function(b.rev), b)
	}
}

func function(rev *api.Revision) string { return rev.Metadata.Namespace + "/" + rev.Spec.Function }

// shedMost bounds what is remembered of stopped instances.
const shedMost = 32

// reused notes that in, which was idle, gets a call; mu is held. It is called
// only where that was long enough to matter.
func (b *backend) reused(in *instance, now time.Time) {
	if b.busy == 0 {
		b.woke(now)
	} else if gap := now.Sub(in.used); b.fixed == 0 && b.knative == nil && gap >= time.Second {
		b.see().Reused(gap)
	}
}

// woke notes that a call comes to an idle revision; mu is held.
func (b *backend) woke(now time.Time) {
	if gap := now.Sub(b.since); b.fixed == 0 && b.knative == nil && !b.since.IsZero() && gap >= time.Second {
		b.see().Woke(gap)
	}
	b.since = time.Time{}
}

// missed notes that a call has to wait for a start; mu is held.
func (b *backend) missed(now time.Time) {
	switch n := len(b.shed); {
	case b.fixed > 0 || b.knative != nil:
	case b.busy == 0 && b.queue.n == 0:
		b.woke(now)
	case n > 0:
		if gap := now.Sub(b.shed[n-1]); gap >= time.Second {
			b.see().Reused(gap)
		}
		b.shed = b.shed[:n-1]
	}
}

// foresee sets whether an instance is wanted in advance, and when to look again
// if there is none; mu is held.
func (b *backend) foresee(now time.Time) {
	b.ahead = false
	if b.fixed > 0 || b.knative != nil || b.retired || b.since.IsZero() || b.busy > 0 || b.queue.n > 0 {
		return
	}
	lead := min(2*b.took, time.Minute)
	idle := now.Sub(b.since)
	plan := b.first()
	b.ahead = plan.Ahead(idle + lead)
	if warm, until := plan.At(idle + lead); !warm && len(b.all) == 0 && until < math.MaxInt64 {
		b.s.alarms.set(b, b.since.Add(until-lead))
	}
}

// reap stops instances nobody needs, the longest unused first; mu is held.
func (b *backend) reap(now time.Time) {
	if b.knative != nil && !b.retired {
		b.shrink(now)
		return
	}
	idle := 0
	for _, in := range b.all {
		if in.state == taking && in.busy == 0 {
			idle++
		}
	}
	if idle == 0 {
		return
	}
	unused := make([]*instance, 0, idle)
	for _, in := range b.all {
		if in.state == taking && in.busy == 0 {
			unused = append(unused, in)
		}
	}
	slices.SortFunc(unused, func(x, y *instance) int { return cmp.Compare(x.used.UnixNano(), y.used.UnixNano()) })
	spare := b.spare()
	l := b.load(now)
	for i, in := range unused {
		expired := now.Sub(in.used) >= spare
		if i == len(unused)-1 && b.busy == 0 && !b.since.IsZero() && b.fixed == 0 {
			warm, _ := b.first().At(now.Sub(b.since))
			expired = !warm && !b.ahead
		}
		if expired || b.retired {
			l.Expired++
		}
	}
	n := min(l.Ready-b.want(l), l.Expired)
	for _, in := range unused[:max(n, 0)] {
		if b.fixed == 0 && !b.retired {
			b.shed = append(b.shed, in.used)
			if len(b.shed) > shedMost {
				b.shed = slices.Delete(b.shed, 0, 1)
			}
		}
		b.leave(in)
	}
}
