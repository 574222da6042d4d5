package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store with a reconciler, and a builder and an engine that do what
// the source says: "build-fails", "load-fails", "slow".
type world struct {
	t     *testing.T
	st    store.Store
	blobs blob.Store

	mu       sync.Mutex
	builds   []string
	canceled int
	checks   []string
	retired  []string
	forgot   []string
	kept     []string
	refs     error
	load     error // what loading anything comes to

	restart func() // the reconciler
}

// inWorld runs a test in virtual time with a running reconciler.
func inWorld(t *testing.T, change func(*world, *Config), test func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, st: memory.NewStore(), blobs: memory.NewBlobs()}
		cfg := Config{
			Store: w.st, Build: w.build, Check: w.check, Blobs: w.blobs, References: w.references,
			URL:    func(ns, name string) string { return "http://" + name + "." + ns },
			Retire: func(r *api.Revision) { w.note(&w.retired, r.Metadata.Name) },
			Forget: func(_ context.Context, d string) error { w.note(&w.forgot, d); return nil },
			Kept:   func(context.Context) ([]string, error) { return w.kept, nil },
		}
		if change != nil {
			change(w, &cfg)
		}
		var stop func()
		start := func() {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { New(cfg).Run(ctx); close(ended) }()
			stop = func() { cancel(); <-ended }
		}
		w.restart = func() { stop(); start(); synctest.Wait() }
		start()
		defer func() { stop() }()
		test(w)
	})
}

func (w *world) note(list *[]string, s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, s)
}

// seen is a copy of what was noted so far.
func (w *world) seen(list *[]string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(*list)
}

func (w *world) stopped() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.canceled
}

func (w *world) references(context.Context, *api.Function) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.refs
}

func (w *world) build(ctx context.Context, r BuildRequest) (Built, error) {
	src := r.Function.Spec.Source.Inline
	w.note(&w.builds, src)
	if strings.Contains(src, "slow") {
		select {
		case <-time.After(time.Minute):
		case <-ctx.Done():
			w.mu.Lock()
			w.canceled++
			w.mu.Unlock()
			return Built{}, ctx.Err()
		}
	}
	log := w.put("log of " + src)
	switch {
	case strings.Contains(src, "build-fails"):
		return Built{Source: "s", Log: log}, &api.Error{Code: api.CodeBuildFailed, Message: "hello.js:1:1: unexpected", Detail: "1 │ x"}
	case strings.Contains(src, "unreachable"):
		return Built{}, api.Errorf(api.CodeUnreachable, "no answer")
	}
	return Built{Artifact: w.put("artifact of " + src), Source: "s", Log: log, Runtime: "node", Duration: time.Second}, nil
}

func (w *world) put(text string) string {
	i, err := w.blobs.Put(context.Background(), strings.NewReader(text))
	if err != nil {
		w.t.Error(err)
	}
	return string(i.Digest)
}

func (w *world) check(ctx context.Context, r *api.Revision) error {
	w.note(&w.checks, r.Metadata.Name)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.load != nil {
		return w.load
	}
	for _, e := range r.Spec.Env {
		if e.Name == "BREAK" {
			return &api.Error{Code: api.CodeLoadFailed, Message: "hello.js does not load: Error: no", Detail: "Error: no\n    at hello.js:1:7"}
		}
	}
	return nil
}

// apply writes a function as the API server does: a changed spec is a new
// generation.
func (w *world) apply(name string, change func(*api.Function)) {
	w.t.Helper()
	k := functionKey("shop", name)
	f := &api.Function{Metadata: api.Meta{Name: name, Namespace: "shop", UID: "uid-" + name}}
	expect := store.New
	rec, err := w.st.Get(w.t.Context(), k)
	if err == nil {
		expect = rec.Revision
		if err := json.Unmarshal(rec.Value, f); err != nil {
			w.t.Fatal(err)
		}
	}
	change(f)
	f.Metadata.Generation++
	w.write(k, f, expect)
	synctest.Wait()
}

func (w *world) source(name, text string) {
	w.t.Helper()
	w.apply(name, func(f *api.Function) { f.Spec.Source.Inline, f.Spec.Env = text, nil })
}

func (w *world) write(k store.Key, obj any, expect int64) {
	w.t.Helper()
	value, err := json.Marshal(obj)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.st.Apply(w.t.Context(), k, value, expect); err != nil {
		w.t.Fatal(err)
	}
}

func get[T any](w *world, k store.Key) *T {
	w.t.Helper()
	o, err := read[T](w.t.Context(), w.st, k)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) function(name string) *api.Function {
	w.t.Helper()
	return get[api.Function](w, functionKey("shop", name))
}

