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

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/memory"
)

const (
	widgets = "widgets.test"
	gadgets = "gadgets.test"
)

// widget is an object of a dialect small enough to see through: it becomes the
// native revision NAME-1 of an image, and needs the gadget of its name.
type widget struct {
	Metadata api.Meta `json:"metadata"`
	Spec     struct {
		Image string        `json:"image,omitempty"`
		Again time.Duration `json:"again,omitempty"`
	} `json:"spec"`
	Status widgetStatus `json:"status,omitzero"`
	More   string       `json:"more,omitempty"` // nothing of the dialect's
}

type widgetStatus struct {
	Ready  string `json:"ready,omitempty"`
	Why    string `json:"why,omitempty"`
	Gadget bool   `json:"gadget,omitempty"`
	Count  int    `json:"count,omitempty"`
}

// toy is that dialect.
type toy struct {
	mu    sync.Mutex
	steps []string
	seeds []store.Record
}

func (*toy) Kinds() []string           { return []string{widgets} }
func (*toy) Reads() []string           { return []string{gadgets, api.Revisions} }
func (*toy) Global(k store.Key) bool   { return k.Resource == gadgets && k.Name == "all" }
func (d *toy) Seeds() []store.Record   { return d.seeds }
func (*toy) native(k store.Key) string { return k.Name + "-1" }

func (*toy) Needs(r store.Record) []store.Key {
	if r.Key.Resource != widgets {
		return nil
	}
	return []store.Key{{Resource: gadgets, Namespace: r.Key.Namespace, Name: r.Key.Name}}
}

func (*toy) Touches(r store.Record) []store.Key {
	if r.Key.Resource != api.Revisions {
		return nil
	}
	return []store.Key{{Resource: widgets, Namespace: r.Key.Namespace, Name: strings.TrimSuffix(r.Key.Name, "-1")}}
}

func (d *toy) Step(v View, k store.Key, now time.Time) (out Outcome) {
	d.mu.Lock()
	d.steps = append(d.steps, k.Name)
	d.mu.Unlock()
	r, _ := v.Get(k)
	var o widget
	if err := json.Unmarshal(r.Value, &o); err != nil {
		panic(err)
	}
	native := revisionKey(k.Namespace, d.native(k))
	_, o.Status.Gadget = v.Get(d.Needs(r)[0])
	o.Status.Count, _ = v.Replicas(k.Namespace, native.Name)
	if n, there := v.Get(native); there {
		c, _ := nativeRevision(n).Status.Conditions.Get(api.ConditionReady)
		o.Status.Ready, o.Status.Why = c.Status, c.Message
	} else {
		images, err, known := v.Images(o.Metadata.UID)
		switch {
		case err != nil:
			o.Status.Why = err.Error()
			fallthrough
		case !known:
			out.Resolve = &api.Revision{Metadata: o.Metadata, Spec: api.RevisionSpec{Containers: []api.Container{{Image: o.Spec.Image}}}}
		default:
			o.Status.Why = ""
			out.Put = append(out.Put, store.Record{Key: native, Value: raw(api.Revision{
				Metadata: api.Meta{Name: native.Name, Namespace: native.Namespace, OwnerReferences: []api.OwnerReference{{UID: o.Metadata.UID, Controller: true}}},
				Spec:     api.RevisionSpec{Function: k.Name, Owner: "Widget/" + k.Name, Containers: []api.Container{{Image: images[o.Spec.Image]}}, StartTimeout: api.Seconds(60)},
			})})
			out.Events = []api.Event{{InvolvedObject: api.ObjectReference{Kind: "Widget", Namespace: k.Namespace, Name: k.Name, UID: o.Metadata.UID}, Type: "Normal", Reason: "Made", Message: native.Name}}
		}
	}
	out.Put = append(out.Put, store.Record{Key: k, Revision: r.Revision, Value: raw(o)})
	out.Again = o.Spec.Again
	return out
}

