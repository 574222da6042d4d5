package knative

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

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

// FuzzSettings: whatever a ConfigMap says is taken or refused with reasons, and what
// is taken is in force.
func FuzzSettings(f *testing.F) {
	for i, config := range configs() {
		for _, e := range entries(config) {
			f.Add(i, e.name, "10", "_", "")
			f.Add(i, e.name, "{{.Name}}", e.name+"s", "disabled")
		}
	}
	f.Add(4, "example.com", "selector: {a: b}", "svc.cluster.local", "")
	f.Fuzz(func(t *testing.T, i int, k1, v1, k2, v2 string) {
		names := configs()
		config, data := names[uint(i)%uint(len(names))], map[string]string{k1: v1, k2: v2}
		s := DefaultSettings().clone()
		faults := s.take(config, data)
		for _, x := range faults.errors {
			if x.hint == "" || len(x.paths) == 0 {
				t.Errorf("%+v", x)
			}
		}
		got := readSettings(func(name string) map[string]string {
			if name == config {
				return data
			}
			return nil
		})
		if len(faults.errors) > 0 {
			s = DefaultSettings()
		}
		if a, b := s.rolloutDuration(nil), got.rolloutDuration(nil); a != b || s.MaxTimeoutSeconds != got.MaxTimeoutSeconds || s.retention != got.retention || s.Class != got.Class {
			t.Errorf("%+v, read as %+v", s, got)
		}
		if got.TimeoutSeconds > got.MaxTimeoutSeconds || got.Concurrency > got.MaxConcurrency || got.MaxTimeoutSeconds < 1 || got.deadline <= 0 {
			t.Errorf("in force: %+v", got)
		}
		m := &api.Meta{Name: "hello", Namespace: "shop"}
		if h := got.hostOf(m, got.tagName("t", "hello"), "example.com"); api.CheckSubdomain(h) != "" {
			t.Errorf("host %q", h)
		}
	})
}
