package reconcile

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/store"
)

func summary(calls, errors int, took time.Duration) (s record.Summary) {
	s.Calls, s.Errors = uint64(calls), uint64(errors)
	s.Durations[record.DurationBucket(took)] = uint64(calls)
	return s
}

// TestStepProperties: whatever is observed and whenever it is asked, no share is
// lost, a progressing rollout never gives the new revision less, a judged one
// never more, and what is decided stays decided.
func TestStepProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := &api.Rollout{}
		if rapid.Bool().Draw(t, "duration") {
			spec.Duration = &api.Duration{Duration: time.Duration(rapid.IntRange(1, 600).Draw(t, "seconds")) * time.Second}
		} else {
			p := 0
			for range rapid.IntRange(1, 5).Draw(t, "steps") {
				if p = rapid.IntRange(p+1, min(p+40, 100)).Draw(t, "percent"); p == 100 {
					break
				}
				spec.Steps = append(spec.Steps, p)
			}
			spec.Steps = append(spec.Steps[:0:0], append(spec.Steps, 100)[:max(1, len(spec.Steps))]...)
			spec.Interval = &api.Duration{Duration: 10 * time.Second}
		}
		if rapid.Bool().Draw(t, "errors") {
			n := rapid.IntRange(0, 50).Draw(t, "max errors")
			spec.MaxErrorPercent = &n
		}
		if rapid.Bool().Draw(t, "latency") {
			spec.MaxLatency = &api.Duration{Duration: 100 * time.Millisecond}
		}
		spec.MinRequests = rapid.SampledFrom([]int{0, 0, 1, 50}).Draw(t, "min")

		now := time.Unix(1_000_000, 0)
		latest, n := "f-1", 1
		s := step(spec, nil, latest, seen{since: now}, now)
		if s.Phase != api.RolloutDone || len(s.Shares) != 1 || s.Shares[0].Percent != 100 {
			t.Fatalf("the first revision: %+v", s)
		}
		since := now
		for range rapid.IntRange(1, 300).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			if rapid.IntRange(0, 30).Draw(t, "deploy") == 0 {
				n++
				latest = fmt.Sprint("f-", n)
			}
			calls := rapid.SampledFrom([]int{0, 1, 9, 10, 60, 1000}).Draw(t, "calls")
			errors := rapid.IntRange(0, calls).Draw(t, "errors")
			took := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second}).Draw(t, "took")
			how := seen{since, summary(calls, errors, took)}
			next := step(spec, s, latest, how, now)
			if next.To != latest {
				t.Fatalf("%+v is not about %s", next, latest)
			}
			total, share := 0, func(s *api.RolloutStatus) int {
				for _, x := range s.Shares {
					if x.Revision == s.To {
						return x.Percent
					}
				}
				return 0
			}
			for _, x := range next.Shares {
				if total += x.Percent; x.Percent <= 0 {
					t.Fatalf("an empty share: %+v", next)
				}
			}
			if total != 100 {
				t.Fatalf("%+v sums to %d", next, total)
			}
			if s.To == latest {
				bad := judge(spec, s, how) != ""
				switch {
				case s.Phase != api.RolloutProgressing && next != s:
					t.Fatalf("%+v was decided and became %+v", s, next)
				case s.Phase == api.RolloutProgressing && bad && (next.Phase != api.RolloutRolledBack || share(next) != 0 || next.Message == ""):
					t.Fatalf("%+v went on to %+v in spite of %+v", s, next, how.Calls)
				case s.Phase == api.RolloutProgressing && !bad && share(next) < share(s):
					t.Fatalf("%+v became less: %+v", s, next)
				case share(next) > share(s) && now.Sub(since) < every(spec, s):
					t.Fatalf("%+v became %+v after only %s", s, next, now.Sub(since))
				case share(next) > share(s) && how.Calls < uint64(spec.MinRequests):
					t.Fatalf("%+v became %+v after %d requests", s, next, how.Calls)
				}
			}
			if w := wait(spec, next, seen{since: now}, now); (w > 0) != (next.Phase == api.RolloutProgressing) {
				t.Fatalf("looks again after %s: %+v", w, next)
			}
			if next.Step != s.Step || next.To != s.To || next.Phase != s.Phase {
				since = now
			}
			s = next
		}
		// Left alone, with answers that are well, it always ends at the newest.
		for i := 0; s.Phase == api.RolloutProgressing; i++ {
			if now = now.Add(time.Minute); i > 200 {
				t.Fatalf("no end: %+v", s)
			}
			s = step(spec, s, latest, seen{now.Add(-11 * time.Minute), summary(100, 0, time.Millisecond)}, now)
		}
	})
}

