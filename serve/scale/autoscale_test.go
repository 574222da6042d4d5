package scale

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// scaled makes hello-1, which serves, with the given way to scale.
func scaled(concurrency int, change func(s *api.Scale, a *api.Autoscale)) *api.Revision {
	r := revision(1, concurrency, 0, 100)
	r.Status.Conditions = r.Status.Conditions.Set(api.Condition{Type: api.ConditionReady, Status: api.True}, time.Time{})
	r.Spec.Scale.Auto = &api.Autoscale{}
	if change != nil {
		change(&r.Spec.Scale, r.Spec.Scale.Auto)
	}
	return r
}

func asKnative(_ *api.Scale, a *api.Autoscale) { a.Policy = api.PolicyKnative }

// hold calls n times at once, holds every slot for d and waits until all is over.
func (h *house) hold(r *api.Revision, n int, d time.Duration) (queued time.Duration) {
	h.t.Helper()
	waited := make(chan time.Duration, n)
	for range n {
		go func() {
			l, err := h.Acquire(context.Background(), r)
			if err != nil {
				h.t.Errorf("Acquire: %v", err)
				waited <- 0
				return
			}
			time.Sleep(d)
			l.Release(false)
			waited <- l.Queued
		}()
	}
	for range n {
		queued = max(queued, <-waited)
	}
	return queued
}

func slow(d time.Duration) map[string]memory.Program {
	return program(func(p *memory.Program) { p.LoadTime = d })
}

func TestStepOfFifty(t *testing.T) {
	for _, concurrency := range []int{1, 10} {
		inBubble(t, Config{}, slow(300*time.Millisecond), func(h *house) {
			r := scaled(concurrency, nil)
			begin := time.Now()
			var calls []*call
			for range 50 {
				calls = append(calls, h.begin(r))
			}
			for _, c := range calls {
				<-c.done
			}
			if d := time.Since(begin); d > time.Second {
				t.Errorf("concurrency %d: 50 calls at once are all served after %s", concurrency, d)
			}
			h.alive(50 / concurrency) // not one too many
			for _, c := range calls {
				c.end(t)
			}
		})
	}
}

func TestConcurrencyOneDoesNotOvershoot(t *testing.T) {
	inBubble(t, Config{}, slow(300*time.Millisecond), func(h *house) {
		r := scaled(1, nil)
		most, clients := 0, 0
		for _, step := range []int{1, 20, 5, 50} { // clients that call again and again
			clients = max(clients, step)
			done := make(chan struct{})
			for range step {
				go func() {
					defer func() { done <- struct{}{} }()
					for range 25 {
						h.hold(r, 1, 400*time.Millisecond)
					}
				}()
			}
			for range step {
				<-done
				most = max(most, h.StatsOf(r).Instances)
			}
			if 10*most > 11*clients {
				t.Errorf("%d instances for %d calls in flight", most, clients)
			}
		}
		if n := h.e.Starts(); n > 2*50 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestKnativeOvershoots(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := scaled(1, asKnative)
		h.hold(r, 1, time.Second)
		h.alive(2) // one call at 70 percent
		q := h.hold(r, 20, 30*time.Second)
		if q < time.Second || q > 10*time.Second {
			t.Errorf("the last of 20 calls waited %s; averages need a few seconds", q)
		}
		if st := h.StatsOf(r); st.Instances != 29 {
			t.Errorf("%+v, want 29 instances", st)
		}
		x, ok := h.Replicas(r.Metadata.UID)
		if !ok || x.Actual != 29 || x.Desired != 29 || x.Activity != policy.Active || !x.Initialised {
			t.Errorf("%+v", x)
		}
		time.Sleep(5 * time.Minute)
		h.alive(0)
		if n := len(h.activeOnes()); n != 0 {
			t.Errorf("Run looks after %d revisions without instances", n)
		}
		if x, _ := h.Replicas(r.Metadata.UID); x.Desired != 0 || x.Activity != policy.Inactive {
			t.Errorf("%+v", x)
		}
		begin := time.Now()
		h.hold(r, 1, 0) // the poke
		if d := time.Since(begin); d > 10*time.Millisecond {
			t.Errorf("a call from zero took %s", d)
		}
	})
}

func TestKnativeKeepsLeastAndGoesToZero(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := scaled(1, func(s *api.Scale, a *api.Autoscale) { a.Policy, s.Min = api.PolicyKnative, 2 })
		h.Keep(r)
		time.Sleep(10 * time.Second)
		h.alive(2)
		h.hold(r, 5, time.Minute)
		time.Sleep(10 * time.Minute)
		h.alive(2)
		h.Retire(r)
		h.alive(0)
	})
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := scaled(1, asKnative)
		h.hold(r, 1, time.Second)
		time.Sleep(59 * time.Second)
		if h.e.Alive() == 0 {
			t.Error("at zero before the window is over")
		}
		time.Sleep(10 * time.Second)
		h.alive(0)
	})
}

