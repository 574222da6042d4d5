package knative

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

func TestTraffic(t *testing.T) {
	for name, c := range map[string]struct {
		traffic string
		shares  string // of the status
		targets string // of the native route: revision weight tag
		status  string // of AllTrafficAssigned, with reason
		message string
	}{
		"split": {`[{"latestRevision":true,"percent":90},{"revisionName":"hello-00001","latestRevision":false,"percent":10}]`,
			"[hello-00002 90 latest hello-00001 10]", "hello-00002=90 hello-00001=10", "True", ""},
		"tags": {`[{"revisionName":"hello-00001","percent":100,"tag":"old"},{"latestRevision":true,"percent":0,"tag":"new"}]`,
			"[hello-00001 old 100 hello-00002 new 0 latest]", "hello-00001=100(old) hello-00002=0(new)", "True", ""},
		"merged": {`[{"revisionName":"hello-00001","percent":30},{"revisionName":"hello-00001","percent":30},{"latestRevision":true,"percent":40}]`,
			"[hello-00001 60 hello-00002 40 latest]", "hello-00001=60 hello-00002=40", "True", ""},
		"missing": {`[{"revisionName":"hello-00009","percent":100}]`,
			"[hello-00002 100 latest]", "hello-00002=100", "False RevisionMissing", `Revision "hello-00009" referenced in traffic not found.`},
		"another's": {`[{"revisionName":"other-00001","percent":100}]`,
			"[hello-00002 100 latest]", "hello-00002=100", "False RevisionNotOwned", `Revision "other-00001" referenced in traffic does not belong to Service "hello".`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(Services, strings.ReplaceAll(service("img:9", ""), `"hello"`, `"other"`))
			w.apply(Services, service("img:1", ""))
			w.settle()
			w.apply(Services, service("img:2", ""))
			w.settle()
			w.apply(Services, service("img:2", "TRAFFIC "+c.traffic))
			w.settle()
			svc, rt, nr := must[Service](w, Services, "hello"), must[Route](w, Routes, "hello"), must[api.Route](w, api.Routes, "hello.knative")
			if got := fmt.Sprint(sharesOf(rt.Status.Traffic)); got != c.shares {
				t.Errorf("status.traffic %s, want %s", got, c.shares)
			}
			var targets []string
			for _, x := range nr.Spec.Targets {
				s := fmt.Sprintf("%s=%d", x.Revision, *x.Weight)
				if x.Tag != "" {
					s += "(" + x.Tag + ")"
				}
				targets = append(targets, s)
			}
			if got := strings.Join(targets, " "); got != c.targets {
				t.Errorf("native targets %s, want %s", got, c.targets)
			}
			status, reason, _ := strings.Cut(c.status, " ")
			wantCondition(t, rt.Status.Conditions, "AllTrafficAssigned", status, reason, c.message)
			wantCondition(t, svc.Status.Conditions, "RoutesReady", status, reason, c.message)
			for _, x := range rt.Status.Traffic {
				if url := "http://" + x.Tag + "-hello.shop.example.com"; x.Tag != "" && x.URL != url || x.Tag == "" && x.URL != "" {
					t.Errorf("tag %q has the address %q, want %q", x.Tag, x.URL, url)
				}
				if x.Tag != "" && read[CoreService](w, CoreServices, x.Tag+"-hello") == nil {
					t.Errorf("no placeholder for tag %s", x.Tag)
				}
			}
		})
	}
}

func TestTagsGo(t *testing.T) {
	w := newWorld(t)
	w.apply(Services, service("img:1", `TRAFFIC [{"latestRevision":true,"percent":100,"tag":"a"}]`))
	w.settle()
	must[CoreService](w, CoreServices, "a-hello")
	w.apply(Services, service("img:1", `TRAFFIC [{"latestRevision":true,"percent":100,"tag":"b"}]`))
	w.settle()
	must[CoreService](w, CoreServices, "b-hello")
	if read[CoreService](w, CoreServices, "a-hello") != nil {
		t.Error("the placeholder of a tag outlives it")
	}
}