func TestPortion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shares := []api.Share{{Revision: "a", Percent: 100}}
		for i := range rapid.IntRange(0, 4).Draw(t, "more") {
			shares = api.BeginShift(shares, fmt.Sprint("r", i))
			shares = api.Shift(shares, rapid.IntRange(0, 60).Draw(t, "by"))
		}
		percent := rapid.IntRange(1, 100).Draw(t, "percent")
		total := 0
		got := portion(shares, percent)
		for i, s := range got {
			total += s.Percent
			if s.Percent < 0 || i > 0 && i == len(got)-1 && s.Percent == 0 {
				t.Fatalf("%v of %d: %v", shares, percent, got)
			}
		}
		if total != percent {
			t.Fatalf("%v of %d: %v", shares, percent, got)
		}
	})
}

// health is what a test says of revisions' calls.
type health struct {
	mu sync.Mutex
	m  map[string]record.Summary
}

func (h *health) observe(_, revision string) record.Summary {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.m[revision]
}

func (h *health) calls(revision string, calls, errors int, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.m[revision]
	s.Calls += uint64(calls)
	s.Errors += uint64(errors)
	s.Durations[record.DurationBucket(took)] += uint64(calls)
	h.m[revision] = s
}

func shares(f *api.Function) string {
	var out []string
	for _, x := range f.Status.Traffic {
		s := fmt.Sprintf("%s=%d", x.Revision, x.Percent)
		if x.Tag != "" {
			s += "#" + x.Tag
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func (w *world) split(name, want string) *api.Function {
	w.t.Helper()
	f := w.function(name)
	if got := shares(f); got != want {
		w.t.Errorf("the traffic is %q, want %q", got, want)
	}
	return f
}

func inRollout(t *testing.T, spec api.Rollout, test func(w *world, h *health)) {
	h := &health{m: map[string]record.Summary{}}
	inWorld(t, func(_ *world, c *Config) { c.Observe = h.observe }, func(w *world) {
		w.apply("f", func(f *api.Function) {
			f.Spec = api.FunctionSpec{Runtime: "node", Rollout: &spec, Source: api.Source{Inline: "v1"}}
		})
		w.split("f", "f-1=100")
		w.source("f", "v2")
		test(w, h)
	})
}

func (w *world) pass(d time.Duration) {
	time.Sleep(d) // virtual
	synctest.Wait()
}

func TestRolloutIsPromoted(t *testing.T) {
	inRollout(t, api.Rollout{Steps: []int{5, 50}, Interval: &api.Duration{Duration: time.Minute}}, func(w *world, h *health) {
		w.split("f", "f-2=5 f-1=95")
		w.pass(59 * time.Second)
		w.split("f", "f-2=5 f-1=95")
		w.pass(2 * time.Second)
		f := w.split("f", "f-2=50 f-1=50")
		if c, _ := f.Status.Conditions.Get(api.ConditionRolledOut); c.Status != api.Unknown || !strings.Contains(c.Message, "f@2 gets 50 %") {
			t.Errorf("%+v", c)
		}
		w.pass(61 * time.Second)
		f = w.split("f", "f-2=100")
		if c, _ := f.Status.Conditions.Get(api.ConditionRolledOut); c.Status != api.True || f.Status.Rollout.Phase != api.RolloutDone {
			t.Errorf("%+v", f.Status)
		}
		if es := w.events("f"); !strings.HasSuffix(es, "Normal RolloutStep x2, Normal RolledOut x1") {
			t.Errorf("events %s", es)
		}
		w.source("f", "v1") // the same as the first: no new revision, but a rollout
		w.split("f", "f-1=5 f-2=95")
	})
}

func TestRolloutIsRolledBack(t *testing.T) {
	five := 5
	spec := api.Rollout{Steps: []int{20}, Interval: &api.Duration{Duration: time.Hour}, MaxErrorPercent: &five, MaxLatency: &api.Duration{Duration: 200 * time.Millisecond}}
	inRollout(t, spec, func(w *world, h *health) {
		h.calls("f-1", 1000, 1000, time.Millisecond) // nobody judges the old one
		h.calls("f-2", 9, 9, time.Millisecond)       // too few to judge
		w.pass(2 * time.Second)
		w.split("f", "f-2=20 f-1=80")
		h.calls("f-2", 1, 0, time.Millisecond)
		w.pass(time.Second)
		f := w.split("f", "f-1=100")
		w.want("f", "Ready=True:RolledBack Updated=False:RolledBack Built=True:Built", "f-2")
		for _, name := range []string{api.ConditionRolledOut, api.ConditionUpdated, api.ConditionReady} {
			if c, _ := f.Status.Conditions.Get(name); !strings.Contains(c.Message, "f@2 was rolled back: at 20 % of the requests, 9 of its 10 answers were errors (90 %, at most 5 % are allowed)") {
				t.Errorf("%s: %s", name, c.Message)
			}
		}
		if es := w.events("f"); !strings.Contains(es, "Warning RolledBack x1") {
			t.Errorf("events %s", es)
		}
		w.pass(3 * time.Hour) // it stays so
		w.split("f", "f-1=100")

		w.source("f", "v3")
		w.split("f", "f-3=20 f-1=80")
		for range 3 {
			h.calls("f-3", 40, 0, 500*time.Millisecond)
		}
		w.pass(time.Second)
		f = w.split("f", "f-1=100")
		if c, _ := f.Status.Conditions.Get(api.ConditionRolledOut); !strings.Contains(c.Message, "the 99th percentile of its 120 answers was") {
			t.Errorf("%+v", c)
		}
	})
}

func TestRolloutWaitsForRequests(t *testing.T) {
	inRollout(t, api.Rollout{Steps: []int{20}, Interval: &api.Duration{Duration: time.Minute}, MinRequests: 30}, func(w *world, h *health) {
		w.pass(10 * time.Minute)
		w.split("f", "f-2=20 f-1=80")
		h.calls("f-2", 30, 0, time.Millisecond)
		w.pass(2 * time.Second)
		w.split("f", "f-2=100")
	})
}

// Without a rollout from now on, what was rolled back still gets nothing; the
// next revision gets all at once.
func TestRolledBackStaysSo(t *testing.T) {
	zero := 0
	inRollout(t, api.Rollout{Steps: []int{20}, MaxErrorPercent: &zero}, func(w *world, h *health) {
		h.calls("f-2", 20, 1, time.Millisecond)
		w.pass(2 * time.Second)
		w.split("f", "f-1=100")
		w.apply("f", func(f *api.Function) { f.Spec.Rollout = nil })
		w.split("f", "f-1=100")
		w.restart()
		w.split("f", "f-1=100")
		w.source("f", "v3")
		f := w.split("f", "")
		if _, ok := f.Status.Conditions.Get(api.ConditionRolledOut); ok || f.Status.LatestReadyRevision != "f-3" {
			t.Errorf("%+v", f.Status)
		}
	})
	// One that is under way is brought to its end.
	inRollout(t, api.Rollout{Steps: []int{20}}, func(w *world, h *health) {
		w.apply("f", func(f *api.Function) { f.Spec.Rollout = nil })
		w.split("f", "")
	})
}

// A newer revision takes the place of one that is not proven yet; what is
// rolled out by time stacks.
func TestRolloutIsOvertaken(t *testing.T) {
	inRollout(t, api.Rollout{Steps: []int{20}, Interval: &api.Duration{Duration: time.Minute}}, func(w *world, h *health) {
		w.source("f", "v3")
		w.split("f", "f-3=20 f-1=80")
		w.source("f", "v1")
		w.split("f", "f-1=100")
	})
	inRollout(t, api.Rollout{Duration: &api.Duration{Duration: 100 * time.Second}}, func(w *world, h *health) {
		w.split("f", "f-2=1 f-1=99")
		w.pass(50*time.Second + 500*time.Millisecond)
		w.split("f", "f-2=51 f-1=49")
		w.source("f", "v3")
		w.split("f", "f-3=1 f-1=49 f-2=50")
		w.pass(101 * time.Second)
		w.split("f", "f-3=100")
	})
}

// A restart goes on with the step it was at.
func TestRolloutSurvivesRestart(t *testing.T) {
	inRollout(t, api.Rollout{Steps: []int{20, 60}, Interval: &api.Duration{Duration: time.Minute}}, func(w *world, h *health) {
		w.pass(61 * time.Second)
		w.split("f", "f-2=60 f-1=40")
		w.pass(30 * time.Second)
		w.restart()
		w.split("f", "f-2=60 f-1=40")
		w.pass(32 * time.Second)
		w.split("f", "f-2=100")
	})
}

func TestTraffic(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.source("f", "v1")
		w.source("f", "v2")
		if f := w.split("f", ""); len(f.Status.Conditions) != 3 {
			t.Errorf("a function without traffic of its own: %+v", f.Status)
		}
		w.apply("f", func(f *api.Function) {
			f.Spec.Traffic = []api.TrafficTarget{{Latest: true, Percent: 90, Tag: "new"}, {Revision: "f-1", Percent: 10}, {Revision: "f-1", Tag: "old"}}
		})
		f := w.split("f", "f-2=90#new f-1=10 f-1=0#old")
		if f.Status.Traffic[2].URL != "http://old-f.shop" {
			t.Errorf("%+v", f.Status.Traffic)
		}
		w.source("f", "v3")
		w.split("f", "f-3=90#new f-1=10 f-1=0#old")

		w.apply("f", func(f *api.Function) { f.Spec.Traffic = []api.TrafficTarget{{Revision: "f-9", Percent: 100}} })
		f = w.split("f", "f-3=90#new f-1=10 f-1=0#old")
		if c, _ := f.Status.Conditions.Get(api.ConditionTrafficAssigned); c.Status != api.False || c.Reason != "RevisionMissing" || !strings.Contains(c.Message, "f-9") {
			t.Errorf("%+v", c)
		}
		w.apply("f", func(f *api.Function) { f.Spec.Traffic = []api.TrafficTarget{{Revision: "f-2", Percent: 100}} })
		w.split("f", "f-2=100")
		w.source("f", "v4") // pinned
		f = w.split("f", "f-2=100")
		if f.Status.LatestReadyRevision != "f-4" {
			t.Errorf("%+v", f.Status)
		}
		w.apply("f", func(f *api.Function) { f.Spec.Traffic, f.Spec.Revisions = nil, &api.Retention{Keep: 1} })
		f = w.split("f", "")
		if _, ok := f.Status.Conditions.Get(api.ConditionTrafficAssigned); ok {
			t.Errorf("%+v", f.Status)
		}
	})
}

// Instances are held for revisions something leads to, and for no others.
func TestHeldInstances(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.apply("f", func(f *api.Function) {
			f.Spec = api.FunctionSpec{Runtime: "node", Scale: api.Scale{Min: 1}, Source: api.Source{Inline: "v1"}}
		})
		for _, v := range []string{"v2", "v3"} {
			w.source("f", v)
		}
		held := func(want string) {
			t.Helper()
			synctest.Wait()
			var got []string
			for _, name := range w.revisions() {
				if get[api.Revision](w, revisionKey("shop", name)).Metadata.Annotations[api.AnnotationReserve] == "" {
					got = append(got, name)
				}
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("%s hold instances, want %s", s, want)
			}
		}
		held("f-3")
		w.apply("f", func(f *api.Function) {
			f.Spec.Traffic = []api.TrafficTarget{{Latest: true, Percent: 99}, {Revision: "f-1", Percent: 1}}
		})
		held("f-1 f-3")
		w.apply("f", func(f *api.Function) { f.Spec.Traffic = nil })
		held("f-3")
		w.write(store.Key{Resource: api.Routes, Namespace: "shop", Name: "r"}, api.Route{
			Metadata: api.Meta{Name: "r", Namespace: "shop", Generation: 1}, Spec: api.RouteSpec{Prefix: "/", Targets: []api.RouteTarget{{Revision: "f-2"}}},
		}, store.New)
		held("f-2 f-3")
		if r := get[api.Revision](w, revisionKey("shop", "f-2")); r.Spec.Number != 2 || r.Metadata.Labels[api.LabelFunction] != "f" || !r.Status.Conditions.Ready() {
			t.Errorf("the rest of it is %+v", r)
		}
	})
}

