package knative

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
)

// TestProperties does to a Service whatever its owner, others and chance can do,
// and lets the world settle: it always comes to rest, requests only ever go to
// revisions that were ready, in shares that sum up to 100, and what the status
// says is what the gateway does.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		image, failed := 0, false
		w.apply("configmaps", `{"metadata":{"name":"config-gc","namespace":"knative-serving"},"data":{"min-non-active-revisions":"1","retain-since-create-time":"1h","retain-since-last-active-time":"1h"}}`)
		revisions := func() (out []string) {
			for _, k := range w.keys() {
				if k.Resource == Revisions {
					out = append(out, k.Name)
				}
			}
			return out
		}
		traffic, meta, template := "", "", ""
		apply := func() {
			more := "META " + meta + "\nTMETA " + template
			if traffic != "" {
				more += "\nTRAFFIC " + traffic
			}
			w.apply(Services, service(fmt.Sprintf("img:%d", image), more))
		}
		apply()
		steps := rapid.SliceOfN(rapid.IntRange(0, 11), 1, 15).Draw(rt, "steps")
		for _, s := range steps {
			switch s {
			case 0, 1, 2:
				image++
				if template != "" {
					template = fmt.Sprintf(`"name":"hello-own%d"`, image)
				}
				apply()
			case 3:
				traffic = `[{"latestRevision":true,"percent":100,"tag":"now"}]`
				apply()
			case 4:
				rs := append(revisions(), "hello-00099")
				r := rs[rapid.IntRange(0, len(rs)-1).Draw(rt, "pinned")]
				p := rapid.IntRange(0, 100).Draw(rt, "percent")
				traffic = fmt.Sprintf(`[{"latestRevision":true,"percent":%d},{"revisionName":%q,"percent":%d,"tag":"pin"}]`, 100-p, r, p)
				apply()
			case 5:
				meta = `,"annotations":{"serving.knative.dev/rollout-duration":"60s"}`
				apply()
			case 6: // the next revision fails, or what failed comes up
				if failed = !failed; failed {
					for i := range 40 {
						w.verdicts[fmt.Sprintf("hello-%05d", image+1+i)] = api.Condition{Status: api.False, Message: "exited with status 1"}
					}
				} else {
					clear(w.verdicts)
				}
			case 7, 8:
				if rs := revisions(); len(rs) > 0 {
					w.delete(key(Revisions, "shop", rs[rapid.IntRange(0, len(rs)-1).Draw(rt, "deleted")]))
				}
			case 9:
				for _, k := range []string{Configurations, Routes, api.Routes, CoreServices}[rapid.IntRange(0, 3).Draw(rt, "child"):] {
					name := "hello"
					if k == api.Routes {
						name = nativeRoute(name)
					}
					w.delete(key(k, "shop", name))
					break
				}
			case 10:
				w.wait(time.Duration(rapid.IntRange(1, 90*60).Draw(rt, "seconds")) * time.Second)
			case 11:
				template = map[bool]string{true: fmt.Sprintf(`"name":"hello-own%d"`, image), false: ""}[template == ""]
				apply()
			}
			w.settle()
			sound(rt, w)
		}
		writes := w.writes
		w.settle()
		if w.writes != writes {
			rt.Fatal("a settled world is written to")
		}
	})
}

// sound checks what must hold in every settled world.
func sound(t *rapid.T, w *world) {
	rt, nr := read[Route](w, Routes, "hello"), read[api.Route](w, api.Routes, "hello.knative")
	if rt == nil {
		t.Fatal("there is no Route")
	}
	assigned, _ := rt.Status.Conditions.Get(ConditionAssigned)
	if assigned.Status == api.True && nr == nil {
		t.Fatal("all traffic is assigned, and there is no native route")
	}
	if nr == nil {
		return
	}
	sum, shown, real := 0, []string{}, []string{}
	for _, x := range rt.Status.Traffic {
		sum += int(*x.Percent)
		shown = append(shown, fmt.Sprint(x.RevisionName, x.Tag, *x.Percent))
	}
	for _, x := range nr.Spec.Targets {
		real = append(real, fmt.Sprint(x.Revision, x.Tag, *x.Weight))
		if assigned.Status != api.True {
			continue // what was assigned before stays, whatever became of it
		}
		if r := read[Revision](w, Revisions, x.Revision); r == nil {
			t.Fatalf("requests go to %s, which is gone", x.Revision)
		}
	}
	slices.Sort(shown)
	slices.Sort(real)
	if assigned.Status == api.True && (sum != 100 || strings.Join(shown, ",") != strings.Join(real, ",")) {
		t.Fatalf("the status says %v (%d %%), the gateway has %v", shown, sum, real)
	}
	svc := read[Service](w, Services, "hello")
	if svc.Status.Conditions.Ready() {
		rev := read[Revision](w, Revisions, svc.Status.LatestReadyRevisionName)
		if rev == nil || !rev.Status.Conditions.Ready() || svc.Status.LatestReadyRevisionName != svc.Status.LatestCreatedRevisionName {
			t.Fatalf("ready with %+v", svc.Status)
		}
	}
}