func (w *world) revisions() (names []string) {
	w.t.Helper()
	l, err := w.st.List(w.t.Context(), store.Query{Resource: api.Revisions})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range l.Records {
		names = append(names, r.Key.Name)
	}
	return names
}

func (w *world) delete(k store.Key) {
	w.t.Helper()
	rec, err := w.st.Get(w.t.Context(), k)
	if err == nil {
		_, err = w.st.Delete(w.t.Context(), k, rec.Revision)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// conditions is Ready/Updated/Built as STATUS:Reason.
func conditions(cs api.Conditions) string {
	var out []string
	for _, t := range []string{api.ConditionReady, api.ConditionUpdated, api.ConditionBuilt, api.ConditionAdmitted} {
		if c, ok := cs.Get(t); ok {
			out = append(out, t+"="+c.Status+":"+c.Reason)
		}
	}
	return strings.Join(out, " ")
}

func (w *world) want(name, conds, serving string) *api.Function {
	w.t.Helper()
	f := w.function(name)
	if got := conditions(f.Status.Conditions); got != conds || f.Status.LatestReadyRevision != serving {
		w.t.Errorf("%s serves %q with %s\nwant %q with %s", name, f.Status.LatestReadyRevision, got, serving, conds)
	}
	return f
}

const allWell = "Ready=True:Serving Updated=True:Serving Built=True:Built"

func TestFunctionServes(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.apply("hello", func(f *api.Function) {
			f.Spec = api.FunctionSpec{Source: api.Source{Inline: "v1"}, Runtime: "node"}
			f.Metadata.Labels = map[string]string{"team": "a"}
		})
		f := w.want("hello", allWell, "hello-1")
		if f.Status.URL != "http://hello.shop" || f.Status.ObservedGeneration != 1 || f.Status.RevisionCount != 1 || f.Status.Build.Phase != "Succeeded" || f.Status.Build.Duration.Text() != "1s" {
			t.Errorf("status %+v", f.Status)
		}
		r := get[api.Revision](w, revisionKey("shop", "hello-1"))
		o := r.Metadata.OwnerReferences
		if len(o) != 1 || o[0].UID != "uid-hello" || o[0].Kind != "Function" || !o[0].Controller || r.Metadata.UID == "" {
			t.Errorf("metadata %+v", r.Metadata)
		}
		if l := r.Metadata.Labels; l[api.LabelFunction] != "hello" || l[api.LabelRevision] != "1" || l["team"] != "a" {
			t.Errorf("labels %v", l)
		}
		s := r.Spec
		if s.Number != 1 || s.Timeout.Duration != api.DefaultTimeout || s.Concurrency != 1 || s.Scale.Max != 100 || s.BodyLimit != api.DefaultBodyLimit || s.Limits.Memory != "256Mi" || s.SpecHash == "" {
			t.Errorf("spec %+v", s)
		}
		if !r.Status.Conditions.Ready() {
			t.Error("the revision is not ready")
		}
		if es := w.events("hello"); es != "Normal Built x1, Normal RevisionReady x1" {
			t.Errorf("events %s", es)
		}
	})
}

// events lists the events of a function in order of reason.
func (w *world) events(name string) string {
	w.t.Helper()
	l, err := w.st.List(w.t.Context(), store.Query{Resource: api.Events})
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]int{}
	for _, rec := range l.Records {
		var e api.Event
		if err := json.Unmarshal(rec.Value, &e); err != nil {
			w.t.Fatal(err)
		}
		if e.InvolvedObject.Name == name {
			found[e.Type+" "+e.Reason] += e.Count
		}
	}
	var out []string
	for _, k := range []string{"Normal Built", "Normal RevisionReady", "Warning BuildFailed", "Warning LoadFailed", "Warning MissingReference", "Warning SourceUnavailable", "Normal RolloutStep", "Normal RolledOut", "Warning RolledBack"} {
		if found[k] > 0 {
			out = append(out, fmt.Sprintf("%s x%d", k, found[k]))
		}
	}
	return strings.Join(out, ", ")
}