func TestKnativeCallsPerSecond(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := scaled(api.Unlimited, func(_ *api.Scale, a *api.Autoscale) {
			a.Policy, a.Metric, a.Target = api.PolicyKnative, api.MetricRPS, 10
		})
		for range 600 { // 20 a second, 10 wanted of each at 70 percent
			h.hold(r, 1, 0)
			time.Sleep(50 * time.Millisecond)
		}
		if st := h.StatsOf(r); st.Instances != 3 {
			t.Errorf("%+v, want 3 instances", st)
		}
	})
}

func TestKnativeSpreads(t *testing.T) {
	for _, concurrency := range []int{api.Unlimited, 50} {
		inBubble(t, Config{}, program(nil), func(h *house) {
			r := scaled(concurrency, func(s *api.Scale, a *api.Autoscale) { a.Policy, s.Min = api.PolicyKnative, 4 })
			h.Keep(r)
			time.Sleep(5 * time.Second)
			h.alive(4)
			used := map[string]int{}
			var calls []*call
			for range 80 {
				c := h.begin(r)
				<-c.done
				used[c.lease.Instance.ID()]++
				calls = append(calls, c)
			}
			for id, n := range used {
				if n < 5 || n > 40 {
					t.Errorf("%d of 80 calls went to %s of 4 instances", n, id)
				}
			}
			if len(used) != 4 {
				t.Errorf("%d of 4 instances are used", len(used))
			}
			for _, c := range calls {
				c.end(t)
			}
		})
	}
}

func TestUnlimitedNeverQueues(t *testing.T) {
	inBubble(t, Config{}, slow(100*time.Millisecond), func(h *house) {
		r := scaled(api.Unlimited, func(s *api.Scale, a *api.Autoscale) { s.Max, a.Target = 3, 10 })
		var calls []*call
		for i := range 200 {
			c := h.begin(r)
			if i == 0 {
				<-c.done
			}
			if !c.over() {
				t.Fatalf("call %d waits", i)
			}
			calls = append(calls, c)
		}
		time.Sleep(time.Second)
		h.alive(3)
		used := map[string]bool{}
		for range 100 {
			c := h.begin(r)
			used[c.lease.Instance.ID()] = true
			calls = append(calls, c)
		}
		if len(used) != 3 {
			t.Errorf("calls above the target go to %d of 3 instances", len(used))
		}
		for _, c := range calls {
			c.end(t)
		}
		h.hold(r, 1, 0)
		if st := h.StatsOf(r); st.Busy != 0 || st.Calls != 301 {
			t.Errorf("%+v", st)
		}
	})
}

func TestActivation(t *testing.T) {
	for _, p := range []string{api.PolicyHearth, api.PolicyKnative} {
		inBubble(t, Config{}, program(nil), func(h *house) {
			r := scaled(1, func(_ *api.Scale, a *api.Autoscale) { a.Policy, a.Activation = p, 3 })
			h.hold(r, 1, 10*time.Second)
			h.alive(3)
			time.Sleep(time.Hour)
			h.alive(0)
		})
	}
}

