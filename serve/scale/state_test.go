package scale

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
)

// plan is all that chance decides; nothing is drawn inside a bubble, which must
// end by itself.
type plan struct {
	starts int
	revs   []*api.Revision
	keep   []bool
	steps  []int
	seed   uint64
}

func draw(t *rapid.T) plan {
	p := plan{starts: rapid.IntRange(1, 4).Draw(t, "starts"), seed: rapid.Uint64().Draw(t, "seed")}
	for i := range 2 {
		least, most := rapid.IntRange(0, 1).Draw(t, "min"), rapid.IntRange(1, 4).Draw(t, "max")
		r := revision(i, rapid.IntRange(1, 3).Draw(t, "concurrency"), least, most)
		r.Spec.Scale.Idle = &api.Duration{Duration: api.DefaultIdle} // nothing is foreseen, so that quiet ends in zero
		r.Spec.Scale.Auto = &api.Autoscale{}
		if rapid.Bool().Draw(t, "knative") {
			r.Spec.Scale.Auto.Policy = api.PolicyKnative
		}
		if rapid.Bool().Draw(t, "usage") {
			r.Spec.Scale.Auto.Metric, r.Spec.Scale.Auto.Window = api.MetricCPU, api.Seconds(6)
		}
		p.revs = append(p.revs, r)
		p.keep = append(p.keep, rapid.Bool().Draw(t, "kept"))
	}
	p.steps = rapid.SliceOfN(rapid.IntRange(0, 99), 1, 80).Draw(t, "steps")
	return p
}