func (d *toy) count(name string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.steps {
		if s == name {
			n++
		}
	}
	return n
}

// foreignWorld is a store with a Foreign, and an engine and a registry that do
// what the image's name says.
type foreignWorld struct {
	*world
	d *toy
	f *Foreign

	failing  string // what starting comes to; "": it starts
	registry error
	count    int
}

func inForeignWorld(t *testing.T, test func(w *foreignWorld)) {
	synctest.Test(t, func(t *testing.T) {
		w := &foreignWorld{world: &world{t: t, st: memory.NewStore()}, d: &toy{}}
		test(w)
	})
}

// run runs a Foreign until what it returns is called.
func (w *foreignWorld) run() (stop func()) {
	w.f = NewForeign(ForeignConfig{
		Store: w.st, Dialect: w.d, Check: w.start,
		Resolve: func(_ context.Context, r *api.Revision, _ time.Duration) (map[string]string, error) {
			image := r.Spec.Containers[0].Image
			w.note(&w.builds, image)
			w.mu.Lock()
			defer w.mu.Unlock()
			return map[string]string{image: image + "@sha256:1"}, w.registry
		},
		Replicas: func(_, _ string) (int, int) { w.mu.Lock(); defer w.mu.Unlock(); return w.count, w.count },
		Retire:   func(r *api.Revision) { w.note(&w.retired, r.Metadata.Name) },
	})
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	go func() { w.f.Run(ctx); close(ended) }()
	synctest.Wait()
	return func() { cancel(); <-ended }
}

func (w *foreignWorld) start(ctx context.Context, r *api.Revision) error {
	w.note(&w.checks, r.Spec.Containers[0].Image)
	w.mu.Lock()
	how := w.failing
	w.mu.Unlock()
	switch how {
	case "":
		return nil
	case "pull":
		return pull(ctx, 25)
	case "never":
		<-ctx.Done()
		w.note(&w.forgot, r.Metadata.Name)
		return ctx.Err()
	}
	return &api.Error{Code: api.CodeStartFailed, Message: how, Detail: "last words"}
}

func (w *foreignWorld) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func widgetKey(name string) store.Key {
	return store.Key{Resource: widgets, Namespace: "shop", Name: name}
}

func (w *foreignWorld) widget(name string) *widget { return get[widget](w.world, widgetKey(name)) }

func (w *foreignWorld) make(name, image string, again time.Duration) {
	o := widget{Metadata: api.Meta{Name: name, Namespace: "shop", UID: "uid-" + name, Generation: 1}, More: "kept"}
	o.Spec.Image, o.Spec.Again = image, again
	w.write(widgetKey(name), o, store.New)
	synctest.Wait()
}

// TestSeeds: they are made once, and nothing that is there is written over.
func TestSeeds(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		at := func(name string) store.Key { return store.Key{Resource: api.ConfigMaps, Namespace: "shop", Name: name} }
		value := []byte(`{"metadata":{"name":"x"},"data":{"a":"seed"}}`)
		w.d.seeds = []store.Record{{Key: at("first"), Value: value}, {Key: at("kept"), Value: value}, {Key: at("last"), Value: value}}
		w.write(at("kept"), map[string]any{"metadata": map[string]any{}, "data": map[string]string{"a": "mine"}}, store.New)
		w.run()()
		first, kept, last := get[api.ConfigMap](w.world, at("first")), get[api.ConfigMap](w.world, at("kept")), get[api.ConfigMap](w.world, at("last"))
		if first.Data["a"] != "seed" || first.Metadata.UID == "" || first.Metadata.CreationTimestamp == nil || kept.Data["a"] != "mine" || last.Data["a"] != "seed" {
			t.Errorf("%+v %+v %+v", first, kept, last)
		}
		w.delete(at("last"))
		w.run()()
		if _, err := w.st.Get(t.Context(), at("last")); !api.IsCode(err, api.CodeNotFound) {
			t.Errorf("what was removed is there again: %v", err)
		}
	})
}

