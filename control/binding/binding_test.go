package binding

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// put writes obj, whatever is there.
func put(t testing.TB, st store.Store, resource, ns, name string, obj any) {
	t.Helper()
	value, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	k := store.Key{Resource: resource, Namespace: ns, Name: name}
	expect := store.New
	if rec, err := st.Get(context.Background(), k); err == nil {
		expect = rec.Revision
	}
	if _, err := st.Apply(context.Background(), k, value, expect); err != nil {
		t.Fatal(err)
	}
}

func secret(kv ...string) *api.Secret {
	s := &api.Secret{Data: map[string][]byte{}}
	for i := 0; i < len(kv); i += 2 {
		s.Data[kv[i]] = []byte(kv[i+1])
	}
	return s
}

func revision(spec api.RevisionSpec) *api.Revision {
	spec.Function, spec.Number = "f", 1
	if spec.Runtime == "" {
		spec.Runtime = api.RuntimeNode
	}
	return &api.Revision{Metadata: api.Meta{Name: "f-1", Namespace: "shop", UID: "u"}, Spec: spec}
}

func secretVar(name, object, key string, optional bool) api.EnvVar {
	return api.EnvVar{Name: name, ValueFrom: &api.ValueRef{SecretKeyRef: &api.KeyRef{Name: object, Key: key, Optional: optional}}}
}

func configVar(name, object, key string) api.EnvVar {
	return api.EnvVar{Name: name, ValueFrom: &api.ValueRef{ConfigMapKeyRef: &api.KeyRef{Name: object, Key: key}}}
}