// TestForeseesTimers calls by the clock: from the fourth time on an instance is
// there, and only then.
func TestForeseesTimers(t *testing.T) {
	inBubble(t, Config{}, slow(300*time.Millisecond), func(h *house) {
		r := scaled(1, nil)
		cold := 0
		for i := range 20 {
			l := h.acquire(r)
			if l.Cold {
				cold++
			}
			time.Sleep(time.Second)
			l.Release(false)
			time.Sleep(14 * time.Minute)
			if i > 10 {
				h.alive(0)
				if n := len(h.activeOnes()); n != 0 {
					t.Errorf("Run looks after %d revisions without instances", n)
				}
			}
			time.Sleep(59 * time.Second)
		}
		if st := h.StatsOf(r); cold > 5 || st.Foreseen < 15 {
			t.Errorf("%d of 20 were cold: %+v", cold, st)
		}
		time.Sleep(24 * time.Hour) // nobody calls any more
		h.alive(0)
		if st := h.StatsOf(r); st.Starts > 30 {
			t.Errorf("%+v: started for nobody", st)
		}
	})
}

func TestWorthIsTheKnob(t *testing.T) {
	after := func(worth time.Duration) (alive int) {
		inBubble(t, Config{}, program(nil), func(h *house) {
			r := scaled(1, func(_ *api.Scale, a *api.Autoscale) { a.Worth = &api.Duration{Duration: worth} })
			for i := range 30 {
				h.hold(r, 1, 0)
				time.Sleep(time.Duration(2+7*i%11) * time.Minute)
			}
			h.hold(r, 1, 0)
			time.Sleep(8 * time.Minute)
			synctest.Wait()
			alive = h.e.Alive()
		})
		return alive
	}
	if n := after(time.Minute); n != 0 {
		t.Error("a start worth a minute is waited for for eight")
	}
	if n := after(time.Hour); n != 1 {
		t.Error("a start worth an hour is not waited for for eight minutes")
	}
}

func TestReserve(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) { // begins on a Saturday, 2000-01-01 at midnight UTC
		r := scaled(1, func(_ *api.Scale, a *api.Autoscale) {
			a.Reserve = []api.Reserve{
				{Schedule: "0 8 * * 1-5", TimeZone: "Europe/Berlin", Instances: 3, Duration: api.Duration{Duration: 2 * time.Hour}},
				{Schedule: "30 8 * * *", TimeZone: "Europe/Berlin", Instances: 5, Duration: api.Duration{Duration: time.Hour}},
			}
		})
		h.Keep(r)
		for _, step := range []struct {
			at   string
			want int
		}{
			{"01 07:29", 0}, {"01 07:31", 5}, {"01 08:29", 5}, {"01 08:36", 0}, {"03 06:59", 0},
			{"03 07:01", 3}, {"03 07:31", 5}, {"03 08:40", 3}, {"03 08:59", 3}, {"03 09:10", 0},
		} {
			when, err := time.Parse("2006-01-02 15:04", "2000-01-"+step.at)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(when))
			synctest.Wait()
			if n := h.e.Alive(); n != step.want {
				t.Errorf("%s: %d instances, want %d", step.at, n, step.want)
			}
		}
		if n := len(h.activeOnes()); n != 0 {
			t.Errorf("Run looks after %d revisions outside of their hours", n)
		}
		h.Retire(r)
		time.Sleep(24 * time.Hour)
		h.alive(0)
	})
}

// TestIdleRevisionsCostNothing holds that Run sleeps until something is to be
// done, however many revisions were called once.
func TestIdleRevisionsCostNothing(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		for i := range 1000 {
			r := revision(i, 1, 0, 10)
			r.Metadata.UID = fmt.Sprint("idle-", i)
			h.acquire(r).Release(false)
		}
		time.Sleep(time.Hour)
		h.alive(0)
		before := h.clock.Load()
		time.Sleep(100 * time.Hour)
		if n := h.clock.Load() - before; n != 0 {
			t.Errorf("%d ticks for revisions without instances", n)
		}
	})
}

