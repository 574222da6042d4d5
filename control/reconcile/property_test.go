package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/memory"
)

// TestWhateverHappens does things in any order, with restarts in between, and
// holds after each that has come to rest what users are promised.
func TestWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ops := rapid.SliceOfN(rapid.SampledFrom([]string{
			"v1", "v2", "v3", "build-fails", "load-fails", "slow v4", "slow build-fails", "delete newest", "delete oldest", "rebuild", "restart", "wait", "crowd",
		}), 1, 14).Draw(rt, "ops")
		why := ""
		synctest.Test(t, func(t *testing.T) { why = whatever(t, ops) })
		if why != "" {
			rt.Fatalf("%v: %s", ops, why)
		}
	})
}

func whatever(t *testing.T, ops []string) string {
	w := &world{t: t, st: memory.NewStore(), blobs: memory.NewBlobs()}
	var stop func()
	start := func() {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			New(Config{Store: w.st, Build: w.build, Check: w.check, Blobs: w.blobs}).Run(ctx)
			close(ended)
		}()
		stop = func() { cancel(); <-ended }
	}
	start()
	defer func() { stop() }()
	w.source("f", "v0")
	highest := int64(0)
	for _, op := range ops {
		switch op {
		case "delete newest", "delete oldest":
			if names := w.revisions(); len(names) > 0 {
				name := names[0]
				if op == "delete newest" {
					name = w.function("f").Status.LatestReadyRevision
				}
				if rec, err := w.st.Get(t.Context(), revisionKey("shop", name)); err == nil {
					w.delete(rec.Key)
				}
			}
		case "rebuild":
			w.apply("f", func(f *api.Function) {
				f.Metadata.Annotations = map[string]string{api.AnnotationRebuild: time.Now().String()}
				f.Metadata.Generation-- // an annotation is not the spec
			})
		case "restart":
			stop()
			start()
		case "wait":
			time.Sleep(10 * time.Second)
		case "crowd": // nothing but traffic in the store
			for i := range 3 {
				w.write(store.Key{Resource: api.Secrets, Namespace: "shop", Name: fmt.Sprintf("s%d-%d", i, time.Now().UnixNano())}, &api.Secret{}, store.New)
				time.Sleep(time.Nanosecond)
			}
		case "load-fails":
			w.apply("f", func(f *api.Function) {
				f.Spec.Source.Inline, f.Spec.Env = "v1", []api.EnvVar{{Name: "BREAK", Value: "1"}}
			})
		default:
			w.source("f", op)
		}
		synctest.Wait()
		if why := holds(w, &highest); why != "" {
			return "after " + op + ": " + why
		}
	}
	time.Sleep(3 * time.Minute) // builds end
	synctest.Wait()
	f := w.function("f")
	built, _ := f.Status.Conditions.Get(api.ConditionBuilt)
	updated, _ := f.Status.Conditions.Get(api.ConditionUpdated)
	if built.Status == api.Unknown || updated.Status == api.Unknown || f.Status.ObservedGeneration != f.Metadata.Generation {
		return "does not come to rest: " + conditions(f.Status.Conditions)
	}
	w.source("f", "v-last")
	if f = w.function("f"); conditions(f.Status.Conditions) != allWell {
		return "a good source does not serve: " + conditions(f.Status.Conditions)
	}
	return holds(w, &highest)
}

// holds says which promise is broken.
func holds(w *world, highest *int64) string {
	f := w.function("f")
	s := f.Status
	ready, _ := s.Conditions.Get(api.ConditionReady)
	updated, _ := s.Conditions.Get(api.ConditionUpdated)
	if (ready.Status == api.True) != (s.LatestReadyRevision != "") {
		return fmt.Sprintf("Ready is %s with revision %q", ready.Status, s.LatestReadyRevision)
	}
	if s.RevisionCount < *highest {
		return "the number of revisions went back"
	}
	*highest = s.RevisionCount
	rev := get[api.Revision](w, revisionKey("shop", s.LatestReadyRevision))
	if s.LatestReadyRevision != "" && rev == nil {
		return "the revision that serves is gone: " + s.LatestReadyRevision
	}
	if rev != nil && !rev.Status.Conditions.Ready() {
		return rev.Metadata.Name + " serves and does not load"
	}
	if updated.Status == api.True && rev == nil {
		return "nothing serves, and Updated is True"
	}
	if updated.Status == api.True && updated.ObservedGeneration == f.Metadata.Generation {
		if want := w.put("artifact of " + f.Spec.Source.Inline); rev.Spec.Artifact != want {
			return "serves another source than the newest"
		}
	}
	l, err := w.st.List(w.t.Context(), store.Query{Resource: api.Revisions})
	if err != nil {
		return err.Error()
	}
	numbers := map[int64]bool{}
	for _, rec := range l.Records {
		var r api.Revision
		if err := json.Unmarshal(rec.Value, &r); err != nil {
			return err.Error()
		}
		if numbers[r.Spec.Number] || r.Spec.Number > s.RevisionCount && updated.Status != api.Unknown {
			return fmt.Sprintf("revision number %d of %d", r.Spec.Number, s.RevisionCount)
		}
		numbers[r.Spec.Number] = true
		if r.Status.Conditions.Ready() && rev == nil {
			return r.Metadata.Name + " could serve, and nothing does"
		}
	}
	return ""
}