func TestTimeoutsReachTheRevision(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		second := &api.Duration{Duration: time.Second}
		w.apply("f", func(f *api.Function) {
			f.Spec = api.FunctionSpec{Runtime: "node", Source: api.Source{Inline: "v1"}, Timeouts: &api.Timeouts{Request: second, Idle: second}}
		})
		s := get[api.Revision](w, revisionKey("shop", "f-1")).Spec
		if s.RequestTimeout.Or(0) != time.Second || s.IdleTimeout.Or(0) != time.Second || s.ResponseStartTimeout != nil {
			t.Errorf("%+v", s)
		}
	})
}

// What traffic names is kept, however old.
func TestTrafficKeepsRevisions(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.source("f", "v1")
		w.apply("f", func(f *api.Function) {
			f.Spec.Revisions = &api.Retention{Keep: 1}
			f.Spec.Traffic = []api.TrafficTarget{{Latest: true, Percent: 99}, {Revision: "f-1", Percent: 1}}
		})
		for i := 2; i < 6; i++ {
			w.source("f", fmt.Sprint("v", i))
		}
		if got := strings.Join(w.revisions(), " "); got != "f-1 f-4 f-5" {
			t.Error(got)
		}
		w.delete(revisionKey("shop", "f-1"))
		f := w.function("f")
		if c, _ := f.Status.Conditions.Get(api.ConditionTrafficAssigned); c.Status != api.False {
			t.Errorf("%+v", f.Status)
		}
	})
}
