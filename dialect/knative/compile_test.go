package knative

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/rollout"
	"github.com/hearth-run/hearth/core/store"
)

// world is a store that is stepped until nothing changes any more, with a
// server, a gateway and an engine as far as a dialect sees them.
type world struct {
	t    *testing.T
	d    *Dialect
	now  time.Time
	recs map[store.Key]store.Record
	rev  int64
	uids int

	verdicts map[string]api.Condition // of native revisions; ready where there is none
	images   map[string]error         // by reference; resolved where there is none
	asked    map[string]*api.Revision // by uid
	replicas map[string][2]int
	seen     map[string]rollout.Seen // by native revision, since its step began
	links    map[store.Key]link
	events   []string
	writes   int
	next     time.Duration
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, d: New(Config{Domain: "example.com"}), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), recs: map[store.Key]store.Record{},
		verdicts: map[string]api.Condition{}, images: map[string]error{}, asked: map[string]*api.Revision{}, replicas: map[string][2]int{}, links: map[store.Key]link{},
	}
}

func (w *world) Get(k store.Key) (store.Record, bool) { r, ok := w.recs[k]; return r, ok }

// link is who controls a record and what its Step needs.
type link struct {
	revision   int64
	controller string
	needs      []store.Key
}

func (w *world) link(k store.Key) link {
	r := w.recs[k]
	if l, ok := w.links[k]; ok && l.revision == r.Revision {
		return l
	}
	d, err := open(r)
	if err != nil {
		w.t.Fatal(err)
	}
	l := link{r.Revision, d.controller(), w.d.Needs(r)}
	w.links[k] = l
	return l
}

func (w *world) Owned(uid string) (out []store.Record) {
	for _, k := range w.keys() {
		if w.link(k).controller == uid {
			out = append(out, w.recs[k])
		}
	}
	return out
}

func (w *world) Needing(n store.Key) (out []store.Record) {
	for _, k := range w.keys() {
		if slices.Contains(w.link(k).needs, n) {
			out = append(out, w.recs[k])
		}
	}
	return out
}

func (w *world) Images(uid string) (map[string]string, error, bool) {
	r := w.asked[uid]
	if r == nil {
		return nil, nil, false
	}
	out := map[string]string{}
	for _, c := range append(slices.Clone(r.Spec.Containers), r.Spec.InitContainers...) {
		if err := w.images[c.Image]; err != nil {
			return out, err, true
		}
		out[c.Image] = c.Image + "@sha256:d1"
	}
	return out, nil, true
}

func (w *world) Replicas(_, name string) (int, int) { return w.replicas[name][0], w.replicas[name][1] }

// Seen implements View: a step began when the status says.
func (w *world) Seen(_ store.Key, _ string, r *api.RolloutStatus) rollout.Seen {
	if r == nil {
		return rollout.Seen{}
	}
	s := w.seen[r.To]
	s.Since = r.Stepped.Time
	return s
}

func (w *world) keys() []store.Key {
	return slices.SortedFunc(maps.Keys(w.recs), store.Compare)
}

func key(resource, ns, name string) store.Key {
	return store.Key{Resource: resource, Namespace: ns, Name: name}
}

// write stores a value as the server does, with identity and generation.
func (w *world) write(k store.Key, value []byte) {
	w.t.Helper()
	d, err := open(store.Record{Key: k, Value: value})
	if err != nil {
		w.t.Fatal(err)
	}
	generation := int64(1)
	if old, there := w.recs[k]; there {
		o, err := open(old)
		if err != nil {
			w.t.Fatal(err)
		}
		d.setMeta("uid", o.m.UID)
		d.setMeta("creationTimestamp", o.m.CreationTimestamp)
		if generation = o.m.Generation; !equal(o.top["spec"], d.top["spec"]) {
			generation++
		}
	} else {
		w.uids++
		d.setMeta("uid", fmt.Sprintf("uid-%d", w.uids))
		d.setMeta("creationTimestamp", api.NewTime(w.now))
	}
	d.setMeta("generation", generation)
	d.changed = true
	value, _ = d.value()
	w.rev++
	w.recs[k] = store.Record{Key: k, Revision: w.rev, Value: value}
}