// TestForesightOutlivesARevision holds that a deployment does not forget what is
// known about the calls of a function.
func TestForesightOutlivesARevision(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		older, newer := scaled(1, nil), revision(2, 1, 0, 10)
		for range 10 {
			h.hold(older, 1, 0)
			time.Sleep(15 * time.Minute)
		}
		h.hold(newer, 1, 0)
		h.Retire(older)
		time.Sleep(14 * time.Minute)
		h.alive(0)
		time.Sleep(59 * time.Second)
		h.alive(1)
		if l := h.acquire(newer); l.Cold {
			t.Error("the new revision does not know when calls come")
		} else {
			l.Release(false)
		}
		h.Retire(newer)
		synctest.Wait()
		n := 0
		h.sights.Range(func(_, _ any) bool { n++; return true })
		if n != 0 {
			t.Errorf("%d functions are remembered whose revisions are gone", n)
		}
	})
}

// TestSmall bounds what a revision costs that is not called; one that was called
// once has no foresight.
func TestSmall(t *testing.T) {
	if n := unsafe.Sizeof(backend{}); n > 800 {
		t.Errorf("a backend takes %d bytes", n)
	}
	if n := unsafe.Sizeof(policy.Foresight{}); n > 420 {
		t.Errorf("foresight takes %d bytes", n)
	}
	s, _ := warm(t, 1, 1)
	s.all(func(b *backend) {
		if b.sight != nil || b.knative != nil || b.alarm != nil {
			t.Error("a revision that was called once has more than it needs")
		}
	})
}

func TestMemoryIsShort(t *testing.T) {
	var short atomic.Bool
	inBubble(t, Config{Pressed: short.Load}, program(nil), func(h *house) {
		learned, chosen := scaled(1, nil), revision(2, 1, 0, 10)
		chosen.Spec.Scale.Idle = &api.Duration{Duration: 10 * time.Minute}
		use := func() {
			for range 20 {
				h.hold(learned, 1, 0)
				time.Sleep(time.Minute)
			}
			h.hold(learned, 1, 0)
			h.hold(chosen, 1, 0)
		}
		use()
		time.Sleep(time.Minute)
		h.alive(2)
		use()
		short.Store(true)
		time.Sleep(20 * time.Second)
		h.alive(1)
		if st := h.StatsOf(chosen); st.Instances != 1 {
			t.Errorf("%+v: someone chose for how long it stays", st)
		}
		short.Store(false)
		use()
		time.Sleep(time.Minute)
		h.alive(2)
	})
}

// TestUnlimitedSpreadsAndThins holds that calls are shared out among instances
// that take any number of them, and that there are fewer again when those would
// do, without an end to any call.
func TestUnlimitedSpreadsAndThins(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := scaled(api.Unlimited, func(s *api.Scale, a *api.Autoscale) { s.Max, a.Target = 4, 10 })
		var calls []*call
		for range 36 {
			c := h.begin(r)
			<-c.done
			calls = append(calls, c)
			time.Sleep(10 * time.Millisecond)
		}
		h.alive(4)
		for _, c := range calls[5:] {
			c.end(t)
		}
		used := map[string]int{}
		for range 15 {
			c := h.begin(r)
			<-c.done
			used[c.lease.Instance.ID()]++
			calls = append(calls, c)
		}
		if len(used) < 3 {
			t.Errorf("15 calls went to %d of 4 instances", len(used))
		}
		time.Sleep(time.Hour) // 20 calls, 10 of each wanted: three have room, two do not
		if st := h.StatsOf(r); st.Instances != 3 || st.Busy != 20 {
			t.Errorf("%+v, want 3 instances for 20 calls", st)
		}
		for _, c := range calls[36:] {
			c.end(t)
		}
		time.Sleep(time.Hour)
		if st := h.StatsOf(r); st.Instances != 1 || st.Busy != 5 {
			t.Errorf("%+v, want 1 instance for 5 calls", st)
		}
		for _, c := range calls[:5] {
			c.end(t)
		}
		time.Sleep(time.Hour)
		h.alive(0)
	})
}
