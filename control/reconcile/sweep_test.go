package reconcile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/store"
)

func TestRevisionsArePruned(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.apply("hello", func(f *api.Function) {
			f.Spec.Source.Inline, f.Spec.Revisions = "v1", &api.Retention{Keep: 2, MaxAge: &api.Duration{Duration: 48 * time.Hour}}
		})
		w.write(store.Key{Resource: api.Routes, Namespace: "shop", Name: "old"}, &api.Route{Spec: api.RouteSpec{Path: "/", Targets: []api.RouteTarget{{Revision: "hello-2"}}}}, store.New)
		synctest.Wait()
		for n := 2; n <= 6; n++ {
			w.source("hello", fmt.Sprintf("v%d", n))
		}
		if got := w.revisions(); !slices.Equal(got, []string{"hello-2", "hello-4", "hello-5", "hello-6"}) {
			t.Errorf("kept %v; want the one that serves, two more, and what a route names", got)
		}
		if !slices.Equal(w.seen(&w.retired), []string{"hello-1", "hello-3"}) {
			t.Errorf("retired %v", w.seen(&w.retired))
		}
		time.Sleep(49 * time.Hour)
		synctest.Wait()
		if got := w.revisions(); !slices.Equal(got, []string{"hello-2", "hello-6"}) {
			t.Errorf("after two days kept %v", got)
		}
		w.source("hello", "v7")
		if f := w.function("hello"); f.Status.LatestReadyRevision != "hello-7" {
			t.Errorf("serves %s", f.Status.LatestReadyRevision)
		}
	})
}

func TestUnusedBlobsGo(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		there := func(d string) bool {
			r, _, err := w.blobs.Open(w.t.Context(), blob.Digest(d))
			if err == nil {
				r.Close()
			}
			return err == nil
		}
		unused, kept, source := w.put("unused"), w.put("dependencies"), w.put("source")
		w.kept = []string{kept}
		w.source("hello", "v1")
		w.apply("packed", func(f *api.Function) { f.Spec.Source.Archive = &api.Archive{Blob: source} })
		f := w.function("hello")
		used := []string{kept, source, f.Status.Build.Artifact, f.Status.Build.Log}
		time.Sleep(50 * time.Minute)
		if !there(unused) {
			t.Error("gone before the grace was over")
		}
		time.Sleep(time.Hour)
		if there(unused) {
			t.Error("an unused blob is still there")
		}
		for _, d := range used {
			if !there(d) {
				t.Errorf("%s was in use", d)
			}
		}
		if !slices.Equal(w.seen(&w.forgot), []string{unused}) {
			t.Errorf("forgot %v", w.seen(&w.forgot))
		}
		w.delete(functionKey("shop", "hello"))
		w.delete(revisionKey("shop", "hello-1"))
		time.Sleep(2 * time.Hour)
		if there(f.Status.Build.Artifact) || there(f.Status.Build.Log) {
			t.Error("what a deleted function left is still there")
		}
	})
}

func TestNothingIsSweptWhenAnObjectIsDamaged(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		d := w.put("of the damaged one")
		if _, err := w.st.Apply(w.t.Context(), functionKey("shop", "bad"), []byte(`{"spec":`), store.New); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		if _, _, err := w.blobs.Open(w.t.Context(), blob.Digest(d)); err != nil {
			t.Error("swept although what is in use is unknown")
		}
	})
}

func TestOldEventsGo(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.source("hello", "v1")
		time.Sleep(23 * time.Hour)
		if w.events("hello") == "" {
			t.Error("gone too soon")
		}
		time.Sleep(2 * time.Hour)
		if es := w.events("hello"); es != "" {
			t.Errorf("still there: %s", es)
		}
	})
}

func route(host, path, function string, created time.Time) *api.Route {
	return &api.Route{Metadata: api.Meta{Generation: 1, CreationTimestamp: api.NewTime(created)}, Spec: api.RouteSpec{
		Host: host, Path: path, Targets: []api.RouteTarget{{Function: function}},
	}}
}

func TestRoutes(t *testing.T) {
	inWorld(t, func(w *world, c *Config) {
		c.RouteURL = func(r *api.Route) string { return "http://" + r.Spec.Host + r.Spec.Path }
	}, func(w *world) {
		key := func(ns, name string) store.Key {
			return store.Key{Resource: api.Routes, Namespace: ns, Name: name}
		}
		want := func(ns, name, conds string) *api.Route {
			t.Helper()
			synctest.Wait()
			r := get[api.Route](w, key(ns, name))
			if got := conditions(r.Status.Conditions); got != conds {
				t.Errorf("%s: %s, want %s", name, got, conds)
			}
			return r
		}
		now := time.Now()
		w.write(key("shop", "first"), route("a.example", "/x/{id}", "hello", now), store.New)
		want("shop", "first", "Ready=False:TargetMissing Admitted=True:Admitted")
		w.source("hello", "build-fails")
		want("shop", "first", "Ready=False:TargetNotReady Admitted=True:Admitted")
		w.source("hello", "v1")
		r := want("shop", "first", "Ready=True:Serving Admitted=True:Admitted")
		if r.Status.URL != "http://a.example/x/{id}" || r.Status.ObservedGeneration != 1 {
			t.Errorf("status %+v", r.Status)
		}
		w.write(key("shop", "second"), route("A.example", "/x/{other}", "hello", now.Add(time.Minute)), store.New)
		r = want("shop", "second", "Ready=False:Conflict Admitted=False:Conflict")
		if c, _ := r.Status.Conditions.Get(api.ConditionAdmitted); !strings.Contains(c.Message, "first") || c.Hint == "" {
			t.Errorf("%+v", c)
		}
		w.write(key("rival", "third"), route("a.example", "/x/{id}", "hello", now.Add(time.Hour)), store.New)
		r = want("rival", "third", "Ready=False:Conflict Admitted=False:Conflict")
		if c, _ := r.Status.Conditions.Get(api.ConditionAdmitted); strings.Contains(c.Message, "first") {
			t.Errorf("another tenant's object is named: %s", c.Message)
		}
		w.delete(key("shop", "first"))
		want("shop", "second", "Ready=True:Serving Admitted=True:Admitted")
		want("rival", "third", "Ready=False:Conflict Admitted=False:Conflict")
		w.delete(functionKey("shop", "hello"))
		want("shop", "second", "Ready=False:TargetMissing Admitted=True:Admitted")
	})
}