func TestClusterLocal(t *testing.T) {
	w := newWorld(t)
	w.apply(Services, service("img:1", `META ,"labels":{"networking.knative.dev/visibility":"cluster-local"}
		TRAFFIC [{"latestRevision":true,"percent":100,"tag":"a"}]`))
	w.settle()
	rt, nr := must[Route](w, Routes, "hello"), must[api.Route](w, api.Routes, "hello.knative")
	if rt.Status.URL != "http://hello.shop.svc.cluster.local" || rt.Status.Traffic[0].URL != "http://a-hello.shop.svc.cluster.local" {
		t.Errorf("%+v", rt.Status)
	}
	for _, h := range nr.Spec.Hosts {
		if strings.Contains(h, "example.com") {
			t.Errorf("hosts %v", nr.Spec.Hosts)
		}
	}
	if _, ok := must[CoreService](w, CoreServices, "hello").Metadata.Labels[LabelVisibility]; ok {
		t.Error("the placeholder has the label of visibility")
	}
}

// TestShortHost: in the namespace default a Route has NAME.DOMAIN, too, unless a
// function has it.
func TestShortHost(t *testing.T) {
	inDefault := func(s string) string {
		return strings.Replace(s, `"namespace":"shop"`, `"namespace":"default"`, 1)
	}
	w := newWorld(t)
	w.apply(Services, inDefault(service("img:1", "")))
	w.settle()
	k := key(api.Routes, "default", "hello.knative-short")
	r, there := w.recs[k]
	if !there || fmt.Sprint(decode[api.Route](r).Spec.Hosts) != "[hello.example.com]" {
		t.Errorf("%s", r.Value)
	}
	w.apply(api.Functions, `{"metadata":{"name":"hello","namespace":"default"}}`)
	w.settle()
	if _, there := w.recs[k]; there {
		t.Error("a function's host is taken")
	}
	if svc := decode[Service](w.recs[key(Services, "default", "hello")]); !svc.Status.Conditions.Ready() {
		t.Errorf("%+v", svc.Status)
	}
}

// TestGradualTags: the address of a tag moves as gradually as the Route's own, also
// where it has none of the Route's requests.
func TestGradualTags(t *testing.T) {
	w := newWorld(t)
	const meta = `META ,"annotations":{"serving.knative.dev/rollout-duration":"100s"}`
	traffic := "\n" + `TRAFFIC [{"latestRevision":true,"percent":90,"tag":"new"},{"revisionName":"hello-00001","percent":10},{"latestRevision":true,"percent":0,"tag":"none"}]`
	w.apply(Services, service("img:1", meta))
	w.settle()
	w.apply(Services, service("img:1", meta+traffic))
	w.settle()
	w.apply(Services, service("img:2", meta+traffic))
	w.settle()
	targets := func() string {
		var out []string
		for _, x := range must[api.Route](w, api.Routes, "hello.knative").Spec.Targets {
			s := fmt.Sprintf("%s=%d", x.Revision, *x.Weight)
			if x.Tag != "" {
				s += "(" + x.Tag + ")"
			}
			if x.TagWeight != nil {
				s += fmt.Sprint(*x.TagWeight)
			}
			out = append(out, s)
		}
		return strings.Join(out, " ")
	}
	if got, want := targets(), "hello-00001=89(new)99 hello-00002=1(new)1 hello-00001=10 hello-00001=0(none)99 hello-00002=0(none)1"; got != want {
		t.Errorf("at first %s, want %s", got, want)
	}
	for range 200 {
		if w.next == 0 {
			break
		}
		w.now = w.now.Add(w.next)
		w.settle()
	}
	if got, want := targets(), "hello-00002=90(new) hello-00001=10 hello-00002=0(none)"; got != want {
		t.Errorf("in the end %s, want %s", got, want)
	}
	wantCondition(t, must[Service](w, Services, "hello").Status.Conditions, "Ready", api.True, "", "")
}

