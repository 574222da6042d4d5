package scale

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/serve/scale/policy"
)

// burner is an engine whose instances share a load: so many processors in all,
// and so many bytes.
type burner struct {
	engine.Engine
	mu    sync.Mutex
	load  float64
	bytes float64
	asked int
	gate  chan struct{}              // nil: open
	alive map[*burning]time.Duration // processor time had
	at    time.Time
}

type burning struct {
	engine.Instance
	b *burner
}

// burn makes h's instances measurable.
func (h *house) burn() *burner {
	b := &burner{Engine: h.cfg.Engine, alive: map[*burning]time.Duration{}, at: time.Now()}
	h.cfg.Engine = b
	return b
}

func (b *burner) Start(ctx context.Context, s engine.Spec) (engine.Instance, error) {
	in, err := b.Engine.Start(ctx, s)
	if err != nil {
		return nil, err
	}
	x := &burning{in, b}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pass()
	b.alive[x] = 0
	go func() {
		<-x.Done()
		b.mu.Lock()
		defer b.mu.Unlock()
		b.pass()
		delete(b.alive, x)
	}()
	return x, nil
}

// pass lets the time until now go by; mu is held.
func (b *burner) pass() {
	now := time.Now()
	d := time.Duration(float64(now.Sub(b.at)) * b.load / float64(max(len(b.alive), 1)))
	for x := range b.alive {
		b.alive[x] += d
	}
	b.at = now
}

func (b *burner) set(load float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pass()
	b.load = load
}

// hold sets how many bytes all take.
func (b *burner) hold(bytes float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes = bytes
}

// shut lets nobody look until it is opened again.
func (b *burner) shut() (open func()) {
	gate := make(chan struct{})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gate = gate
	return func() { close(gate) }
}

func (x *burning) Usage() (engine.Usage, error) {
	b := x.b
	b.mu.Lock()
	gate := b.gate
	b.mu.Unlock()
	if gate != nil {
		<-gate
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pass()
	b.asked++
	cpu, ok := b.alive[x]
	if !ok {
		return engine.Usage{}, api.Errorf(api.CodeNotFound, "%s has ended", x.ID())
	}
	return engine.Usage{CPU: cpu, MemoryBytes: int64(b.bytes) / int64(len(b.alive))}, nil
}

// busy keeps n calls in flight until stop is called.
func (h *house) busy(r *api.Revision, n int) (stop func()) {
	var all []*call
	for range n {
		c := h.begin(r)
		<-c.done
		all = append(all, c)
	}
	return func() {
		for _, c := range all {
			c.end(h.t)
		}
	}
}

func byCPU(name string) func(*api.Scale, *api.Autoscale) {
	return func(_ *api.Scale, a *api.Autoscale) { a.Policy, a.Metric, a.Target = name, api.MetricCPU, 50 }
}

// TestFollowsProcessorTime holds that with both policies the number goes up with
// what is used, down five minutes after it is not, and to zero and from there by
// calls alone.
func TestFollowsProcessorTime(t *testing.T) {
	for _, name := range []string{api.PolicyHearth, api.PolicyKnative} {
		inBubble(t, Config{}, program(nil), func(h *house) {
			b := h.burn()
			r := scaled(10, byCPU(name))
			stop := h.busy(r, 2)
			time.Sleep(time.Minute)
			h.alive(1)
			b.set(2)
			time.Sleep(20 * time.Second)
			h.alive(4)
			if x, _ := h.Replicas(r.Metadata.UID); x.Desired != 4 {
				t.Errorf("%s: %+v", name, x)
			}
			if st := h.StatsOf(r); st.Metric != api.MetricCPU || st.Used < 0.4 || st.Used > 2 || st.Target != 0.5 {
				t.Errorf("%s: %+v", name, st)
			}
			used := map[string]bool{}
			var leases []engine.Lease
			for range 30 {
				l := h.acquire(r)
				used[l.Instance.ID()] = true
				leases = append(leases, l)
			}
			if len(used) != 4 {
				t.Errorf("%s: 30 calls go to %d of 4 instances", name, len(used))
			}
			for _, l := range leases {
				l.Release(false)
			}
			b.set(10) // twenty, and twice as many in fifteen seconds at most
			time.Sleep(11 * time.Second)
			h.alive(8)
			time.Sleep(time.Minute)
			h.alive(20)
			b.set(0.9)
			time.Sleep(4 * time.Minute)
			h.alive(20)
			time.Sleep(2 * time.Minute)
			h.alive(2)
			stop()
			b.set(0.6) // goes on working without calls
			time.Sleep(time.Hour)
			h.alive(0)
			if n := len(h.activeOnes()); n != 0 {
				t.Errorf("%s: Run looks after %d revisions without instances", name, n)
			}
			b.set(0)
			h.hold(r, 1, 0)
			h.alive(1)
		})
	}
}

// TestUsageAndQueue: the hearth policy has what calls need besides, the knative
// policy does not.
func TestUsageAndQueue(t *testing.T) {
	for _, c := range []struct {
		policy string
		want   int
	}{{api.PolicyHearth, 6}, {api.PolicyKnative, 1}} {
		inBubble(t, Config{}, program(nil), func(h *house) {
			h.burn()
			r := scaled(1, byCPU(c.policy))
			var all []*call
			for range 6 {
				all = append(all, h.begin(r))
			}
			time.Sleep(20 * time.Second)
			h.alive(c.want)
			for _, x := range all {
				x.end(t)
			}
		})
	}
}

func TestFollowsMemory(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		b := h.burn()
		r := scaled(10, func(s *api.Scale, a *api.Autoscale) {
			a.Policy, a.Metric, a.Target, s.Min, s.Max = api.PolicyKnative, api.MetricMemory, 64, 2, 5
		})
		h.Keep(r)
		b.hold(32 << 20)
		time.Sleep(time.Minute)
		h.alive(2)
		b.hold(4 * 64 << 20)
		time.Sleep(10 * time.Second)
		h.alive(4)
		b.hold(100 * 64 << 20)
		time.Sleep(time.Minute)
		h.alive(5)
		b.hold(0)
		time.Sleep(10 * time.Minute)
		h.alive(2)
	})
}

