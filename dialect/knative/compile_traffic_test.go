package knative

import (
	"fmt"
	"reflect"
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

// TestSettings: Knative's ConfigMaps override defaults, and a change of theirs
// concerns every object.
func TestSettings(t *testing.T) {
	w := newWorld(t)
	if !w.d.Global(key(api.ConfigMaps, "knative-serving", "config-domain")) || w.d.Global(key(api.ConfigMaps, "shop", "config-domain")) {
		t.Error("Global does not tell settings from other ConfigMaps")
	}
	config := func(name, data string) {
		w.apply(api.ConfigMaps, `{"metadata":{"name":"`+name+`","namespace":"knative-serving"},"data":`+data+`}`)
	}
	config("config-domain", `{"shop.example":"","_example":"x","svc.cluster.local":"selector:\n  app: x"}`)
	config("config-network", `{"autocreate-cluster-domain-claims":"true","rollout-duration":"30","http-protocol":"Redirected"}`)
	config("config-gc", `{"retain-since-create-time":"disabled","retain-since-last-active-time":"1h","min-non-active-revisions":"2","max-non-active-revisions":"5"}`)
	config("config-deployment", `{"progress-deadline":"90s","registries-skipping-tag-resolving":"img:1, x"}`)
	config("config-observability", `{"logging.revision-url-template":"http://logs.example/?q=${REVISION_UID}"}`)
	config("config-autoscaler", `{"stable-window":"30s","initial-scale":"3","enable-scale-to-zero":"false","container-concurrency-target-percentage":"0.5"}`)
	w.apply(Services, service("img:1", ""))
	w.apply(DomainMappings, `{"metadata":{"name":"a.test","namespace":"shop"},"spec":{"ref":{"kind":"Service","name":"hello"}}}`)
	w.settle()
	if u := must[Service](w, Services, "hello").Status.URL; u != "http://hello.shop.shop.example" {
		t.Errorf("url %s", u)
	}
	if _, there := w.recs[key(DomainClaims, "", "a.test")]; !there || !must[DomainMapping](w, DomainMappings, "a.test").Status.Conditions.Ready() {
		t.Error("no claim was made")
	}
	if nr := must[api.Route](w, api.Routes, "hello.knative"); nr.Spec.TLS == nil || !nr.Spec.TLS.Redirect {
		t.Error("http is not redirected")
	}
	n := must[api.Revision](w, api.Revisions, "hello-00001").Spec
	if a := n.Scale.Auto; n.StartTimeout.Duration != 90*time.Second || n.Containers[0].Image != "img:1" || a.Window.Duration != 30*time.Second || *a.Initial != 3 || *a.Zero || a.Utilization != 50 {
		t.Errorf("%+v %+v", n, n.Scale.Auto)
	}
	if r := must[Revision](w, Revisions, "hello-00001"); r.Status.LogURL != "http://logs.example/?q="+r.Metadata.UID {
		t.Errorf("logUrl %q", r.Status.LogURL)
	}
	want := retention{disabled, time.Hour, 2, 5}
	if got := ReadSettings(w.Get).retention; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestClaims: a claim made for a DomainMapping goes with it; one that is somebody's
// does not.
func TestClaims(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string // claims written by hand
		gone          bool
	}{
		"made for it":   {"", "", true},
		"made by hand":  {`"spec":{"namespace":"shop"}`, "", false},
		"given away":    {"", `"annotations":{"hearth.run/claimed-for":"shop"}},"spec":{"namespace":"other"}`, false},
		"taken by hand": {"", `"annotations":{}},"spec":{"namespace":"shop"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			claim := func(rest string) {
				w.apply(DomainClaims, `{"apiVersion":"networking.internal.knative.dev/v1alpha1","kind":"ClusterDomainClaim","metadata":{"name":"a.test"`+rest+`}`)
			}
			w.apply(api.ConfigMaps, `{"metadata":{"name":"config-network","namespace":"knative-serving"},"data":{"autocreate-cluster-domain-claims":"true"}}`)
			if c.before != "" {
				claim("}," + c.before)
			}
			w.apply(Services, service("img:1", ""))
			w.apply(DomainMappings, `{"metadata":{"name":"a.test","namespace":"shop"},"spec":{"ref":{"kind":"Service","name":"hello"}}}`)
			w.settle()
			if !must[DomainMapping](w, DomainMappings, "a.test").Status.Conditions.Ready() {
				t.Fatal("not ready")
			}
			if c.after != "" {
				claim("," + c.after)
			}
			w.delete(key(DomainMappings, "shop", "a.test"))
			w.settle()
			if _, there := w.recs[key(DomainClaims, "", "a.test")]; there == c.gone {
				t.Errorf("the claim is there: %t", there)
			}
		})
	}
}

// TestTagHeader: the header names a tag, and programs are told of it where there
// is one, unless config-features says otherwise.
func TestTagHeader(t *testing.T) {
	const tagged = `TRAFFIC [{"latestRevision":true,"percent":100},{"latestRevision":true,"percent":0,"tag":"t"}]`
	for name, c := range map[string]struct{ features, traffic, want string }{
		"no ConfigMap":         {"", tagged, api.TagHeaderTold},
		"no tags":              {"", "", ""},
		"another feature":      {`{"multi-container":"enabled"}`, tagged, api.TagHeaderTold},
		"disabled":             {`{"tag-header-based-routing":"Disabled"}`, tagged, api.TagHeaderIgnored},
		"disabled, no tags":    {`{"tag-header-based-routing":"disabled"}`, "", ""},
		"enabled":              {`{"tag-header-based-routing":"enabled"}`, tagged, api.TagHeaderTold},
		"enabled, no tags":     {`{"tag-header-based-routing":"Enabled"}`, "", api.TagHeaderTold},
		"neither one nor both": {`{"tag-header-based-routing":"perhaps"}`, tagged, api.TagHeaderTold},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.features != "" {
				w.apply(api.ConfigMaps, `{"metadata":{"name":"config-features","namespace":"knative-serving"},"data":`+c.features+`}`)
			}
			w.apply(Services, service("img:1", c.traffic))
			w.settle()
			if got := must[api.Route](w, api.Routes, "hello.knative").Spec.TagHeader; got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestAutomaticTLS: with external-domain-tls public hosts get certificates where
// there is who makes them, unless an annotation says no.
func TestAutomaticTLS(t *testing.T) {
	for name, c := range map[string]struct {
		acme      bool
		meta, url string
		tls       *api.RouteTLS
		reason    string
	}{
		"on":           {true, "", "https://hello.shop.example.com", &api.RouteTLS{ACME: true}, ""},
		"redirected":   {true, `META ,"annotations":{"networking.knative.dev/http-protocol":"Redirected"}`, "https://hello.shop.example.com", &api.RouteTLS{ACME: true, Redirect: true}, ""},
		"not here":     {true, `META ,"annotations":{"networking.knative.dev/disable-external-domain-tls":"true"}`, "http://hello.shop.example.com", nil, "TLSNotEnabled"},
		"local":        {true, `META ,"labels":{"networking.knative.dev/visibility":"cluster-local"}`, "http://hello.shop.svc.cluster.local", nil, ""},
		"no authority": {false, "", "http://hello.shop.example.com", nil, "TLSNotEnabled"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.d = New(Config{Domain: "example.com", ACME: c.acme})
			w.apply(api.ConfigMaps, `{"metadata":{"name":"config-network","namespace":"knative-serving"},"data":{"external-domain-tls":"Enabled","autocreate-cluster-domain-claims":"true"}}`)
			w.apply(Services, service("img:1", c.meta))
			w.apply(DomainMappings, `{"metadata":{"name":"a.test","namespace":"shop"},"spec":{"ref":{"kind":"Service","name":"hello"}}}`)
			w.settle()
			rt := must[Route](w, Routes, "hello")
			if got := must[api.Route](w, api.Routes, "hello.knative").Spec.TLS; !reflect.DeepEqual(got, c.tls) || rt.Status.URL != c.url {
				t.Errorf("%s %+v", rt.Status.URL, got)
			}
			wantCondition(t, rt.Status.Conditions, "CertificateProvisioned", api.True, c.reason, "")
			if got := must[api.Route](w, api.Routes, "a.test.knative-domain").Spec.TLS; (got != nil && got.ACME) != c.acme {
				t.Errorf("the mapping: %+v", got)
			}
		})
	}
}

// TestTagTemplate: tags answer where the templates say, and there alone are routes
// of their own.
func TestTagTemplate(t *testing.T) {
	w := newWorld(t)
	network := func(data string) {
		w.apply(api.ConfigMaps, `{"metadata":{"name":"config-network","namespace":"knative-serving"},"data":`+data+`}`)
		w.settle()
	}
	network(`{"tag-template":"{{.Name}}-{{.Tag}}","domain-template":"{{.Namespace}}-{{.Name}}.{{.Domain}}","default-external-scheme":"https"}`)
	w.apply(Services, service("img:1", `TRAFFIC [{"latestRevision":true,"percent":100},{"latestRevision":true,"percent":0,"tag":"t"}]`))
	w.settle()
	st := must[Service](w, Services, "hello").Status
	if st.URL != "https://shop-hello.example.com" || st.Address.URL != "http://hello.shop.svc.cluster.local" || st.Traffic[1].URL != "https://shop-hello-t.example.com" {
		t.Errorf("%s %s %s", st.URL, st.Address.URL, st.Traffic[1].URL)
	}
	r := must[api.Route](w, api.Routes, "hello.knative-tag-t").Spec
	if fmt.Sprint(r.Hosts) != "[shop-hello-t.example.com hello-t.shop.svc.cluster.local hello-t.shop.svc]" || len(r.Targets) != 1 || r.Targets[0].Revision != "hello-00001" {
		t.Errorf("%+v", r)
	}
	if read[CoreService](w, CoreServices, "hello-t") == nil {
		t.Error("no placeholder hello-t")
	}
	network(`{}`)
	if read[api.Route](w, api.Routes, "hello.knative-tag-t") != nil || read[CoreService](w, CoreServices, "hello-t") != nil {
		t.Error("what the template made outlives it")
	}
	if u := must[Service](w, Services, "hello").Status.Traffic[1].URL; u != "http://t-hello.shop.example.com" {
		t.Error(u)
	}
}

func TestHosts(t *testing.T) {
	const two = `{"example.org":"selector:\n  app: prod\n","shop.example":"","both.example":"selector:\n  app: prod\n  tier: \"web\"","svc.cluster.local":"selector:\n  app: inner"}`
	for name, c := range map[string]struct{ domains, network, labels, url string }{
		"defaults":    {`{}`, `{}`, ``, "http://hello.shop.example.com"},
		"everybody":   {two, `{}`, ``, "http://hello.shop.shop.example"},
		"selected":    {two, `{}`, `"app":"prod"`, "http://hello.shop.example.org"},
		"more exact":  {two, `{}`, `"app":"prod","tier":"web"`, "http://hello.shop.both.example"},
		"local":       {two, `{}`, `"app":"inner"`, "http://hello.shop.svc.cluster.local"},
		"template":    {`{}`, `{"domain-template":"{{.Name}}-{{.Namespace}}.{{.Domain}}"}`, ``, "http://hello-shop.example.com"},
		"no template": {`{}`, `{"domain-template":"{{.Name"}`, ``, "http://hello.shop.example.com"},
		"no host":     {`{}`, `{"domain-template":"{{.Name}}/{{.Domain}}"}`, ``, "http://hello.shop.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(api.ConfigMaps, `{"metadata":{"name":"config-domain","namespace":"knative-serving"},"data":`+c.domains+`}`)
			w.apply(api.ConfigMaps, `{"metadata":{"name":"config-network","namespace":"knative-serving"},"data":`+c.network+`}`)
			w.apply(Services, service("img:1", `META ,"labels":{`+c.labels+`}`))
			w.settle()
			if got := must[Service](w, Services, "hello").Status.URL; got != c.url {
				t.Errorf("%s, want %s", got, c.url)
			}
			if got := "http://" + must[api.Route](w, api.Routes, "hello.knative").Spec.Hosts[0]; got != c.url {
				t.Errorf("the first host is %s, want %s", got, c.url)
			}
		})
	}
}

// TestScaleByUsage: the class hpa counts what instances use, keeps one of them
// unless it is told not to, and takes nothing of the other class's windows.
func TestScaleByUsage(t *testing.T) {
	const class = `"autoscaling.knative.dev/class":"hpa.autoscaling.knative.dev"`
	for name, c := range map[string]struct {
		annotations, config string
		least               int
		want                api.Autoscale
	}{
		"defaults":    {class, `{}`, 1, api.Autoscale{Metric: api.MetricCPU}},
		"memory":      {class + `,"autoscaling.knative.dev/metric":"memory","autoscaling.knative.dev/target":"200","autoscaling.knative.dev/window":"90s"`, `{}`, 1, api.Autoscale{Metric: api.MetricMemory, Target: 200, Window: api.Seconds(90)}},
		"to zero":     {class + `,"autoscaling.knative.dev/min-scale":"0"`, `{}`, 0, api.Autoscale{Metric: api.MetricCPU}},
		"by settings": {`"autoscaling.knative.dev/target":"60"`, `{"pod-autoscaler-class":"hpa.autoscaling.knative.dev","min-scale":"2","max-scale":"9","stable-window":"30s"}`, 2, api.Autoscale{Metric: api.MetricCPU, Target: 60}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.apply(api.ConfigMaps, `{"metadata":{"name":"config-autoscaler","namespace":"knative-serving"},"data":`+c.config+`}`)
			w.apply(Services, service("img:1", `TMETA "annotations":{`+c.annotations+`}`))
			w.settle()
			s := must[api.Revision](w, api.Revisions, "hello-00001").Spec.Scale
			c.want.Policy = api.PolicyKnative
			if s.Min != c.least || !reflect.DeepEqual(*s.Auto, c.want) {
				t.Errorf("%d %+v, want %d %+v", s.Min, *s.Auto, c.least, c.want)
			}
			if errs := api.ValidateScale("spec.scale", s); len(errs) > 0 {
				t.Errorf("%v", errs)
			}
		})
	}
}

func TestScale(t *testing.T) {
	w := newWorld(t)
	w.apply(Services, service("img:1", `TMETA "annotations":{"autoscaling.knative.dev/minScale":"2","autoscaling.knative.dev/max-scale":"9","autoscaling.knative.dev/metric":"rps",`+
		`"autoscaling.knative.dev/target":"12.5","autoscaling.knative.dev/window":"90s","autoscaling.knative.dev/panic-window-percentage":"20","autoscaling.knative.dev/target-burst-capacity":"-1",`+
		`"autoscaling.knative.dev/scale-down-delay":"5m","autoscaling.knative.dev/scaleToZeroPodRetentionPeriod":"1m","autoscaling.knative.dev/activation-scale":"3","autoscaling.knative.dev/initial-scale":"0","hearth.run/scaling-policy":"hearth"}`))
	w.settle()
	s := must[api.Revision](w, api.Revisions, "hello-00001").Spec.Scale
	a := s.Auto
	if s.Min != 2 || s.Max != 9 || a.Policy != api.PolicyHearth || a.Metric != "rps" || a.Target != 12.5 || a.Window.Duration != 90*time.Second || a.PanicWindow != 20 || *a.Burst != -1 ||
		a.DownDelay.Duration != 5*time.Minute || a.Retention.Duration != time.Minute || a.Activation != 3 || *a.Initial != 0 {
		t.Errorf("%+v %+v", s, a)
	}
	if errs := api.ValidateScale("spec.scale", s); len(errs) > 0 {
		t.Errorf("%v", errs)
	}
}

func TestReplicas(t *testing.T) {
	w := newWorld(t)
	w.apply(Services, service("img:1", ""))
	for _, c := range []struct {
		ready, wanted  int
		status, reason string
	}{{0, 0, api.False, "NoTraffic"}, {0, 2, api.Unknown, "Queued"}, {2, 2, api.True, ""}} {
		w.replicas["hello-00001"] = [2]int{c.ready, c.wanted}
		w.settle()
		st := must[Revision](w, Revisions, "hello-00001").Status
		wantCondition(t, st.Conditions, "Active", c.status, c.reason, "")
		if int(*st.ActualReplicas) != c.ready || int(*st.DesiredReplicas) != c.wanted || !st.Conditions.Ready() {
			t.Errorf("%+v", st)
		}
	}
}

// TestActive goes through the rows of Knative's table.
func TestActive(t *testing.T) {
	before := func(status, reason string) api.Condition { return api.Condition{Status: status, Reason: reason} }
	for name, c := range map[string]struct {
		was                  api.Condition
		ready, wanted, least int
		want                 string
	}{
		"new and unused":            {before("", ""), 0, 0, 1, "False NoTraffic"},
		"unused":                    {before(api.True, ""), 0, 0, 1, "False NoTraffic"},
		"called":                    {before(api.False, "NoTraffic"), 0, 1, 1, "Unknown Queued"},
		"up":                        {before(api.Unknown, "Queued"), 1, 1, 1, "True "},
		"too few":                   {before(api.True, ""), 1, 3, 2, "Unknown Queued"},
		"given up":                  {before(api.Unknown, "Queued"), 0, 0, 1, "False TimedOut"},
		"still given up":            {before(api.False, "TimedOut"), 0, 0, 1, "False TimedOut"},
		"called again":              {before(api.False, "TimedOut"), 0, 1, 1, "Unknown Queued"},
		"up after that":             {before(api.False, "TimedOut"), 1, 1, 1, "True "},
		"never wanted, never there": {before(api.Unknown, "Queued"), 0, 0, 0, "False NoTraffic"},
	} {
		if status, reason, _ := active(c.was, c.ready, c.wanted, c.least); status+" "+reason != c.want {
			t.Errorf("%s: %s %s, want %s", name, status, reason, c.want)
		}
	}
}

// TestTimedOut: a revision that never starts, and one that does not start again.
func TestTimedOut(t *testing.T) {
	w := newWorld(t)
	condition := func() string {
		c, _ := must[Revision](w, Revisions, "hello-00001").Status.Conditions.Get(ConditionActive)
		return c.Status + " " + c.Reason
	}
	w.verdicts["hello-00001"] = api.Condition{Type: api.ConditionReady, Status: api.Unknown}
	w.apply(Services, service("img:1", ""))
	w.settle()
	if got := condition(); got != "Unknown Deploying" {
		t.Errorf("while it is deployed: %s", got)
	}
	w.verdicts["hello-00001"] = api.Condition{Type: api.ConditionReady, Status: api.False, Reason: "NeverReady"}
	w.settle()
	if got := condition(); got != "False TimedOut" {
		t.Errorf("after that failed: %s", got)
	}
	delete(w.verdicts, "hello-00001")
	for _, c := range []struct {
		ready, wanted int
		want          string
	}{{1, 1, "True "}, {0, 0, "False NoTraffic"}, {0, 1, "Unknown Queued"}, {0, 0, "False TimedOut"}} {
		w.replicas["hello-00001"] = [2]int{c.ready, c.wanted}
		if w.settle(); condition() != c.want {
			t.Errorf("%d of %d: %s, want %s", c.ready, c.wanted, condition(), c.want)
		}
	}
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