// TestStateMachine does random things to two revisions and checks after each
// what must always hold.
func TestStateMachine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := draw(rt)
		var err error
		synctest.Test(t, func(t *testing.T) { err = drive(t, p) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

type model struct {
	h       *house
	b       *burner
	revs    []*api.Revision
	fail    atomic.Bool
	waiting [][]*call // per revision, in order of arrival
	holding [][]*call
	all     []*call
}

func drive(t *testing.T, p plan) (err error) {
	m := &model{revs: p.revs, waiting: make([][]*call, 2), holding: make([][]*call, 2)}
	m.h = open(t, Config{Starts: p.starts, QueueLimit: 10}, map[string]memory.Program{
		"main.f": {
			Main:     func(*memory.Process) http.Handler { return http.NotFoundHandler() },
			LoadTime: 50 * time.Millisecond,
			Fail: func(engine.Spec) error {
				if m.fail.Load() {
					return errors.New("no luck")
				}
				return nil
			},
		},
	})
	m.b = m.h.burn()
	for i, r := range m.revs {
		if p.keep[i] {
			m.h.Keep(r)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- m.h.Run(ctx) }()
	rnd := rand.New(rand.NewPCG(p.seed, p.seed))
	for i, s := range p.steps {
		what := m.step(s, rnd)
		if err = m.check(); err != nil {
			err = fmt.Errorf("step %d (%s): %w", i, what, err)
			break
		}
	}
	if e := m.finish(); err == nil {
		err = e
	}
	limit, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if e := m.h.Close(limit); err == nil {
		err = e
	}
	m.h.e.Close(context.Background())
	stop()
	<-ran
	return err
}

func (m *model) step(s int, rnd *rand.Rand) string {
	i := rnd.IntN(2)
	switch {
	case s < 40:
		c := m.h.begin(m.revs[i])
		m.waiting[i] = append(m.waiting[i], c)
		m.all = append(m.all, c)
		return "call"
	case s < 65:
		if n := len(m.holding[i]); n > 0 {
			k := rnd.IntN(n)
			c := m.holding[i][k]
			m.holding[i] = append(m.holding[i][:k:k], m.holding[i][k+1:]...)
			c.lease.Release(s >= 62)
			return "release"
		}
	case s < 73:
		if n := len(m.waiting[i]); n > 0 {
			m.waiting[i][rnd.IntN(n)].cancel()
			return "cancel"
		}
	case s < 80:
		if ids := m.h.e.Running(); len(ids) > 0 {
			m.h.e.Kill(ids[rnd.IntN(len(ids))], engine.Exit{Code: 1, Reason: "exited with status 1"})
			return "crash"
		}
	case s < 84:
		m.fail.Store(!m.fail.Load())
		return "fail"
	case s < 86:
		m.h.Retire(m.revs[i])
		return "retire"
	case s < 88:
		m.h.Keep(m.revs[i])
		return "keep"
	case s < 91:
		m.b.set(float64(rnd.IntN(4)))
		return "load"
	default:
		d := []time.Duration{time.Millisecond, 60 * time.Millisecond, 2 * time.Second, 3 * time.Minute}[rnd.IntN(4)]
		time.Sleep(d)
		return "wait " + d.String()
	}
	return "nothing"
}

// check takes note of what was answered and of what must hold.
func (m *model) check() error {
	synctest.Wait()
	for i, r := range m.revs {
		var still []*call
		for _, c := range m.waiting[i] {
			if !c.over() {
				still = append(still, c)
				continue
			}
			if c.err != nil {
				switch api.AsError(c.err).Code {
				case api.CodeCanceled, api.CodeQueueTimeout, api.CodeStartFailed, api.CodeQueueFull:
				default:
					return fmt.Errorf("a call got %w", c.err)
				}
				continue
			}
			if len(still) > 0 {
				return fmt.Errorf("a call of %s was served before one that came earlier", r.Metadata.Name)
			}
			m.holding[i] = append(m.holding[i], c)
		}
		m.waiting[i] = still
		inFlight := map[string]int{}
		for _, c := range m.holding[i] {
			id := c.lease.Instance.ID()
			if inFlight[id]++; inFlight[id] > r.Spec.Concurrency {
				return fmt.Errorf("%d calls are in flight on %s, more than %d", inFlight[id], id, r.Spec.Concurrency)
			}
		}
		st := m.h.StatsOf(r)
		if n := st.Instances + st.Leaving + st.Starting; n > r.Spec.Scale.Max {
			return fmt.Errorf("%s has %d instances, more than %d: %+v", r.Metadata.Name, n, r.Spec.Scale.Max, st)
		}
		if st.Busy > len(m.holding[i]) || st.Queued != len(still) {
			return fmt.Errorf("%d calls are in flight and %d wait, but %+v", len(m.holding[i]), len(still), st)
		}
		if v, ok := m.h.backends.Load(key(r)); ok {
			b := v.(*backend)
			b.mu.Lock()
			counted, inside := b.knative != nil, b.busy+b.queue.n
			ok = !counted || b.knative.inside == inside
			b.mu.Unlock()
			if !ok {
				return fmt.Errorf("the metrics of %s do not count its %d calls", r.Metadata.Name, inside)
			}
		}
		if st.Queued > 0 && st.Instances+st.Starting+st.Leaving == 0 {
			return fmt.Errorf("calls of %s wait for nothing: %+v", r.Metadata.Name, st)
		}
		if free := st.Instances*r.Spec.Concurrency - st.Busy; st.Queued > 0 && free > 0 && st.Leaving == 0 {
			return fmt.Errorf("calls of %s wait beside a free slot: %+v", r.Metadata.Name, st)
		}
	}
	if a := m.h.e.Alive(); a > m.revs[0].Spec.Scale.Max+m.revs[1].Spec.Scale.Max {
		return fmt.Errorf("%d instances are alive", a)
	}
	return nil
}

// finish gives every lease back and lets time pass: nobody waits for ever, and
// nothing runs that is not kept.
func (m *model) finish() error {
	m.fail.Store(false)
	m.b.set(0)
	defer func() {
		for _, c := range m.all {
			c.cancel()
		}
	}()
	for range 200 {
		if err := m.check(); err != nil {
			return fmt.Errorf("at the end: %w", err)
		}
		for i := range m.revs {
			for _, c := range m.holding[i] {
				c.lease.Release(false)
			}
			m.holding[i] = nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	if n := len(m.waiting[0]) + len(m.waiting[1]); n > 0 {
		return fmt.Errorf("%d calls still wait when everything is free", n)
	}
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	for _, r := range m.revs {
		if st := m.h.StatsOf(r); st.Instances > r.Spec.Scale.Min || st.Busy > 0 || st.Leaving > 0 {
			return fmt.Errorf("when all is idle: %+v", st)
		}
		m.h.Retire(r)
	}
	synctest.Wait()
	if n := m.h.e.Alive(); n > 0 {
		return fmt.Errorf("%d instances are alive when nothing is called or kept", n)
	}
	return nil
}