// TestUsageUnknown: where nothing can be measured calls decide, and the log says
// so once.
func TestUsageUnknown(t *testing.T) {
	for _, c := range []struct {
		policy string
		want   int
	}{{api.PolicyHearth, 5}, {api.PolicyKnative, 8}} { // 5 at 70 percent
		var log bytes.Buffer
		inBubble(t, Config{Log: slog.New(slog.NewTextHandler(&log, nil))}, program(nil), func(h *house) {
			r := scaled(1, byCPU(c.policy))
			go h.hold(r, 5, time.Minute)
			time.Sleep(30 * time.Second)
			h.alive(c.want)
			time.Sleep(time.Minute)
		})
		if n := strings.Count(log.String(), "cannot be measured"); n != 1 {
			t.Errorf("%s: said %d times: %s", c.policy, n, log.String())
		}
	}
}

func TestUsageCostsNothingUnasked(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		b := h.burn()
		for _, p := range []string{api.PolicyHearth, api.PolicyKnative} {
			r := scaled(1, func(_ *api.Scale, a *api.Autoscale) { a.Policy = p })
			r.Metadata.UID = p
			h.hold(r, 3, time.Minute)
		}
		if b.asked != 0 {
			t.Errorf("instances were asked %d times", b.asked)
		}
	})
}

// TestUsageOfLeavers: asking the instances does not hold up calls, and those that
// leave or end meanwhile do not count.
func TestUsageOfLeavers(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		b := h.burn()
		r := scaled(10, byCPU(api.PolicyHearth))
		r.Spec.Scale.Max = 3
		b.set(9)
		stop := h.busy(r, 2)
		time.Sleep(time.Minute)
		h.alive(3)
		open := b.shut() // the next look has to wait here
		time.Sleep(2 * policy.UsageTick)
		if l := h.acquire(r); l.Queued != 0 {
			t.Errorf("a call waited for %s", l.Queued)
		} else {
			l.Release(true)
		}
		open()
		again := h.busy(r, 1) // the two may be in flight on the one that leaves
		time.Sleep(time.Minute)
		h.alive(3)
		again()
		stop()
	})
}
