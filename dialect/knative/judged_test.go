package knative

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/rollout"
)

const judgedMeta = `META ,"annotations":{"hearth.run/rollout-steps":"10, 50","hearth.run/rollout-interval":"30s","hearth.run/rollout-max-error-percent":"5","hearth.run/rollout-max-latency":"1s"}`

// native writes the targets of the native route.
func (w *world) targets() string {
	var out []string
	for _, x := range must[api.Route](w, api.Routes, "hello.knative").Spec.Targets {
		out = append(out, fmt.Sprintf("%s=%d", x.Revision, *x.Weight))
		if x.Tag != "" {
			out[len(out)-1] += "(" + x.Tag + ")"
		}
	}
	return strings.Join(out, " ")
}

// pass lets time go by until d is over.
func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.next > 0 && w.now.Add(w.next).Before(end); w.settle() {
		w.now = w.now.Add(w.next)
	}
}

// TestJudged: a revision whose calls go well gets step after step, one whose calls
// do not is taken back and stays so until there is a newer one.
func TestJudged(t *testing.T) {
	w := newWorld(t)
	w.seen = map[string]rollout.Seen{}
	deploy := func(n int, meta string) {
		w.apply(Services, service(fmt.Sprintf("img:%d", n), meta))
		w.settle()
	}
	want := func(what, targets string) {
		t.Helper()
		if got := w.targets(); got != targets {
			t.Errorf("%s %s, want %s", what, got, targets)
		}
	}
	deploy(1, judgedMeta)
	want("the first", "hello-00001=100")
	w.seen["hello-00002"] = rollout.Seen{Calls: 100, Errors: 5, P99: time.Second}
	deploy(2, judgedMeta)
	want("at first", "hello-00001=90 hello-00002=10")
	wantCondition(t, must[Service](w, Services, "hello").Status.Conditions, "Ready", api.Unknown, "RolloutInProgress", "")
	w.pass(31 * time.Second)
	want("after a step", "hello-00001=50 hello-00002=50")
	w.pass(31 * time.Second)
	want("in the end", "hello-00002=100")
	wantCondition(t, must[Service](w, Services, "hello").Status.Conditions, "Ready", api.True, "", "")

	w.seen["hello-00003"] = rollout.Seen{Calls: 100, Errors: 6}
	deploy(3, judgedMeta)
	w.pass(5 * time.Second)
	want("too many errors", "hello-00002=100")
	const why = `Revision "hello-00003" was rolled back: at 10 % of the requests, 6 of its 100 answers were errors (6 %, at most 5 % are allowed). "hello-00002" serves; deploy a better one, or name the revision in spec.traffic.`
	svc := must[Service](w, Services, "hello")
	wantCondition(t, svc.Status.Conditions, "Ready", api.False, "RolledBack", why)
	wantCondition(t, svc.Status.Conditions, "ConfigurationsReady", api.True, "", "")
	if svc.Status.LatestReadyRevisionName != "hello-00003" || len(svc.Status.Traffic) != 1 || svc.Status.Traffic[0].RevisionName != "hello-00002" {
		t.Errorf("%+v", svc.Status)
	}
	if !strings.Contains(strings.Join(w.events, "\n"), `Route hello RolledBack: Revision "hello-00003" was rolled back`) {
		t.Errorf("events %q", w.events)
	}
	w.pass(time.Hour)
	deploy(3, "") // nobody watches any more
	want("what failed", "hello-00002=100")

	deploy(4, judgedMeta)
	want("a newer one", "hello-00002=90 hello-00004=10")
	w.seen["hello-00004"] = rollout.Seen{Calls: 100, P99: 2 * time.Second}
	w.pass(5 * time.Second)
	want("too slow", "hello-00002=100")
	deploy(4, judgedMeta+"\n"+`TRAFFIC [{"revisionName":"hello-00004","percent":100}]`)
	want("by name", "hello-00004=100")
	wantCondition(t, must[Service](w, Services, "hello").Status.Conditions, "Ready", api.True, "", "")
}

// TestJudgedTags: the address of a tag has the parts of the rollout, whatever share
// of the Route's own requests it gets; Knative's duration makes steps, too.
func TestJudgedTags(t *testing.T) {
	w := newWorld(t)
	meta := strings.Replace(judgedMeta, `"hearth.run/rollout-steps":"10, 50","hearth.run/rollout-interval":"30s"`, `"serving.knative.dev/rollout-duration":"100s"`, 1)
	traffic := "\n" + `TRAFFIC [{"latestRevision":true,"percent":40},{"revisionName":"hello-00001","percent":60},{"latestRevision":true,"percent":0,"tag":"t"}]`
	w.apply(Services, service("img:1", meta))
	w.settle()
	w.apply(Services, service("img:1", meta+traffic))
	w.settle()
	w.apply(Services, service("img:2", meta+traffic))
	w.settle()
	if got, want := w.targets(), "hello-00001=39 hello-00002=1 hello-00001=60 hello-00001=0(t) hello-00002=0(t)"; got != want {
		t.Errorf("at first %s, want %s", got, want)
	}
	for _, x := range must[api.Route](w, api.Routes, "hello.knative").Spec.Targets {
		if x.Tag != "" && *x.TagWeight != map[string]int{"hello-00001": 99, "hello-00002": 1}[x.Revision] {
			t.Errorf("%s has %d of the tag", x.Revision, *x.TagWeight)
		}
	}
	w.pass(300 * time.Second)
	if got, want := w.targets(), "hello-00002=40 hello-00001=60 hello-00002=0(t)"; got != want {
		t.Errorf("in the end %s, want %s", got, want)
	}
}
