package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
)

// TestValidate checks the rules of each kind that its schema cannot say: the
// spec given, and the paths of the errors wanted.
func TestValidate(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	sum := strings.TrimPrefix(digest, "sha256:")
	on := func(rule string) string { return `{"prefix":"/","targets":[{"function":"f"}],` + rule + `}` }
	traffic := func(rule string) string { return `{"source":{"inline":"x"},` + rule + `}` }
	tests := []struct{ resource, spec, want string }{
		{api.Functions, `{"source":{"inline":"x"}}`, ""},
		{api.Functions, `{"source":{}}`, "spec.source"},
		{api.Functions, `{"source":{"inline":"x","folder":"."}}`, "spec.source"},
		{api.Functions, `{"source":{"files":{"../a":"x"}}}`, "spec.source.files"},
		{api.Functions, `{"source":{"archive":{"url":"http://x/a.zip"}}}`, "spec.source.archive.checksum"},
		{api.Functions, `{"source":{"archive":{"url":"http://x/a.zip","checksum":{"sum":"abc"}}}}`, "spec.source.archive.checksum.sum"},
		{api.Functions, `{"source":{"archive":{"url":"http://x/a.zip","checksum":{"sum":"` + sum + `"}}}}`, ""},
		{api.Functions, `{"source":{"archive":{"blob":"md5:1"}}}`, "spec.source.archive.blob"},
		{api.Functions, `{"source":{"archive":{"blob":"` + digest + `"}}}`, ""},
		{api.Functions, `{"source":{"archive":{}}}`, "spec.source.archive"},
		{api.Functions, `{"source":{"inline":"x"},"scale":{"min":3,"max":2}}`, "spec.scale.min"},
		{api.Functions, `{"source":{"inline":"x"},"timeout":0}`, "spec.timeout"},
		{api.Functions, `{"source":{"inline":"x"},"runtime":"node","command":["a"]}`, "spec.command"},
		{api.Functions, `{"source":{"inline":"x"},"limits":{"memory":"1Ki","disk":"1","cpu":"1m"}}`, "spec.limits.memory spec.limits.disk spec.limits.cpu"},
		{api.Functions, `{"source":{"inline":"x"},"env":[{"name":"1A","value":"x"}]}`, "spec.env[0].name"},
		{api.Functions, `{"source":{"inline":"x"},"env":[{"name":"A"},{"name":"A"}]}`, "spec.env[1].name"},
		{api.Functions, `{"source":{"inline":"x"},"env":[{"name":"A","value":"x","valueFrom":{"secretKeyRef":{"name":"s","key":"k"}}}]}`, "spec.env[0]"},
		{api.Functions, `{"source":{"inline":"x"},"env":[{"name":"A","valueFrom":{}}]}`, "spec.env[0].valueFrom"},
		{api.Revisions, `{"function":"f","artifact":"` + digest + `"}`, ""},
		{api.Revisions, `{"artifact":"x"}`, "spec.function spec.artifact"},
		{api.Revisions, `{"function":"f","containers":[{"image":"a@sha256:1"}]}`, ""},
		{api.Runtimes, `{"base":"node"}`, ""},
		{api.Runtimes, `{}`, "spec spec.protocol"},
		{api.Runtimes, `{"command":["x"]}`, "spec.protocol"},
		{api.Runtimes, `{"base":"node","pool":{"size":4,"max":2}}`, "spec.pool.size"},
		{api.Routes, `{"path":"/a/{id}","targets":[{"function":"f"}]}`, ""},
		{api.Routes, `{"path":"/a","prefix":"/b","targets":[{"function":"f"}]}`, "spec"},
		{api.Routes, `{"path":"/a/{id}/{id}","targets":[{"function":"f"}]}`, "spec.path"},
		{api.Routes, `{"path":"/a/{rest...}/b","targets":[{"function":"f"}]}`, "spec.path"},
		{api.Routes, `{"path":"/a/../b","targets":[{"function":"f"}]}`, "spec.path"},
		{api.Routes, `{"prefix":"/~x","targets":[{"function":"f"}]}`, "spec.prefix"},
		{api.Routes, `{"prefix":"a","targets":[{"function":"f"}]}`, "spec.prefix"},
		{api.Routes, `{"host":"*.example.com","prefix":"/","targets":[{"revision":"f-1"}]}`, ""},
		{api.Routes, on(`"host":"shop.default.svc.cluster.local","hosts":["shop.default.svc","*.default.svc.cluster.local"]`), ""},
		{api.Routes, on(`"hosts":["shop.other.svc.cluster.local","x.svc"]`), "spec.hosts spec.hosts"},
		{api.Routes, on(`"host":"shop.other.svc"`), "spec.host"},
		{api.Routes, `{"host":"a_b","prefix":"/","targets":[{"function":"f"}]}`, "spec.host"},
		{api.Routes, `{"prefix":"/","methods":["get"],"targets":[{"function":"f"}]}`, "spec.methods[0]"},
		{api.Routes, `{"prefix":"/","targets":[]}`, "spec.targets"},
		{api.Routes, `{"prefix":"/","targets":[{"function":"f","weight":0}]}`, "spec.targets"},
		{api.Routes, `{"prefix":"/","targets":[{"function":"f","revision":"g-1"}]}`, "spec.targets[0]"},
		{api.Routes, `{"prefix":"/","targets":[{"function":"f"}],"cors":{"allowOrigins":["*"],"allowCredentials":true}}`, "spec.cors"},
		{api.Routes, `{"hosts":["a.test","*.b.test"],"prefix":"/","targets":[{"revision":"f-1","weight":0,"tag":"old"},{"function":"f"}]}`, ""},
		{api.Routes, `{"hosts":["a.test",""],"prefix":"/","targets":[{"function":"f"}]}`, "spec.hosts[1]"},
		{api.Routes, `{"prefix":"/","targets":[{"function":"f","tag":"Old"},{"function":"g","tag":"x"},{"function":"g","tag":"x"}]}`, "spec.targets[0].tag spec.targets[2].tag"},
		{api.Routes, `{"prefix":"/","redirect":{"host":"www.example.com:8443","path":"/{x}","status":308}}`, ""},
		{api.Routes, `{"prefix":"/","redirect":{"status":200,"path":"x","host":"a b"},"targets":[{"function":"f"}]}`, "spec.redirect spec.redirect.status spec.redirect.path spec.redirect.host"},
		{api.Routes, `{"prefix":"/","redirect":{}}`, "spec.redirect"},
		{api.Routes, on(`"sticky":{"cookie":"a"},"mirror":{"function":"g"},"retry":{"on":["502"]},"rateLimit":{"requests":1,"by":"header:X-Key"},"timeouts":{"idle":"1s"},"tls":{"redirect":true}`), ""},
		{api.Routes, on(`"sticky":{}`), "spec.sticky"},
		{api.Routes, on(`"sticky":{"header":"a b"}`), "spec.sticky"},
		{api.Routes, on(`"mirror":{"percent":3}`), "spec.mirror"},
		{api.Routes, on(`"requestHeaders":{"set":{"Te":"x"},"remove":["a b"]},"responseHeaders":{"add":{"X-Hearth-A":"1","B":"1\n2"}}`), "spec.requestHeaders.set spec.requestHeaders.remove spec.responseHeaders.add.B spec.responseHeaders.add"},
		{api.Routes, on(`"requestHeaders":{"set":{"host":"inner.test:8080"}}`), ""},
		{api.Routes, on(`"requestHeaders":{"set":{"Host":"a b"},"add":{"Host":"x"},"remove":["Host"]},"responseHeaders":{"set":{"Host":"x"}}`), "spec.requestHeaders.set.Host spec.requestHeaders.add spec.requestHeaders.remove spec.responseHeaders.set"},
		{api.Routes, on(`"tagHeader":"told"`), ""},
		{api.Routes, on(`"rateLimit":{"requests":1,"by":"user","per":"0s"}`), "spec.rateLimit.per spec.rateLimit.by"},
		{api.Routes, on(`"retry":{"on":["502","500"]}`), "spec.retry.on[1]"},
		{api.Routes, on(`"timeouts":{"request":"0s"},"timeout":"1s"`), "spec.timeouts.request spec.timeouts.request"},
		{api.Routes, on(`"tls":{}`), "spec.tls"},
		{api.Routes, on(`"tls":{"secret":"s"}`), "spec.tls"},
		{api.Routes, `{"host":"*.a.test","prefix":"/","targets":[{"function":"f"}],"tls":{"acme":true}}`, "spec.tls.acme"},
		{api.Functions, traffic(`"traffic":[{"latest":true,"percent":90},{"revision":"f-1","percent":10},{"latest":true,"tag":"new"}],"rollout":{"steps":[5,50]}`), ""},
		{api.Functions, traffic(`"traffic":[{"latest":true,"percent":90}]`), "spec.traffic"},
		{api.Functions, traffic(`"traffic":[{"latest":true,"revision":"a","percent":100},{"latest":true}]`), "spec.traffic[0] spec.traffic[1].percent"},
		{api.Functions, traffic(`"traffic":[{"latest":true,"percent":50},{"latest":true,"percent":50}]`), "spec.traffic"},
		{api.Functions, traffic(`"traffic":[],"timeouts":{"request":"1s","idle":"0s"}`), "spec.timeouts.idle"},
		{api.Functions, traffic(`"rollout":{}`), "spec.rollout"},
		{api.Functions, traffic(`"rollout":{"duration":"5m","interval":"1m"}`), "spec.rollout.interval"},
		{api.Functions, traffic(`"rollout":{"steps":[5,5,101]}`), "spec.rollout.steps[1] spec.rollout.steps[2]"},
		{api.Functions, traffic(`"rollout":{"steps":[5],"maxLatency":"0s"}`), "spec.rollout.maxLatency"},
	}
	for _, tt := range tests {
		k := kind(t, tt.resource)
		obj := k.New()
		if err := json.Unmarshal([]byte(`{"metadata":{"name":"x","namespace":"default"},"spec":`+tt.spec+`}`), obj); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range k.Validate(obj) {
			got = append(got, e.Path)
			if e.Message == "" || e.Hint == "" {
				t.Errorf("%s %s: no help in %+v", k.Kind, tt.spec, e)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s %s: errors at %q, want %q", k.Kind, tt.spec, s, tt.want)
		}
	}
}

func TestValidateKeys(t *testing.T) {
	for key, ok := range map[string]bool{"a": true, "tls.crt": true, "A_b-1": true, "": false, "..": false, ".": false, "a/b": false, "a b": false, strings.Repeat("a", 254): false} {
		s := &api.Secret{Data: map[string][]byte{key: nil}}
		if errs := kind(t, api.Secrets).Validate(s); (len(errs) == 0) != ok {
			t.Errorf("Secret key %q: %v", key, errs)
		}
		c := &api.ConfigMap{BinaryData: map[string][]byte{key: nil}}
		if errs := kind(t, api.ConfigMaps).Validate(c); (len(errs) == 0) != ok {
			t.Errorf("ConfigMap key %q: %v", key, errs)
		}
	}
	long := &api.Function{Metadata: api.Meta{Name: strings.Repeat("a", 60)}, Spec: api.FunctionSpec{Source: api.Source{Inline: "x"}}}
	if errs := kind(t, api.Functions).Validate(long); len(errs) != 1 || errs[0].Path != "metadata.name" {
		t.Errorf("a long name: %v", errs)
	}
}