// apply is what a client does: the spec and metadata of text, the status as it was.
func (w *world) apply(resource, text string) {
	w.t.Helper()
	var m struct {
		Metadata api.Meta `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		w.t.Fatalf("%v in %s", err, text)
	}
	k := key(resource, m.Metadata.Namespace, m.Metadata.Name)
	value := []byte(text)
	if old, there := w.recs[k]; there {
		d, err := open(store.Record{Key: k, Value: value})
		o, err2 := open(old)
		if err != nil || err2 != nil {
			w.t.Fatal(err, err2)
		}
		if o.top["status"] != nil {
			d.set("status", o.top["status"])
			value, _ = d.value()
		}
	}
	w.write(k, value)
}

func (w *world) delete(k store.Key) {
	r, there := w.recs[k]
	if !there {
		return
	}
	delete(w.recs, k)
	d, _ := open(r)
	for _, o := range w.Owned(d.m.UID) {
		w.delete(o.Key)
	}
}

// settle steps everything until nothing changes; a dialect that never comes to
// rest fails here.
func (w *world) settle() {
	w.t.Helper()
	for range 60 {
		before := w.rev
		w.next = 0
		for _, k := range w.keys() {
			if slices.Contains(w.d.Kinds(), k.Resource) {
				w.step(k)
			}
		}
		w.native()
		if w.rev == before {
			return
		}
	}
	w.t.Fatal("it does not come to rest")
}

func (w *world) step(k store.Key) {
	w.t.Helper()
	out := w.d.Step(w, k, w.now)
	for _, e := range out.Events {
		w.events = append(w.events, e.InvolvedObject.Kind+" "+e.InvolvedObject.Name+" "+e.Reason+": "+e.Message)
	}
	if out.Resolve != nil && w.asked[out.Resolve.Metadata.UID] == nil {
		w.asked[out.Resolve.Metadata.UID] = out.Resolve
		w.rev++
	}
	if out.Again > 0 && (w.next == 0 || out.Again < w.next) {
		w.next = out.Again
	}
	for _, r := range out.Put {
		if old := w.recs[r.Key]; old.Revision != r.Revision {
			w.t.Errorf("step of %s writes %s over revision %d, it has %d", k, r.Key, r.Revision, old.Revision)
			continue
		}
		w.writes++
		w.write(r.Key, r.Value)
	}
	for _, r := range out.Delete {
		w.rev++
		w.delete(r.Key)
	}
}

// native is what the rest of Hearth does.
func (w *world) native() {
	for _, k := range w.keys() {
		switch k.Resource {
		case api.Revisions:
			d, _ := open(w.recs[k])
			c, ok := w.verdicts[k.Name]
			if !ok {
				c = api.Condition{Status: api.True, Reason: "Started"}
			}
			c.Type = api.ConditionReady
			d.set("status", api.RevisionStatus{Conditions: api.Conditions{c}})
			if v, changed := d.value(); changed {
				w.write(k, v)
			}
		case api.Routes:
			d, _ := open(w.recs[k])
			d.set("status", api.RouteStatus{ObservedGeneration: d.m.Generation, Conditions: api.Conditions{{Type: api.ConditionReady, Status: api.True}}})
			if v, changed := d.value(); changed {
				w.write(k, v)
			}
		}
	}
}

// wait lets time pass and steps.
func (w *world) wait(d time.Duration) {
	w.now = w.now.Add(d)
	w.settle()
}

func read[T any](w *world, resource, name string) *T {
	w.t.Helper()
	r, there := w.recs[key(resource, "shop", name)]
	if !there {
		return nil
	}
	return decode[T](r)
}

func must[T any](w *world, resource, name string) *T {
	w.t.Helper()
	o := read[T](w, resource, name)
	if o == nil {
		w.t.Fatalf("%s %s is not there; there are %v", resource, name, w.keys())
	}
	return o
}

// service is a Service with an image and whatever else stands in the spec, the
// template's metadata and its annotations.
func service(image, more string) string {
	s := `{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello","namespace":"shop"%META},
		"spec":{"template":{"metadata":{%TMETA},"spec":{"containerConcurrency":0,"timeoutSeconds":300,"containers":[{"name":"user-container","image":"IMAGE"}]}},
		"traffic":%TRAFFIC}}`
	parts := map[string]string{"%META": "", "%TMETA": "", "%TRAFFIC": `[{"latestRevision":true,"percent":100}]`, "IMAGE": image}
	for _, p := range strings.Split(more, "\n") {
		if k, v, ok := strings.Cut(strings.TrimSpace(p), " "); ok {
			parts["%"+k] = v
		}
	}
	for k, v := range parts {
		s = strings.Replace(s, k, v, 1)
	}
	return s
}

func wantCondition(t *testing.T, cs api.Conditions, kind, status, reason, message string) {
	t.Helper()
	c, _ := cs.Get(kind)
	if c.Status != status || c.Reason != reason || !strings.Contains(c.Message, message) {
		t.Errorf("%s is %s %q %q, want %s %q %q", kind, c.Status, c.Reason, c.Message, status, reason, message)
	}
}

// shares writes a status' traffic as "revision tag percent latest".
func sharesOf(ts []Target) (out []string) {
	for _, x := range ts {
		s := x.RevisionName
		if x.Tag != "" {
			s += " " + x.Tag
		}
		s += fmt.Sprintf(" %d", *x.Percent)
		if *x.LatestRevision {
			s += " latest"
		}
		out = append(out, s)
	}
	return out
}

func TestServiceFromZero(t *testing.T) {
	w := newWorld(t)
	w.apply(Services, service("img:1", `META ,"labels":{"a":"b"},"annotations":{"serving.knative.dev/creator":"ada","serving.knative.dev/lastModifier":"bob","serving.knative.dev/rollout-duration":"0s","kubectl.kubernetes.io/last-applied-configuration":"x"}
		TMETA "labels":{"x":"y"},"annotations":{"autoscaling.knative.dev/min-scale":"1"}`))
	w.settle()

	svc := must[Service](w, Services, "hello")
	cfg, rt, rev := must[Configuration](w, Configurations, "hello"), must[Route](w, Routes, "hello"), must[Revision](w, Revisions, "hello-00001")
	native, nr := must[api.Revision](w, api.Revisions, "hello-00001"), must[api.Route](w, api.Routes, "hello.knative")

	for name, cs := range map[string]api.Conditions{"service": svc.Status.Conditions, "configuration": cfg.Status.Conditions, "route": rt.Status.Conditions, "revision": rev.Status.Conditions} {
		if !cs.Ready() {
			t.Errorf("%s is not ready: %+v", name, cs)
		}
	}
	if got := fmt.Sprint(cfg.Metadata.Labels); got != "map[a:b serving.knative.dev/service:hello serving.knative.dev/serviceUID:"+svc.Metadata.UID+"]" {
		t.Errorf("configuration's labels %s", got)
	}
	if got := fmt.Sprint(cfg.Metadata.Annotations); got != "map[serving.knative.dev/creator:ada serving.knative.dev/lastModifier:bob]" {
		t.Errorf("configuration's annotations %s", got)
	}
	if got := fmt.Sprint(rt.Metadata.Annotations); got != "map[serving.knative.dev/creator:ada serving.knative.dev/lastModifier:bob serving.knative.dev/rollout-duration:0s]" {
		t.Errorf("route's annotations %s", got)
	}
	for k, v := range map[string]string{
		"x": "y", LabelConfiguration: "hello", LabelConfigurationGeneration: "1", LabelConfigurationUID: cfg.Metadata.UID, LabelService: "hello",
		LabelServiceUID: svc.Metadata.UID, LabelRoutingState: RoutingActive, "a": "",
	} {
		if rev.Metadata.Labels[k] != v {
			t.Errorf("revision's label %s is %q, want %q", k, rev.Metadata.Labels[k], v)
		}
	}
	// What a program may ask for is that of a pod.
	for k, v := range map[string]string{
		"x": "y", "app": "hello-00001", LabelService: "hello", LabelRevision: "hello-00001", LabelRevision + "UID": rev.Metadata.UID, LabelRoutingState: "", api.LabelFunction: "hello",
	} {
		if native.Metadata.Labels[k] != v {
			t.Errorf("native revision's label %s is %q, want %q", k, native.Metadata.Labels[k], v)
		}
	}
	if a := native.Metadata.Annotations; a["autoscaling.knative.dev/min-scale"] != "1" || a[AnnotationLastApplied] != "" || a[AnnotationRoutingStateModified] != "" {
		t.Errorf("native revision's annotations %v", a)
	}
	if a := rev.Metadata.Annotations; a[AnnotationCreator] != "bob" || a[AnnotationRoutes] != "hello" || a[AnnotationRoutingStateModified] == "" {
		t.Errorf("revision's annotations %v", a)
	}
	for _, o := range []struct{ of, uid string }{{cfg.Metadata.OwnerReferences[0].UID, svc.Metadata.UID}, {rev.Metadata.OwnerReferences[0].UID, cfg.Metadata.UID}, {native.Metadata.OwnerReferences[0].UID, rev.Metadata.UID}} {
		if o.of != o.uid {
			t.Errorf("owned by %s, want %s", o.of, o.uid)
		}
	}
	st := svc.Status
	if st.URL != "http://hello.shop.example.com" || st.Address.URL != "http://hello.shop.svc.cluster.local" || st.LatestCreatedRevisionName != "hello-00001" ||
		st.LatestReadyRevisionName != "hello-00001" || st.ObservedGeneration != 1 || fmt.Sprint(sharesOf(st.Traffic)) != "[hello-00001 100 latest]" {
		t.Errorf("status %+v", st)
	}
	if got := rev.Status.ContainerStatuses; len(got) != 1 || got[0] != (ContainerStatus{"user-container", "img:1@sha256:d1"}) {
		t.Errorf("containerStatuses %+v", got)
	}
	if fmt.Sprint(nr.Spec.Hosts) != "[hello.shop.example.com hello.shop.svc.cluster.local hello.shop.svc]" || nr.Spec.Targets[0].Revision != "hello-00001" {
		t.Errorf("native route %+v", nr.Spec)
	}
	s := native.Spec
	if s.Function != "hello" || s.Number != 1 || s.Owner != "Revision/hello-00001" || s.Concurrency != api.Unlimited || s.Timeout.Duration != 300*time.Second ||
		s.Scale.Min != 1 || s.Scale.Auto.Policy != api.PolicyKnative || s.StartTimeout.Duration != 10*time.Minute {
		t.Errorf("native revision %+v", s)
	}
	if got := fmt.Sprint(s.Containers[0].Env); got != "[{K_REVISION hello-00001 <nil>} {K_CONFIGURATION hello <nil>} {K_SERVICE hello <nil>}]" {
		t.Errorf("env %s", got)
	}
	ph := must[CoreService](w, CoreServices, "hello")
	if ph.Metadata.Labels[LabelRoute] != "hello" || ph.Metadata.Labels["a"] != "b" || ph.Spec.Ports[0].Port != 80 {
		t.Errorf("placeholder %+v", ph)
	}
	for _, e := range []string{`Service hello Created: Created Configuration "hello"`, `Service hello Created: Created Route "hello"`, `Configuration hello Created: Created Revision "hello-00001"`,
		"Configuration hello ConfigurationReady: Configuration becomes ready", `Route hello Created: Created placeholder service "hello"`} {
		if !slices.Contains(w.events, e) {
			t.Errorf("no event %q in %q", e, w.events)
		}
	}
	writes := w.writes
	w.wait(time.Minute)
	if w.writes != writes {
		t.Error("time alone changed something")
	}

	w.delete(key(Services, "shop", "hello"))
	w.settle()
	if len(w.recs) != 0 {
		t.Errorf("left over: %v", w.keys())
	}
}

func TestNewRevision(t *testing.T) {
	w := newWorld(t)
	w.apply(Services, service("img:1", ""))
	w.settle()
	w.apply(Services, service("img:1", `META ,"labels":{"only":"metadata"}`))
	w.settle()
	if r := read[Revision](w, Revisions, "hello-00002"); r != nil {
		t.Error("a change of metadata made a revision")
	}

	w.verdicts["hello-00002"] = api.Condition{Status: api.False, Reason: "StartFailed", Message: "exited with status 3\nImportError: no module named shop"}
	w.apply(Services, service("img:2", ""))
	w.settle()
	svc, rev := must[Service](w, Services, "hello"), must[Revision](w, Revisions, "hello-00002")
	wantCondition(t, rev.Status.Conditions, "ContainerHealthy", api.False, "ExitCode3", "ImportError: no module named shop")
	wantCondition(t, rev.Status.Conditions, "Ready", api.False, "ExitCode3", "Container failed with: exited with status 3")
	wantCondition(t, svc.Status.Conditions, "ConfigurationsReady", api.False, "RevisionFailed", `Revision "hello-00002" failed with message: Container failed with: exited with status 3`)
	wantCondition(t, svc.Status.Conditions, "Ready", api.False, "RevisionFailed", "ImportError")
	if got := fmt.Sprint(sharesOf(svc.Status.Traffic)); got != "[hello-00001 100 latest]" || svc.Status.LatestCreatedRevisionName != "hello-00002" {
		t.Errorf("traffic %s, status %+v", got, svc.Status)
	}
	wantCondition(t, svc.Status.Conditions, "RoutesReady", api.True, "", "")

	delete(w.verdicts, "hello-00002") // it comes up after all
	w.settle()
	svc = must[Service](w, Services, "hello")
	if got := fmt.Sprint(sharesOf(svc.Status.Traffic)); got != "[hello-00002 100 latest]" || !svc.Status.Conditions.Ready() {
		t.Errorf("traffic %s, status %+v", got, svc.Status)
	}
	old := must[Revision](w, Revisions, "hello-00001")
	if old.Metadata.Labels[LabelRoutingState] != RoutingReserve || old.Metadata.Annotations[AnnotationRoutes] != "" {
		t.Errorf("old revision %+v", old.Metadata)
	}
	if n := must[api.Revision](w, api.Revisions, "hello-00001"); n.Metadata.Annotations[api.AnnotationReserve] != "true" {
		t.Errorf("native %+v", n.Metadata)
	}

	w.delete(key(Revisions, "shop", "hello-00002"))
	w.settle()
	if r := must[Revision](w, Revisions, "hello-00002"); !r.Status.Conditions.Ready() {
		t.Errorf("the newest revision was not made again: %+v", r.Status)
	}
}

// TestSuperseded: a failed revision is not waited for once there is a newer one,
// unless something leads to it.
func TestSuperseded(t *testing.T) {
	w := newWorld(t)
	no := api.Condition{Status: api.False, Message: "exited with status 1"}
	w.verdicts["hello-00002"], w.verdicts["hello-00003"] = no, no
	reserve := func(name string) string {
		return must[api.Revision](w, api.Revisions, name).Metadata.Annotations[api.AnnotationReserve]
	}
	for i := range 3 {
		w.apply(Services, service(fmt.Sprintf("img:%d", i), ""))
		w.settle()
		if n := fmt.Sprintf("hello-%05d", i+1); reserve(n) != "" {
			t.Errorf("%s is the newest and given up", n)
		}
	}
	if reserve("hello-00001") != "" || reserve("hello-00002") != "true" {
		t.Errorf("in reserve: %q the one that serves, %q the older that failed", reserve("hello-00001"), reserve("hello-00002"))
	}
	if l := must[Revision](w, Revisions, "hello-00002").Metadata.Labels[LabelRoutingState]; l != RoutingPending {
		t.Errorf("its state is %s", l)
	}
	w.apply(Services, service("img:2", `TRAFFIC [{"latestRevision":true,"percent":0},{"revisionName":"hello-00002","percent":100}]`))
	w.settle()
	if reserve("hello-00002") != "" {
		t.Error("what a Route asks for is not tried")
	}
	clear(w.verdicts)
	w.settle()
	if reserve("hello-00002") != "" || !must[Service](w, Services, "hello").Status.Conditions.Ready() {
		t.Error("what is wanted again is still given up")
	}
}

func TestVerdicts(t *testing.T) {
	for name, c := range map[string]struct {
		verdict                       api.Condition
		kind, status, reason, message string
	}{
		"deadline": {api.Condition{Status: api.False, Reason: "NeverReady", Message: "it was not ready within 10m"}, "ResourcesAvailable", api.False, "ProgressDeadlineExceeded", "Initial scale was never achieved"},
		"memory":   {api.Condition{Status: api.False, Reason: "StartFailed", Message: "killed: out of memory (limit 64Mi)"}, "ContainerHealthy", api.False, "ExitCode137", "out of memory"},
		"missing":  {api.Condition{Status: api.False, Reason: "StartFailed", Message: `Secret "db" is not there`}, "ResourcesAvailable", api.False, "StartFailed", `Secret "db"`},
		"port":     {api.Condition{Status: api.False, Reason: "StartFailed", Message: "container web never became ready on port 8080 within 10m; it listens on port 3000\nlistening", Hint: "serve on $PORT"}, "ResourcesAvailable", api.False, "ProgressDeadlineExceeded", "listening\nserve on $PORT"},
		"pull":     {api.Condition{Status: api.False, Reason: "ImageUnavailable", Message: "registry.test does not answer"}, "ContainerHealthy", api.False, "ContainerMissing", "Unable to fetch image: registry.test does not answer"},
		"entry":    {api.Condition{Status: api.False, Reason: "StartFailed", Message: `container web cannot run "/x": no such file`}, "ResourcesAvailable", api.False, "RunContainerError", "no such file"},
		"pulling":  {api.Condition{Status: api.Unknown, Reason: "Pulling", Message: "fetching the image: 1.0 of 3.0 MiB"}, "Ready", api.Unknown, "Deploying", "1.0 of 3.0 MiB"},
		"starting": {api.Condition{Status: api.Unknown}, "Ready", api.Unknown, "Deploying", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.verdicts["hello-00001"] = c.verdict
			w.apply(Services, service("img:1", ""))
			w.settle()
			rev, rt := must[Revision](w, Revisions, "hello-00001"), must[Route](w, Routes, "hello")
			wantCondition(t, rev.Status.Conditions, c.kind, c.status, c.reason, c.message)
			if c.verdict.Reason == "Pulling" {
				for _, kind := range []string{"ConfigurationsReady", "Ready"} {
					wantCondition(t, must[Service](w, Services, "hello").Status.Conditions, kind, api.Unknown, "Deploying", c.message)
				}
			}
			if c.status == api.False {
				wantCondition(t, rt.Status.Conditions, "AllTrafficAssigned", api.False, "RevisionMissing", `Configuration "hello" does not have any ready Revision.`)
			} else {
				wantCondition(t, rt.Status.Conditions, "AllTrafficAssigned", api.Unknown, "RevisionMissing", `Configuration "hello" is waiting for a Revision to become ready.`)
			}
			if read[api.Route](w, api.Routes, "hello.knative") != nil {
				t.Error("there is a route to nothing")
			}
		})
	}
}

func TestImages(t *testing.T) {
	w := newWorld(t)
	w.images["img:1"] = api.Errorf(api.CodeNotFound, "manifest unknown")
	w.apply(Services, service("img:1", ""))
	w.settle()
	rev := must[Revision](w, Revisions, "hello-00001")
	wantCondition(t, rev.Status.Conditions, "ContainerHealthy", api.False, "ContainerMissing", `Unable to fetch image "img:1": manifest unknown`)
	wantCondition(t, rev.Status.Conditions, "Ready", api.False, "ContainerMissing", "")
	if read[api.Revision](w, api.Revisions, "hello-00001") != nil {
		t.Error("there is a native revision")
	}
	for _, ref := range []string{"dev.local/a:1", "ko.local/b", "reg.example.com/x@sha256:aa"} {
		w := newWorld(t)
		w.apply(Services, service(ref, ""))
		w.settle()
		if len(w.asked) != 0 || must[api.Revision](w, api.Revisions, "hello-00001").Spec.Containers[0].Image != ref {
			t.Errorf("%s was resolved", ref)
		}
	}
}

func TestOwnNames(t *testing.T) {
	w := newWorld(t)
	w.apply(Services, service("img:1", `TMETA "name":"hello-one"`))
	w.settle()
	if svc := must[Service](w, Services, "hello"); !svc.Status.Conditions.Ready() || svc.Status.LatestReadyRevisionName != "hello-one" {
		t.Fatalf("%+v", svc.Status)
	}
	w.apply(Services, service("img:2", `TMETA "name":"hello-two"`))
	w.settle()
	w.apply(Services, service("img:3", `TMETA "name":"hello-one"`))
	w.settle()
	svc := must[Service](w, Services, "hello")
	wantCondition(t, svc.Status.Conditions, "RoutesReady", api.False, "RevisionNameTaken", `The revision name "hello-one" is taken by a conflicting Revision`)
	wantCondition(t, svc.Status.Conditions, "ConfigurationsReady", api.False, "RevisionFailed", "already exists")
	if got := fmt.Sprint(sharesOf(must[Route](w, Routes, "hello").Status.Traffic)); got != "[hello-two 100 latest]" {
		t.Errorf("traffic %s", got)
	}
}

func TestNotOwned(t *testing.T) {
	w := newWorld(t)
	w.apply(Configurations, `{"apiVersion":"serving.knative.dev/v1","kind":"Configuration","metadata":{"name":"hello","namespace":"shop"},"spec":{"template":{"spec":{"containers":[{"image":"img:9"}]}}}}`)
	w.apply(CoreServices, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"hello","namespace":"shop"},"spec":{"type":"ClusterIP"}}`)
	w.apply(Services, service("img:1", ""))
	w.settle()
	svc := must[Service](w, Services, "hello")
	wantCondition(t, svc.Status.Conditions, "ConfigurationsReady", api.False, "NotOwned", `There is an existing Configuration "hello" that we do not own.`)
	wantCondition(t, svc.Status.Conditions, "Ready", api.False, "NotOwned", "Configuration")
	if got := must[Configuration](w, Configurations, "hello").Spec.Template.Spec.Containers[0].Image; got != "img:9" {
		t.Errorf("another's Configuration was changed: %s", got)
	}
	wantCondition(t, must[Route](w, Routes, "hello").Status.Conditions, "IngressReady", api.False, "NotOwned", "placeholder")
}