func TestLastGoodKeepsServing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.source("hello", "build-fails v0")
		f := w.want("hello", "Ready=False:BuildFailed Updated=False:BuildFailed Built=False:BuildFailed", "")
		if f.Status.Build.Message != "hello.js:1:1: unexpected\n1 │ x" || f.Status.Build.Log == "" {
			t.Errorf("build %+v", f.Status.Build)
		}
		w.source("hello", "v1")
		w.want("hello", allWell, "hello-1")

		w.source("hello", "build-fails v2")
		f = w.want("hello", "Ready=True:ServingPrevious Updated=False:BuildFailed Built=False:BuildFailed", "hello-1")
		ready, _ := f.Status.Conditions.Get(api.ConditionReady)
		if ready.ObservedGeneration != 2 || f.Status.ObservedGeneration != 3 || !strings.Contains(ready.Message, "hello@1 keeps serving") {
			t.Errorf("a waiting kubectl would take this for the newest spec: %+v", ready)
		}
		before := len(w.seen(&w.builds))
		time.Sleep(time.Hour)
		if len(w.seen(&w.builds)) != before {
			t.Error("a source that cannot be built was built again")
		}

		w.apply("hello", func(f *api.Function) {
			f.Spec.Source.Inline, f.Spec.Env = "v3", []api.EnvVar{{Name: "BREAK", Value: "1"}}
		})
		f = w.want("hello", "Ready=True:ServingPrevious Updated=False:LoadFailed Built=True:Built", "hello-1")
		updated, _ := f.Status.Conditions.Get(api.ConditionUpdated)
		if !strings.Contains(updated.Message, "at hello.js:1:7") || f.Status.LatestRevision != "hello-2" {
			t.Errorf("no traceback: %+v", updated)
		}
		if r := get[api.Revision](w, revisionKey("shop", "hello-2")); conditions(r.Status.Conditions) != "Ready=False:LoadFailed" {
			t.Errorf("revision %+v", r.Status)
		}
		w.source("hello", "v4")
		w.want("hello", allWell, "hello-3")
	})
}

func TestRollbackReusesRevision(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.source("hello", "v1")
		w.source("hello", "v2")
		w.source("hello", "v1")
		f := w.want("hello", allWell, "hello-1")
		if got := w.revisions(); len(got) != 2 || f.Status.RevisionCount != 2 || len(w.seen(&w.checks)) != 2 {
			t.Errorf("revisions %v, count %d, checks %v", got, f.Status.RevisionCount, w.seen(&w.checks))
		}
		w.apply("hello", func(f *api.Function) { f.Metadata.Annotations = map[string]string{api.AnnotationRebuild: "1"} })
		w.want("hello", allWell, "hello-1")
		if len(w.seen(&w.builds)) != 4 {
			t.Errorf("%d builds; a changed annotation builds", len(w.seen(&w.builds)))
		}
	})
}

func TestNumbersAreNeverReused(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.source("hello", "v1")
		w.source("hello", "v2")
		w.delete(revisionKey("shop", "hello-2")) // it serves: made anew under another number
		w.want("hello", allWell, "hello-3")
		w.delete(functionKey("shop", "hello")) // its revisions are still there
		w.apply("hello", func(f *api.Function) { f.Spec.Source.Inline, f.Metadata.UID = "v1", "another" })
		f := w.want("hello", allWell, "hello-4")
		if f.Status.RevisionCount != 4 {
			t.Errorf("count %d", f.Status.RevisionCount)
		}
	})
}

func TestNewerSpecCancelsBuild(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.source("hello", "slow v1")
		w.want("hello", "Ready=Unknown:Building Updated=Unknown:Building Built=Unknown:Building", "")
		w.source("hello", "slow v2")
		w.source("hello", "v3")
		w.want("hello", allWell, "hello-1")
		if w.stopped() != 2 || len(w.seen(&w.builds)) != 3 {
			t.Errorf("%d builds canceled of %v", w.stopped(), w.seen(&w.builds))
		}
		w.source("hello", "slow v4")
		w.want("hello", "Ready=True:Serving Updated=Unknown:Building Built=Unknown:Building", "hello-1")
		w.delete(functionKey("shop", "hello"))
		if w.stopped() != 3 {
			t.Error("the build of a deleted function went on")
		}
	})
}

func TestMissingReferenceIsAwaited(t *testing.T) {
	inWorld(t, func(w *world, _ *Config) {
		w.refs = api.Errorf(api.CodeStartFailed, `Secret "db" is not there`).WithHint("kubectl create secret generic db")
	}, func(w *world) {
		w.source("hello", "v1")
		f := w.want("hello", "Ready=False:MissingReference Updated=False:MissingReference Built=Unknown:MissingReference", "")
		if c, _ := f.Status.Conditions.Get(api.ConditionReady); c.Hint != "kubectl create secret generic db" {
			t.Errorf("hint %q", c.Hint)
		}
		w.mu.Lock()
		w.refs = nil
		w.mu.Unlock()
		w.write(store.Key{Resource: api.Secrets, Namespace: "shop", Name: "db"}, &api.Secret{}, store.New)
		synctest.Wait()
		w.want("hello", allWell, "hello-1")
	})
}