func TestForeign(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		defer w.run()()
		w.make("a", "img", 0)
		a, rev := w.widget("a"), get[api.Revision](w.world, revisionKey("shop", "a-1"))
		if a.Status.Ready != api.True || a.More != "kept" || a.Metadata.Generation != 1 {
			t.Errorf("%+v", a)
		}
		if rev.Spec.Containers[0].Image != "img@sha256:1" || rev.Metadata.UID == "" || rev.Metadata.CreationTimestamp == nil || rev.Metadata.Generation != 1 {
			t.Errorf("%+v", rev)
		}
		if got := fmt.Sprint(w.seen(&w.checks), w.seen(&w.builds)); got != "[img@sha256:1] [img]" {
			t.Errorf("checked and resolved %s", got)
		}
		l, err := w.st.List(t.Context(), store.Query{Resource: api.Events})
		if err != nil || len(l.Records) != 1 || !strings.Contains(string(l.Records[0].Value), `"message":"a-1"`) {
			t.Errorf("events %+v", l.Records)
		}

		w.write(store.Key{Resource: gadgets, Namespace: "shop", Name: "a"}, map[string]any{"metadata": map[string]any{"name": "a"}}, store.New)
		synctest.Wait()
		if !w.widget("a").Status.Gadget {
			t.Error("a change of what is needed was not seen")
		}
		w.set(func() { w.count = 3 })
		w.f.Scaled("shop", "a-1")
		time.Sleep(2 * scaledWait)
		if n := w.widget("a").Status.Count; n != 3 {
			t.Errorf("%d instances are known", n)
		}
		w.make("b", "img", 0)
		steps := w.d.count("b")
		w.write(store.Key{Resource: gadgets, Name: "all"}, map[string]any{"metadata": map[string]any{}}, store.New)
		synctest.Wait()
		if w.d.count("b") <= steps {
			t.Error("a global setting did not concern b")
		}

		w.delete(revisionKey("shop", "a-1"))
		if got := w.seen(&w.retired); !slices.Equal(got, []string{"a-1"}) {
			t.Errorf("retired %v", got)
		}
		if w.widget("a").Status.Ready != api.True || get[api.Revision](w.world, revisionKey("shop", "a-1")) == nil {
			t.Error("the revision was not made again")
		}
	})
}

func TestForeignFails(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		w.failing = "no start"
		defer w.run()()
		w.make("a", "img", 0)
		if a := w.widget("a"); a.Status.Ready != api.False || a.Status.Why != "no start\nlast words" {
			t.Errorf("%+v", a.Status)
		}
		time.Sleep(4 * time.Second)
		if n := len(w.seen(&w.checks)); n != 1 {
			t.Errorf("tried %d times in 4 s", n)
		}
		time.Sleep(time.Hour)
		if n := len(w.seen(&w.checks)); n < 10 || n > 16 {
			t.Errorf("tried %d times in an hour", n)
		}
		tried := len(w.seen(&w.checks))
		w.set(func() { w.failing = "" })
		w.write(store.Key{Resource: api.Secrets, Namespace: "shop", Name: "db"}, api.Secret{}, store.New)
		synctest.Wait()
		if a := w.widget("a"); a.Status.Ready != api.True || len(w.seen(&w.checks)) != tried+1 {
			t.Errorf("a new Secret helped not at once: %+v", a.Status)
		}
		time.Sleep(time.Hour)
		if len(w.seen(&w.checks)) != tried+1 {
			t.Error("what works is tried again")
		}
	})
}

