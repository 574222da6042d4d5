package reconcile

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/store"
)

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
