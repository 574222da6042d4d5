package scale

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
)

// TestStateMachine does random things to two revisions and checks after each
// what must always hold.
func TestStateMachine(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var failure error
		synctest.Test(t, func(t *testing.T) {
			defer func() { // rapid stops by panic; the bubble must end before it
				if p := recover(); p != nil {
					failure = fmt.Errorf("%v", p)
				}
			}()
			failure = drive(t, rt)
		})
		if failure != nil {
			rt.Fatal(failure)
		}
	})
}

type model struct {
	h       *house
	revs    []*api.Revision
	fail    bool
	waiting [][]*call // per revision, in order of arrival
	holding [][]*call
	all     []*call
}

func drive(t *testing.T, rt *rapid.T) (err error) {
	m := &model{waiting: make([][]*call, 2), holding: make([][]*call, 2)}
	m.h = open(t, Config{Starts: rapid.IntRange(1, 4).Draw(rt, "starts"), QueueLimit: 10}, map[string]memory.Program{
		"main.f": {
			Main:     func(*memory.Process) http.Handler { return http.NotFoundHandler() },
			LoadTime: 50 * time.Millisecond,
			Fail: func(engine.Spec) error {
				if m.fail {
					return errors.New("no luck")
				}
				return nil
			},
		},
	})
	for i := range 2 {
		most := rapid.IntRange(1, 4).Draw(rt, "max")
		r := revision(i, rapid.IntRange(1, 3).Draw(rt, "concurrency"), rapid.IntRange(0, min(1, most)).Draw(rt, "min"), most)
		m.revs = append(m.revs, r)
		if rapid.Bool().Draw(rt, "kept") {
			m.h.Keep(r)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- m.h.Run(ctx) }()
	steps := rapid.SliceOfN(rapid.IntRange(0, 99), 1, 60).Draw(rt, "steps")
	seed := rapid.Uint64().Draw(rt, "seed")
	rnd := rand.New(rand.NewPCG(seed, seed))
	for i, s := range steps {
		what := m.step(s, rnd)
		if err = m.check(); err != nil {
			err = fmt.Errorf("step %d (%s): %w", i, what, err)
			break
		}
	}
	if e := m.finish(); err == nil {
		err = e
	}
	if e := m.h.Close(context.Background()); err == nil {
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
		m.fail = !m.fail
		return "fail"
	case s < 86:
		m.h.Retire(m.revs[i])
		return "retire"
	case s < 88:
		m.h.Keep(m.revs[i])
		return "keep"
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
	m.fail = false
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
	for _, r := range m.revs {
		m.h.Retire(r)
	}
	time.Sleep(3 * time.Minute) // late revisions, known again after Retire, go when unused
	synctest.Wait()
	if n := m.h.e.Alive(); n > 0 {
		return fmt.Errorf("%d instances are alive when nothing is called or kept", n)
	}
	return nil
}