func TestGradualRollout(t *testing.T) {
	w := newWorld(t)
	meta := `META ,"annotations":{"serving.knative.dev/rollout-duration":"100s"}`
	w.apply(Services, service("img:1", meta))
	w.settle()
	w.apply(Services, service("img:2", meta))
	w.settle()
	traffic := func() string {
		return strings.Join(sharesOf(must[Service](w, Services, "hello").Status.Traffic), ", ")
	}
	if got := traffic(); got != "hello-00001 99 latest, hello-00002 1 latest" {
		t.Fatalf("at first %s", got)
	}
	svc := must[Service](w, Services, "hello")
	wantCondition(t, svc.Status.Conditions, "Ready", api.Unknown, "RolloutInProgress", "")
	if w.next <= 0 || w.next > 2*time.Second {
		t.Errorf("the next step is in %s", w.next)
	}
	last, started := 1, w.now
	for range 200 {
		if w.next == 0 {
			break
		}
		w.wait(w.next)
		ts := must[Service](w, Services, "hello").Status.Traffic
		n := ts[len(ts)-1]
		if n.RevisionName != "hello-00002" || int(*n.Percent) < last {
			t.Fatalf("after %d %% come %s", last, traffic())
		}
		last = int(*n.Percent)
	}
	if got := traffic(); got != "hello-00002 100 latest" || w.now.Sub(started) > 101*time.Second || w.now.Sub(started) < 90*time.Second {
		t.Errorf("in the end %s, after %s", got, w.now.Sub(started))
	}
	if !must[Service](w, Services, "hello").Status.Conditions.Ready() {
		t.Error("not ready in the end")
	}

	w.apply(Services, service("img:3", meta))
	w.settle()
	w.wait(20 * time.Second)
	w.apply(Services, service("img:4", meta)) // a newer one joins
	w.settle()
	ts := must[Service](w, Services, "hello").Status.Traffic
	if len(ts) != 3 || ts[2].RevisionName != "hello-00004" || *ts[2].Percent != 1 {
		t.Errorf("with a newer one %s", traffic())
	}
}

func TestDomainMapping(t *testing.T) {
	const mapping = `{"apiVersion":"serving.knative.dev/v1beta1","kind":"DomainMapping","metadata":{"name":"www.shop.test","namespace":"shop"},
		"spec":{"ref":{"apiVersion":"serving.knative.dev/v1","kind":"Service","name":"hello"}%s}}`
	claim := func(ns string) string {
		return `{"apiVersion":"networking.internal.knative.dev/v1alpha1","kind":"ClusterDomainClaim","metadata":{"name":"www.shop.test"},"spec":{"namespace":"` + ns + `"}}`
	}
	w := newWorld(t)
	w.apply(DomainMappings, fmt.Sprintf(mapping, ""))
	w.settle()
	status := func() DomainMappingStatus { return must[DomainMapping](w, DomainMappings, "www.shop.test").Status }
	wantCondition(t, status().Conditions, "DomainClaimed", api.False, "DomainClaimFailed", `no ClusterDomainClaim found for domain "www.shop.test"`)

	w.apply(DomainClaims, claim("other"))
	w.settle()
	wantCondition(t, status().Conditions, "Ready", api.False, "DomainAlreadyClaimed", "")

	w.delete(key(DomainClaims, "", "www.shop.test"))
	w.apply(DomainClaims, claim("shop"))
	w.settle()
	wantCondition(t, status().Conditions, "ReferenceResolved", api.False, "ResolveFailed", `services.serving.knative.dev "hello" not found`)

	w.apply(Services, service("img:1", ""))
	w.settle()
	w.apply(Services, service("img:2", `TRAFFIC [{"latestRevision":true,"percent":70},{"revisionName":"hello-00001","percent":30},{"revisionName":"hello-00001","percent":0,"tag":"t"}]`))
	w.settle()
	if !status().Conditions.Ready() || status().URL != "http://www.shop.test" {
		t.Errorf("%+v", status())
	}
	nr := must[api.Route](w, api.Routes, "www.shop.test.knative-domain")
	if nr.Spec.Host != "www.shop.test" || len(nr.Spec.Targets) != 2 || *nr.Spec.Targets[0].Weight != 70 {
		t.Errorf("%+v", nr.Spec)
	}
	if h := nr.Spec.RequestHeaders; h == nil || h.Set["Host"] != "hello.shop.svc.cluster.local" {
		t.Errorf("the target sees the host %+v", h)
	}

	w.apply(DomainMappings, fmt.Sprintf(mapping, `,"tls":{"secretName":"cert"}`))
	w.settle()
	if nr := must[api.Route](w, api.Routes, "www.shop.test.knative-domain"); nr.Spec.TLS == nil || nr.Spec.TLS.Secret != "cert" || status().URL != "https://www.shop.test" {
		t.Errorf("%+v %+v", nr.Spec, status())
	}
	w.delete(key(Services, "shop", "hello"))
	w.settle()
	wantCondition(t, status().Conditions, "Ready", api.False, "ResolveFailed", "not found")
}