// TestForeignReserve: what failed and nobody waits for is left alone until
// something leads to it.
func TestForeignReserve(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		w.failing = "no start"
		defer w.run()()
		w.make("a", "img", 0)
		annotate := func(value string) {
			k := revisionKey("shop", "a-1")
			rec, err := w.st.Get(t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			rev := nativeRevision(rec)
			if rev.Metadata.Annotations = nil; value != "" {
				rev.Metadata.Annotations = map[string]string{api.AnnotationReserve: value}
			}
			w.write(k, rev, rec.Revision)
			synctest.Wait()
		}
		annotate("true")
		tried := len(w.seen(&w.checks))
		time.Sleep(time.Hour)
		if n := len(w.seen(&w.checks)); n != tried {
			t.Errorf("tried %d times more", n-tried)
		}
		annotate("") // and fails once more
		annotate("true")
		w.set(func() { w.failing = "" })
		annotate("")
		if a := w.widget("a"); a.Status.Ready != api.True {
			t.Errorf("%+v", a.Status)
		}
	})
}

func TestForeignDeadline(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		w.failing = "never"
		defer w.run()()
		w.make("a", "img", 0)
		time.Sleep(61*time.Second + late)
		rev := get[api.Revision](w.world, revisionKey("shop", "a-1"))
		if c, _ := rev.Status.Conditions.Get(api.ConditionReady); c.Reason != "NeverReady" || c.Message != "it was not ready within 1m" {
			t.Errorf("%+v", c)
		}
		w.make("b", "img", 0)
		ended := len(w.seen(&w.forgot))
		w.delete(revisionKey("shop", "b-1")) // and is made again
		if len(w.seen(&w.forgot)) != ended+1 {
			t.Error("the start of a revision that is gone goes on")
		}
	})
}

func TestVerdictOn(t *testing.T) {
	for code, reason := range map[api.Code]string{
		api.CodeStartFailed: "StartFailed", api.CodeLoadFailed: "StartFailed", api.CodeTimeout: "NeverReady", api.CodeUnreachable: "ImageUnavailable", api.CodeInternal: "StartFailed",
	} {
		c := verdictOn(&api.Revision{Spec: api.RevisionSpec{Function: "shop"}}, &api.Error{Code: code, Message: "no", Detail: "why", Hint: "hearth logs NAME"})
		if c.Status != api.False || c.Reason != reason || c.Message != "no\nwhy" || c.Hint != "hearth logs shop" {
			t.Errorf("%s: %+v", code, c)
		}
	}
}

func TestForeignRegistry(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		w.registry = api.Errorf(api.CodeUnreachable, "no route to the registry")
		defer w.run()()
		w.make("a", "img", 0)
		if why := w.widget("a").Status.Why; why != "no route to the registry" {
			t.Errorf("%q", why)
		}
		w.set(func() { w.registry = nil })
		time.Sleep(6 * time.Second)
		if a := w.widget("a"); a.Status.Ready != api.True {
			t.Errorf("%+v", a.Status)
		}
	})
}

// TestForeignCrossed: others write the same objects all the time.
func TestForeignCrossed(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		defer w.run()()
		for i := range 20 {
			w.make(fmt.Sprintf("w%d", i), "img", 0)
		}
		var others sync.WaitGroup
		for i := range 20 {
			others.Go(func() {
				k := widgetKey(fmt.Sprintf("w%d", i))
				for n := range 30 {
					rec, err := w.st.Get(t.Context(), k)
					if err != nil {
						t.Error(err)
						return
					}
					var o widget
					json.Unmarshal(rec.Value, &o)
					o.More = fmt.Sprint(n)
					w.st.Apply(t.Context(), k, raw(o), rec.Revision) // or the loop's was first
				}
			})
		}
		others.Wait()
		w.set(func() { w.count = 7 })
		for i := range 20 {
			w.f.Scaled("shop", fmt.Sprintf("w%d-1", i))
		}
		time.Sleep(time.Minute)
		for i := range 20 {
			if a := w.widget(fmt.Sprintf("w%d", i)); a.Status.Count != 7 || a.Status.Ready != api.True {
				t.Errorf("w%d: %+v", i, a.Status)
			}
		}
	})
}

