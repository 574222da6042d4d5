package knative

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCollectable(t *testing.T) {
	now := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	ago := func(created, used time.Duration) func(string) aged {
		return func(name string) aged { return aged{name: name, created: now.Add(-created), used: now.Add(-used)} }
	}
	h := time.Hour
	old, young, used := ago(100*h, 100*h), ago(10*h, 5*h), ago(100*h, 5*h)
	list := func(n int, f func(string) aged) (out []aged) {
		for i := range n {
			a := f(fmt.Sprint(i))
			a.created, a.used = a.created.Add(time.Duration(i)*time.Second), a.used.Add(time.Duration(i)*time.Second)
			out = append(out, a)
		}
		return out
	}
	for name, c := range map[string]struct {
		all  []aged
		r    retention
		gone int
		next time.Duration
	}{
		"fewer than the least": {list(20, old), defaultRetention(), 0, 0},
		"more":                 {list(23, old), defaultRetention(), 3, 0},
		"too young":            {list(23, young), defaultRetention(), 0, 38 * h},
		"used of late":         {list(23, used), defaultRetention(), 0, 10 * h},
		"beyond the most":      {list(9, young), retention{48 * h, 15 * h, 2, 4}, 5, 38 * h},
		"age off":              {list(30, old), retention{disabled, disabled, 2, disabled}, 0, 0},
		"creation off":         {list(30, used), retention{disabled, 4 * h, 2, disabled}, 28, 0},
		"at once":              {list(30, young), retention{0, 0, 0, disabled}, 30, 0},
	} {
		t.Run(name, func(t *testing.T) {
			gone, next := collectable(c.all, c.r, now)
			if len(gone) != c.gone || next != c.next {
				t.Errorf("%d go (%v), the next in %s; want %d and %s", len(gone), gone, next, c.gone, c.next)
			}
		})
	}
}

func TestCollectableProperties(t *testing.T) {
	now := time.Date(2026, 1, 10, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		hours := rapid.IntRange(0, 200)
		limit := rapid.OneOf(rapid.Just(time.Duration(disabled)), rapid.Map(hours, func(n int) time.Duration { return time.Duration(n) * time.Hour }))
		r := retention{limit.Draw(t, "create"), limit.Draw(t, "active"), rapid.IntRange(0, 10).Draw(t, "min"), rapid.IntRange(-1, 15).Draw(t, "max")}
		var all []aged
		idle := 0
		byName := map[string]aged{}
		for i := range rapid.IntRange(0, 30).Draw(t, "n") {
			used := now.Add(-time.Duration(hours.Draw(t, "used")) * time.Hour)
			a := aged{name: fmt.Sprint(i), active: rapid.Bool().Draw(t, "active?"), used: used, created: used.Add(-time.Duration(hours.Draw(t, "before")) * time.Hour)}
			if !a.active {
				idle++
			}
			all, byName[a.name] = append(all, a), a
		}
		gone, next := collectable(all, r, now)
		left := idle - len(gone)
		for _, name := range gone {
			if byName[name].active {
				t.Fatalf("%s is active and goes", name)
			}
		}
		if r.MaxIdle != disabled && left > r.MaxIdle {
			t.Fatalf("%d are left, at most %d may", left, r.MaxIdle)
		}
		if least := min(idle, r.MinIdle); left < least && (r.MaxIdle == disabled || left < min(least, r.MaxIdle)) {
			t.Fatalf("%d are left of %d, at least %d must", left, idle, least)
		}
		// What is left goes in order of age: nothing stale and older is kept for
		// something younger that goes by the same rule.
		for _, a := range all {
			if stale, _ := r.stale(a, now); a.active || slices.Contains(gone, a.name) || !stale || left <= r.MinIdle {
				continue
			}
			t.Fatalf("%s is stale, %d are left and it stays", a.name, left)
		}
		if next > 0 {
			after, _ := collectable(all, r, now.Add(next))
			if len(after) <= len(gone) && left > r.MinIdle && r.MaxIdle == disabled {
				t.Fatalf("after %s nothing more goes", next)
			}
		}
	})
}

// TestCollect: a Service's old revisions go, those that serve stay.
func TestCollect(t *testing.T) {
	w := newWorld(t)
	w.apply("configmaps", `{"metadata":{"name":"config-gc","namespace":"knative-serving"},"data":{"min-non-active-revisions":"1","retain-since-create-time":"2h","retain-since-last-active-time":"1h"}}`)
	w.apply(Services, service("img:0", `TMETA "annotations":{"serving.knative.dev/no-gc":"true"}`))
	w.settle()
	for i := 1; i < 6; i++ {
		w.apply(Services, service(fmt.Sprintf("img:%d", i), `TRAFFIC [{"latestRevision":true,"percent":100},{"revisionName":"hello-00002","percent":0,"tag":"t"}]`))
		w.wait(time.Minute)
	}
	names := func() (out []string) {
		for _, k := range w.keys() {
			if k.Resource == Revisions {
				out = append(out, k.Name)
			}
		}
		return out
	}
	if got := names(); len(got) != 6 || w.next <= 0 || w.next > 2*time.Hour {
		t.Fatalf("%v, the next look in %s", got, w.next)
	}
	for range 8 {
		if w.next > 0 {
			w.wait(w.next)
		}
	}
	if got := fmt.Sprint(names()); got != "[hello-00001 hello-00002 hello-00005 hello-00006]" {
		t.Errorf("left are %s", got)
	}
}