// TestHostTaken: a Service does not take the host of a function that was there
// before, and gets it when the function goes.
func TestHostTaken(t *testing.T) {
	w := newWorld(t)
	w.apply(api.Functions, `{"metadata":{"name":"hello","namespace":"shop"}}`)
	w.apply(Services, service("img:1", ""))
	w.settle()
	svc := must[Service](w, Services, "hello")
	wantCondition(t, svc.Status.Conditions, "RoutesReady", api.False, "HostTaken", `There is an existing Function "hello", which answers at hello.shop.example.com.`)
	if read[api.Route](w, api.Routes, "hello.knative") != nil {
		t.Error("the function's host is taken")
	}
	w.delete(key(api.Functions, "shop", "hello"))
	w.settle()
	if svc := must[Service](w, Services, "hello"); !svc.Status.Conditions.Ready() {
		t.Errorf("%+v", svc.Status)
	}
	w.apply(api.Functions, `{"metadata":{"name":"hello","namespace":"shop"}}`)
	w.settle()
	if svc := must[Service](w, Services, "hello"); !svc.Status.Conditions.Ready() || read[api.Route](w, api.Routes, "hello.knative") == nil {
		t.Errorf("a later function takes the host of a Service: %+v", svc.Status)
	}
}

// TestWithoutService: a Configuration and a Route can stand for themselves.
func TestWithoutService(t *testing.T) {
	w := newWorld(t)
	route := func(targets string) {
		w.apply(Routes, `{"apiVersion":"serving.knative.dev/v1","kind":"Route","metadata":{"name":"front","namespace":"shop"},"spec":{"traffic":`+targets+`}}`)
		w.settle()
	}
	route(`[{"configurationName":"back","percent":100,"latestRevision":true}]`)
	rt := func() *Route { return must[Route](w, Routes, "front") }
	wantCondition(t, rt().Status.Conditions, "AllTrafficAssigned", api.False, "ConfigurationMissing", `Configuration "back" referenced in traffic not found.`)

	const config = `{"apiVersion":"serving.knative.dev/v1","kind":"Configuration","metadata":{"name":"back","namespace":"shop"},"spec":{"template":{"spec":{"containers":[{"name":"c","image":"img:%d"}]}}}}`
	w.apply(Configurations, fmt.Sprintf(config, 1))
	w.settle()
	if got := fmt.Sprint(sharesOf(rt().Status.Traffic)); got != "[back-00001 100 latest]" || !rt().Status.Conditions.Ready() || rt().Status.URL != "http://front.shop.example.com" {
		t.Errorf("%+v", rt().Status)
	}
	if rev := must[Revision](w, Revisions, "back-00001"); rev.Metadata.Annotations[AnnotationRoutes] != "front" {
		t.Errorf("%+v", rev.Metadata)
	}
	if env := must[api.Revision](w, api.Revisions, "back-00001").Spec; env.Function != "back" || env.Containers[0].Env[2].Value != "" {
		t.Errorf("%+v", env)
	}
	w.apply(Configurations, fmt.Sprintf(config, 2))
	w.settle()
	route(`[{"configurationName":"back","percent":50},{"revisionName":"back-00001","percent":50}]`)
	if got := fmt.Sprint(sharesOf(rt().Status.Traffic)); got != "[back-00002 50 latest back-00001 50]" {
		t.Errorf("%s", got)
	}
	w.apply(Routes, `{"apiVersion":"serving.knative.dev/v1","kind":"Route","metadata":{"name":"second","namespace":"shop"},"spec":{"traffic":[{"revisionName":"back-00001","percent":100}]}}`)
	w.settle()
	if rev := must[Revision](w, Revisions, "back-00001"); rev.Metadata.Annotations[AnnotationRoutes] != "front,second" {
		t.Errorf("%+v", rev.Metadata.Annotations)
	}
	w.delete(key(Routes, "shop", "front"))
	w.settle()
	if rev := must[Revision](w, Revisions, "back-00002"); rev.Metadata.Labels[LabelRoutingState] != RoutingReserve {
		t.Errorf("%+v", rev.Metadata.Labels)
	}
}