func TestForeignAgainAndRestart(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		stop := w.run()
		w.make("a", "img", time.Minute)
		w.make("b", "img", 0)
		a, b := w.d.count("a"), w.d.count("b")
		time.Sleep(10*time.Minute + time.Second)
		if n := w.d.count("a") - a; n != 10 {
			t.Errorf("stepped %d times in 10 minutes, want 10", n)
		}
		if w.d.count("b") != b {
			t.Error("b was stepped for nothing")
		}
		stop()
		w.delete(revisionKey("shop", "b-1"))
		checks := len(w.seen(&w.checks))
		defer w.run()()
		if w.widget("b").Status.Ready != api.True || len(w.seen(&w.checks)) != checks+1 {
			t.Errorf("after a restart %+v, %d more checks", w.widget("b").Status, len(w.seen(&w.checks))-checks)
		}
	})
}

// TestMirror: changes may come twice and in any order; the newest counts.
func TestMirror(t *testing.T) {
	k := widgetKey("a")
	rec := func(rev int64) store.Record {
		return store.Record{Key: k, Revision: rev, Value: []byte(`{"metadata":{"ownerReferences":[{"uid":"u","controller":true}]}}`)}
	}
	orders := [][]int64{{1, 2}, {2, 1}, {1, -2}, {-2, 1}, {1, -2, 3}, {-2, 3, 1}, {3, -2, 1}, {1, -2, 1}, {3, 1, -2}}
	for _, order := range orders {
		m := newMirror(ForeignConfig{Dialect: &toy{}})
		newest := int64(0)
		for _, rev := range order {
			if max(rev, -rev) > max(newest, -newest) {
				newest = rev
			}
			if rev > 0 {
				m.put(rec(rev))
			} else {
				m.drop(k, -rev)
			}
		}
		got, there := m.Get(k)
		if there != (newest > 0) || there && got.Revision != newest {
			t.Errorf("%v: it has %d (%t)", order, got.Revision, there)
		}
		needed := store.Key{Resource: gadgets, Namespace: "shop", Name: "a"}
		if len(m.Owned("u")) != len(m.Needing(needed)) || (len(m.Owned("u")) == 1) != there {
			t.Errorf("%v: owned %v, needing %v", order, m.Owned("u"), m.Needing(needed))
		}
	}
}

func TestAdmitted(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	old := `{"metadata":{"generation":3,"uid":"u"},"spec":{"a":1},"status":{"x":1}}`
	for name, c := range map[string]struct{ old, value, want string }{
		"the same": {old, `{"status":{"x":1},"spec":{"a":1},"metadata":{"uid":"u","generation":3}}`, ""},
		"status":   {old, `{"metadata":{"generation":3,"uid":"u"},"spec":{"a":1},"status":{"x":2}}`, `{"metadata":{"generation":3,"uid":"u"},"spec":{"a":1},"status":{"x":2}}`},
		"spec":     {old, `{"metadata":{"generation":3,"uid":"u"},"spec":{"a":2}}`, `{"metadata":{"generation":4,"uid":"u"},"spec":{"a":2}}`},
		"no spec":  {`{"metadata":{"uid":"u"},"data":1}`, `{"metadata":{"uid":"u"},"data":2}`, `{"data":2,"metadata":{"uid":"u"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := admitted([]byte(c.old), []byte(c.value), now)
			if err != nil || string(got) != c.want {
				t.Errorf("%s %v, want %s", got, err, c.want)
			}
		})
	}
	got, err := admitted(nil, []byte(`{"metadata":{"name":"a"},"spec":{}}`), now)
	var m struct{ Metadata api.Meta }
	if err != nil || json.Unmarshal(got, &m) != nil || m.Metadata.UID == "" || m.Metadata.Generation != 1 || !m.Metadata.CreationTimestamp.Equal(now) {
		t.Errorf("%s %v", got, err)
	}
}