func TestSpec(t *testing.T) {
	st := memory.NewStore()
	put(t, st, api.Secrets, "shop", "db", secret("password", "hush", "user", "ada", "1bad", "x"))
	put(t, st, api.ConfigMaps, "shop", "app", &api.ConfigMap{Data: map[string]string{"mode": "fast"}, BinaryData: map[string][]byte{"raw": {0, 1}}})
	one, five := 1, 5
	put(t, st, api.Runtimes, "shop", "fission-py", &api.Runtime{Spec: api.RuntimeSpec{
		Command: []string{"python", "server.py"}, Folder: "/srv/py", Protocol: api.ProtocolFissionV2, Env: []api.EnvVar{secretVar("KEY", "db", "user", false)},
		Pool: &api.PoolSpec{Size: &one, Max: &five}, StartTimeout: api.Seconds(7),
	}})
	put(t, st, api.Runtimes, "shop", "node", &api.Runtime{Spec: api.RuntimeSpec{Base: "node", Pool: &api.PoolSpec{Size: &five}}})

	rev := revision(api.RevisionSpec{
		Runtime: "fission-py", Artifact: "sha256:a", Handler: "main.main",
		EnvFrom: []api.EnvSource{{Prefix: "DB_", SecretRef: &api.LocalRef{Name: "db"}}, {ConfigMapRef: &api.LocalRef{Name: "gone", Optional: true}}, {SecretRef: &api.LocalRef{Name: "db"}}},
		Env: []api.EnvVar{{Name: "PLAIN", Value: "v"}, {Name: "DB_user", Value: "over"}, secretVar("PW", "db", "password", false), configVar("MODE", "app", "mode"),
			secretVar("NONE", "db", "none", true), secretVar("NO_OBJECT", "none", "none", true)},
		Secrets: []string{"db"}, Config: []string{"app"},
		Limits: api.Limits{CPU: "500m"}, Timeout: api.Duration{Duration: 5 * time.Second},
	})
	got, err := New(st, Options{}).Spec(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	want := engine.Spec{
		Tenant: "shop", Function: "f", Revision: "f-1", Artifact: "sha256:a", Handler: "main.main",
		Runtime: engine.Runtime{Name: "fission-py", Protocol: api.ProtocolFissionV2, Command: []string{"python", "server.py"}, Folder: "/srv/py", Port: 8888,
			Env: map[string]string{"KEY": "ada"}, PoolSize: 1, PoolMax: 5, StartTime: 7 * time.Second},
		Env: map[string]string{"DB_password": "hush", "DB_user": "over", "DB_1bad": "x", "password": "hush", "user": "ada", "PLAIN": "v", "PW": "hush", "MODE": "fast"},
		Files: []engine.File{
			{Path: "/secrets/shop/db/1bad", Data: []byte("x")}, {Path: "/secrets/shop/db/password", Data: []byte("hush")}, {Path: "/secrets/shop/db/user", Data: []byte("ada")},
			{Path: "/configs/shop/app/mode", Data: []byte("fast")}, {Path: "/configs/shop/app/raw", Data: []byte{0, 1}},
		},
		Limits:      engine.Limits{MemoryBytes: api.DefaultMemory, CPUMilli: 500, Processes: api.DefaultProcesses, DiskBytes: api.DefaultDisk},
		Concurrency: 1, Timeout: 5 * time.Second,
		Metadata: map[string]any{"name": "f", "namespace": "shop", "generation": int64(1)},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestRuntimes(t *testing.T) {
	st := memory.NewStore()
	five := 5
	put(t, st, api.Runtimes, "shop", "node", &api.Runtime{Spec: api.RuntimeSpec{Base: "node", Pool: &api.PoolSpec{Size: &five}}})
	put(t, st, api.Runtimes, "other", "theirs", &api.Runtime{Spec: api.RuntimeSpec{Base: "python"}})
	b := New(st, Options{})
	for _, c := range []struct {
		name    string
		want    engine.Runtime
		network string
		hint    string
	}{
		{"python", engine.Runtime{Name: "python", Shared: true, Base: "python", Protocol: api.ProtocolHearth, PoolSize: -1}, "", ""},
		{"command", engine.Runtime{Name: "command", Shared: true, Base: "command", Protocol: api.ProtocolHTTP, PoolSize: -1}, "", ""},
		{"node", engine.Runtime{Name: "node", Base: "node", Protocol: api.ProtocolHearth, Env: map[string]string{}, PoolSize: 5}, "", ""},
		{"theirs", engine.Runtime{}, "", "hearth get runtimes -n shop"},
		{"pyton", engine.Runtime{}, "", "did you mean python?"},
	} {
		got, err := b.Spec(t.Context(), revision(api.RevisionSpec{Runtime: c.name}))
		if c.hint != "" {
			if e := api.AsError(err); !api.IsCode(err, api.CodeNoRuntime) || !strings.Contains(e.Help(), c.hint) {
				t.Errorf("%s: %v, hint %q", c.name, err, e.Help())
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, got.Runtime); d != "" || got.Network != c.network {
			t.Errorf("%s: network %s, -want +got\n%s", c.name, got.Network, d)
		}
	}
}

func TestMissing(t *testing.T) {
	st := memory.NewStore()
	put(t, st, api.Secrets, "shop", "db", secret("password", "hush", "zero", "hu\x00sh"))
	put(t, st, api.Secrets, "other", "theirs", secret("password", "hush"))
	b := New(st, Options{})
	for _, c := range []struct {
		spec api.RevisionSpec
		says []string
	}{
		{api.RevisionSpec{Env: []api.EnvVar{secretVar("A", "db", "absent", false)}}, []string{`key "absent" of Secret "db"`, "--from-literal=absent="}},
		{api.RevisionSpec{Env: []api.EnvVar{secretVar("A", "theirs", "password", false)}}, []string{`Secret "theirs" is not there`, "create secret generic theirs -n shop"}},
		{api.RevisionSpec{Env: []api.EnvVar{configVar("A", "app", "mode")}}, []string{`ConfigMap "app" is not there`, "create configmap app"}},
		{api.RevisionSpec{EnvFrom: []api.EnvSource{{SecretRef: &api.LocalRef{Name: "theirs"}}}}, []string{`Secret "theirs"`}},
		{api.RevisionSpec{Secrets: []string{"theirs"}}, []string{`Secret "theirs"`}},
		{api.RevisionSpec{Config: []string{"app"}}, []string{`ConfigMap "app"`}},
		{api.RevisionSpec{Env: []api.EnvVar{secretVar("A", "db", "zero", false)}}, []string{"zero byte", "spec.secrets"}},
	} {
		_, err := b.Spec(t.Context(), revision(c.spec))
		e := api.AsError(err)
		if !api.IsCode(err, api.CodeStartFailed) || strings.Contains(e.Message+e.Hint+e.Detail, "hush") {
			t.Errorf("%+v: %v", c.spec, err)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(e.Message+"\n"+e.Help(), s) {
				t.Errorf("%q with hint %q does not say %q", e.Message, e.Help(), s)
			}
		}
		s := c.spec
		f := &api.Function{Metadata: api.Meta{Namespace: "shop", Name: "f"}, Spec: api.FunctionSpec{Env: s.Env, EnvFrom: s.EnvFrom, Secrets: s.Secrets, Config: s.Config}}
		if cerr := b.Check(t.Context(), f); cerr == nil || cerr.Error() != err.Error() {
			t.Errorf("Check says %v, Spec %v", cerr, err)
		}
	}
}

// reads counts what the binder asks of the store.
type reads struct {
	store.Store
	n int
}

func (r *reads) Get(ctx context.Context, k store.Key) (store.Record, error) {
	r.n++
	return r.Store.Get(ctx, k)
}

func TestCacheFollowsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &reads{Store: memory.NewStore()}
		put(t, st, api.Secrets, "shop", "db", secret("password", "one"))
		b := New(st, Options{})
		rev := revision(api.RevisionSpec{Env: []api.EnvVar{secretVar("PW", "db", "password", false), secretVar("LATER", "late", "key", true)}})
		value := func() (string, string) {
			t.Helper()
			s, err := b.Spec(t.Context(), rev)
			if err != nil {
				t.Fatal(err)
			}
			return s.Env["PW"], s.Env["LATER"]
		}
		value()
		before := st.n
		if value(); st.n == before {
			t.Error("kept a spec although nothing watches the store")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { b.Run(ctx); close(ended) }()
		synctest.Wait()
		value()
		before = st.n
		if pw, _ := value(); pw != "one" || st.n != before {
			t.Errorf("value %q after %d more reads", pw, st.n-before)
		}
		put(t, st, api.Secrets, "shop", "db", secret("password", "two"))
		synctest.Wait()
		if pw, _ := value(); pw != "two" {
			t.Errorf("an old value: %q", pw)
		}
		put(t, st, api.Secrets, "shop", "late", secret("key", "here"))
		synctest.Wait()
		if _, late := value(); late != "here" {
			t.Error("an optional secret that came later is not seen")
		}
		put(t, st, api.Runtimes, "shop", "node", &api.Runtime{Spec: api.RuntimeSpec{Base: "node", StartTimeout: api.Seconds(9)}})
		synctest.Wait()
		if s, _ := b.Spec(ctx, rev); s.Runtime.StartTime != 9*time.Second {
			t.Error("a runtime that came later is not seen")
		}
		put(t, st, api.Secrets, "other", "db", secret("password", "three"))
		synctest.Wait()
		gets := st.n
		if value(); st.n != gets {
			t.Error("another tenant's secret made the spec stale")
		}
		cancel()
		<-ended
		put(t, st.Store, api.Secrets, "shop", "db", secret("password", "four"))
		if pw, _ := value(); pw != "four" {
			t.Error("an old value after the watch ended")
		}
		if len(b.objects) != 0 {
			t.Errorf("%d objects are left", len(b.objects))
		}
	})
}

func BenchmarkSpecKept(b *testing.B) {
	st := memory.NewStore()
	put(b, st, api.Secrets, "shop", "db", secret("password", "one"))
	bind := New(st, Options{})
	bind.reset(true)
	rev := revision(api.RevisionSpec{Env: []api.EnvVar{secretVar("PW", "db", "password", false)}})
	for b.Loop() {
		if _, err := bind.Spec(b.Context(), rev); err != nil {
			b.Fatal(err)
		}
	}
}