func TestLoadIsRetried(t *testing.T) {
	inWorld(t, func(w *world, _ *Config) {
		w.load = &api.Error{Code: api.CodeLoadFailed, Message: "no database"}
	}, func(w *world) {
		start := time.Now()
		w.source("hello", "v1")
		w.want("hello", "Ready=False:LoadFailed Updated=False:LoadFailed Built=True:Built", "")
		rec, _ := w.st.Get(w.t.Context(), functionKey("shop", "hello"))
		time.Sleep(time.Hour)
		n := len(w.seen(&w.checks))
		if n < 8 || n > 20 {
			t.Errorf("%d tries in an hour", n)
		}
		if now, _ := w.st.Get(w.t.Context(), functionKey("shop", "hello")); now.Revision != rec.Revision {
			t.Error("a try with the same outcome wrote the status again")
		}
		if es := w.events("hello"); es != fmt.Sprintf("Normal Built x1, Warning LoadFailed x%d", n) {
			t.Errorf("events %s", es)
		}
		w.mu.Lock()
		w.load = nil
		w.mu.Unlock()
		time.Sleep(11 * time.Minute)
		w.want("hello", allWell, "hello-1")
		if time.Since(start) < time.Hour {
			t.Error("virtual time did not pass")
		}
	})
}

func TestUnreachableSourceIsRetried(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.source("hello", "unreachable")
		w.want("hello", "Ready=False:SourceUnavailable Updated=False:SourceUnavailable Built=False:SourceUnavailable", "")
		time.Sleep(time.Minute)
		if n := len(w.seen(&w.builds)); n < 3 {
			t.Errorf("%d tries", n)
		}
	})
}

func TestRestartChangesNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.source("hello", "v1")
		before, err := w.st.List(w.t.Context(), store.Query{Resource: api.Secrets})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(w.t.Context())
		ended := make(chan struct{})
		go func() { New(Config{Store: w.st, Build: w.build, Check: w.check}).Run(ctx); close(ended) }()
		synctest.Wait()
		cancel()
		<-ended
		after, _ := w.st.List(w.t.Context(), store.Query{Resource: api.Secrets})
		if before.Revision != after.Revision || len(w.seen(&w.builds)) != 1 {
			t.Errorf("a second reconciler wrote %d times and built %d times", after.Revision-before.Revision, len(w.seen(&w.builds))-1)
		}
	})
}

func TestCommandLineOfTheSource(t *testing.T) {
	f := &api.Function{Metadata: api.Meta{Name: "f"}}
	for handler, want := range map[string]string{"gunicorn app:app -b :$PORT": "/bin/sh|-c|exec gunicorn app:app -b :$PORT", "./serve": ""} {
		s := revisionSpec(f, Built{Runtime: api.RuntimeCommand, Handler: handler})
		if got := strings.Join(s.Command, "|"); got != want || want == "" && s.Handler != handler {
			t.Errorf("%s: command %q, handler %q", handler, got, s.Handler)
		}
	}
}

func TestStatusKeepsTheRest(t *testing.T) {
	value := []byte(`{"spec":{"source":{"inline":"x"},"unknown":{"a":[1,2]}},"metadata":{"name":"f","managedFields":[{"fieldsV1":{"f:spec":{}}}]},"extra":1}`)
	got, err := newStatus(value, func(f *api.Function) *api.FunctionStatus { return &f.Status }, func(f *api.Function) bool { f.Status.URL = "u"; return true })
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{`"unknown":{"a":[1,2]}`, `"extra":1`, `"managedFields":[{"fieldsV1":{"f:spec":{}}}]`, `"status":{"url":"u"}`} {
		if !strings.Contains(string(got), s) {
			t.Errorf("%s lost in %s", s, got)
		}
	}
	if same, err := newStatus(got, func(f *api.Function) *api.FunctionStatus { return &f.Status }, func(f *api.Function) bool { return true }); same != nil || err != nil {
		t.Errorf("an unchanged status was written: %s, %v", same, err)
	}
}

func TestIsolatedSaysWhatIsMissing(t *testing.T) {
	inWorld(t, func(w *world, c *Config) {
		c.Findings = func() []engine.Finding {
			return []engine.Finding{{Check: "cgroup memory", OK: true}, {Check: "landlock", Detail: "not in this kernel"}}
		}
	}, func(w *world) {
		w.source("hello", "v1")
		c, _ := w.function("hello").Status.Conditions.Get(api.ConditionIsolated)
		if c.Status != api.False || c.Message != "landlock: not in this kernel" || c.Hint == "" {
			t.Errorf("%+v", c)
		}
	})
}
