package binding

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
)

func ptr[T any](v T) *T { return &v }

func podRevision(spec api.RevisionSpec) *api.Revision {
	spec.Function, spec.Number = "shop", 1
	return &api.Revision{Metadata: api.Meta{Name: "shop-00001", Namespace: "shop", UID: "u"}, Spec: spec}
}

func TestPod(t *testing.T) {
	st := memory.NewStore()
	put(t, st, api.Secrets, "shop", "db", secret("password", "hush", "user", "ada"))
	put(t, st, api.ConfigMaps, "shop", "app", &api.ConfigMap{Data: map[string]string{"mode": "fast", "app.ini": "x=1"}})
	put(t, st, api.Secrets, "shop", "pull", secret(keyDockerConfig, `{"auths":{"a":{}}}`))
	put(t, st, api.Secrets, "shop", "old", secret(keyDockerCfg, `{"b":{}}`))
	put(t, st, "serviceaccounts", "shop", "default", map[string]any{"imagePullSecrets": []any{map[string]any{"name": "old"}, map[string]any{"name": "gone"}}})

	rev := podRevision(api.RevisionSpec{
		Owner: "Revision/shop-00001", Concurrency: api.Unlimited, Timeout: api.Duration{Duration: 300 * time.Second}, StartTimeout: api.Seconds(20),
		PullSecrets: []api.LocalRef{{Name: "pull"}},
		InitContainers: []api.Container{{
			Name: "migrate", Image: "m@sha256:1", Args: []string{"--db", "$(DB_user)"}, EnvFrom: []api.EnvSource{{Prefix: "DB_", SecretRef: &api.LocalRef{Name: "db"}}},
		}},
		Containers: []api.Container{
			{Name: "side", Image: "s@sha256:2", LivenessProbe: &api.Probe{HTTPGet: &api.HTTPGet{Path: "/live", Port: "9000", Scheme: "HTTPS", HTTPHeaders: []api.HTTPHeader{{Name: "A", Value: "b"}}}}},
			{
				Name: "user-container", Image: "u@sha256:3", Command: []string{"/srv", "$(K_SERVICE)", "$$(K_SERVICE)", "$(NONE)", "$PORT"}, WorkingDir: "/w",
				Env: []api.EnvVar{
					{Name: "K_SERVICE", Value: "shop"}, {Name: "WHO", Value: "$(K_SERVICE)-$(LATER)"}, {Name: "LATER", Value: "x"},
					secretVar("PW", "db", "password", false), {Name: "PORT", Value: "1"},
				},
				EnvFrom: []api.EnvSource{{ConfigMapRef: &api.LocalRef{Name: "app"}}},
				Ports:   []api.ContainerPort{{Name: api.PortH2C, ContainerPort: 9090}},
				Resources: api.Resources{
					Limits: map[string]api.Quantity{"memory": "64Mi", "cpu": "500m", "ephemeral-storage": "1Gi"}, Requests: map[string]api.Quantity{"cpu": "2"},
				},
				VolumeMounts: []api.VolumeMount{
					{Name: "keys", MountPath: "/keys", ReadOnly: true}, {Name: "scratch", MountPath: "/scratch", SubPath: "a"}, {Name: "all", MountPath: "/all"},
				},
				ReadinessProbe: &api.Probe{TCPSocket: &api.TCPSocket{Port: "h2c"}, SuccessThreshold: 1},
				StartupProbe:   &api.Probe{GRPC: &api.GRPCProbe{Service: ptr("shop")}, PeriodSeconds: ptr(2), FailureThreshold: 9, TimeoutSeconds: 4, InitialDelaySeconds: 1},
				LivenessProbe:  &api.Probe{Exec: &api.Exec{Command: []string{"true"}}},
				SecurityContext: &api.SecurityContext{
					RunAsUser: ptr(int64(1000)), RunAsGroup: ptr(int64(2000)), RunAsNonRoot: ptr(true), ReadOnlyRootFilesystem: ptr(true),
					Capabilities: &api.Capabilities{Drop: []string{"ALL"}},
				},
			},
		},
		Volumes: []api.Volume{
			{Name: "keys", Secret: &api.SecretVolume{SecretName: "db", DefaultMode: ptr(0o400), Items: []api.KeyToPath{{Key: "user", Path: "who/name"}, {Key: "password", Path: "pw", Mode: ptr(0o440)}}}},
			{Name: "scratch", EmptyDir: &api.EmptyDirVolume{Medium: "Memory", SizeLimit: "10Mi"}},
			{Name: "maybe", ConfigMap: &api.ConfigMapVolume{Name: "gone", Optional: ptr(true)}},
			{Name: "all", Projected: &api.ProjectedVolume{DefaultMode: ptr(0o444), Sources: []api.VolumeProjection{
				{ConfigMap: &api.Projection{Name: "app"}}, {Secret: &api.Projection{Name: "db", Items: []api.KeyToPath{{Key: "user", Path: "mode"}, {Key: "gone", Path: "x"}}, Optional: ptr(true)}},
			}}},
		},
	})
	got, err := New(st, Options{}).Spec(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	free := engine.Limits{Processes: containerProcesses}
	want := engine.Spec{
		Tenant: "shop", Function: "shop", Revision: "shop-00001", Concurrency: api.Unlimited, Timeout: 300 * time.Second,
		Metadata: map[string]any{"name": "shop", "namespace": "shop", "generation": int64(1)},
		Pod: &engine.Pod{
			Port: 9090, Serving: 1, Protocol: api.ProtocolH2C, Progress: 20 * time.Second, Grace: 300 * time.Second,
			Pull: [][]byte{[]byte(`{"auths":{"a":{}}}`), []byte(`{"auths":{"b":{}}}`)},
			Init: []engine.Container{{
				Name: "migrate", Image: "m@sha256:1", Args: []string{"--db", "ada"}, Env: map[string]string{"DB_user": "ada", "DB_password": "hush"}, Limits: free,
			}},
			Containers: []engine.Container{
				{Name: "side", Image: "s@sha256:2", Env: map[string]string{}, Limits: free, Liveness: &engine.Probe{
					HTTP: &engine.HTTPProbe{Port: 9000, Path: "/live", TLS: true, Header: [][2]string{{"A", "b"}}}, Period: 10 * time.Second,
				}},
				{
					Name: "user-container", Image: "u@sha256:3", Command: []string{"/srv", "shop", "$(K_SERVICE)", "$(NONE)", "$PORT"}, Dir: "/w",
					Env: map[string]string{
						"K_SERVICE": "shop", "WHO": "shop-$(LATER)", "LATER": "x", "PW": "hush", "PORT": "9090", "mode": "fast", "app.ini": "x=1",
					},
					Mounts: []engine.Mount{{Volume: "keys", Path: "/keys"}, {Volume: "scratch", Path: "/scratch", SubPath: "a", Write: true}, {Volume: "all", Path: "/all"}},
					Limits: engine.Limits{MemoryBytes: 64 << 20, CPUMilli: 500, Processes: containerProcesses, DiskBytes: 1 << 30},
					User:   ptr(int64(1000)), Group: ptr(int64(2000)), NonRoot: true, ReadOnlyRoot: true, DropCaps: []string{"ALL"},
					Readiness: &engine.Probe{TCP: ptr(9090), Success: 1},
					Startup:   &engine.Probe{GRPC: &engine.GRPCProbe{Port: 9090, Service: "shop"}, Period: 2 * time.Second, Failure: 9, Timeout: 4 * time.Second, Delay: time.Second},
					Liveness:  &engine.Probe{Exec: []string{"true"}, Period: 10 * time.Second},
				},
			},
			Volumes: []engine.Volume{
				{Name: "keys", Files: []engine.VolumeFile{{Path: "pw", Data: []byte("hush"), Mode: 0o440}, {Path: "who/name", Data: []byte("ada"), Mode: 0o400}}},
				{Name: "scratch", Empty: true, Memory: true, Size: 10 << 20},
				{Name: "maybe", Files: []engine.VolumeFile{}},
				{Name: "all", Files: []engine.VolumeFile{{Path: "app.ini", Data: []byte("x=1"), Mode: 0o444}, {Path: "mode", Data: []byte("ada"), Mode: 0o444}}},
			},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestPodDefaults: a container that says nothing serves HTTP/1.1 at 8080, and a
// function's limits hold for its containers.
func TestPodDefaults(t *testing.T) {
	rev := podRevision(api.RevisionSpec{Containers: []api.Container{{Image: "x"}}, Limits: api.Limits{Memory: "32Mi", Processes: 9}})
	got, err := New(memory.NewStore(), Options{}).Spec(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	c := got.Pod.Containers[0]
	if got.Pod.Port != 8080 || got.Pod.Protocol != api.ProtocolHTTP || c.Env["PORT"] != "8080" || c.Readiness != nil {
		t.Errorf("pod %+v", got.Pod)
	}
	if c.Env["K_SERVICE"] != "shop" || c.Env["K_REVISION"] != "shop-00001" {
		t.Errorf("env %v", c.Env)
	}
	if want := (engine.Limits{MemoryBytes: 32 << 20, Processes: 9}); c.Limits != want {
		t.Errorf("limits %+v, want %+v", c.Limits, want)
	}
}

func TestPodMissing(t *testing.T) {
	st := memory.NewStore()
	put(t, st, api.Secrets, "shop", "db", secret("user", "ada"))
	one := func(change func(*api.RevisionSpec)) *api.Revision {
		s := api.RevisionSpec{Containers: []api.Container{{Name: "c", Image: "x"}}}
		change(&s)
		return podRevision(s)
	}
	volume := func(v api.Volume) func(*api.RevisionSpec) {
		return func(s *api.RevisionSpec) { s.Volumes = []api.Volume{v} }
	}
	for name, c := range map[string]struct {
		change  func(*api.RevisionSpec)
		message string
		hint    string
	}{
		"variable": {func(s *api.RevisionSpec) { s.Containers[0].Env = []api.EnvVar{secretVar("A", "none", "k", false)} }, `Secret "none" is not there`, "kubectl create secret generic none"},
		"volume":   {volume(api.Volume{Name: "v", ConfigMap: &api.ConfigMapVolume{Name: "none"}}), `ConfigMap "none" is not there`, "kubectl create configmap none"},
		"item":     {volume(api.Volume{Name: "v", Secret: &api.SecretVolume{SecretName: "db", Items: []api.KeyToPath{{Key: "pw", Path: "p"}}}}), `key "pw" of Secret "db" is not there`, "add the key"},
		"path":     {volume(api.Volume{Name: "v", Secret: &api.SecretVolume{SecretName: "db", Items: []api.KeyToPath{{Key: "user", Path: "a/../../b"}}}}), "does not stay inside the volume", "relative"},
		"mount": {func(s *api.RevisionSpec) {
			s.Containers[0].VolumeMounts = []api.VolumeMount{{Name: "v", MountPath: "/v"}}
		}, `container "c" mounts volume "v", which is not there`, "remove the mount"},
		"pull":      {func(s *api.RevisionSpec) { s.PullSecrets = []api.LocalRef{{Name: "reg"}} }, `Secret "reg", which is to pull the image, is not there`, "kubectl create secret docker-registry reg"},
		"pull type": {func(s *api.RevisionSpec) { s.PullSecrets = []api.LocalRef{{Name: "db"}} }, `has neither key .dockerconfigjson`, "docker-registry"},
		"probe": {func(s *api.RevisionSpec) {
			s.Containers[0].ReadinessProbe = &api.Probe{TCPSocket: &api.TCPSocket{Port: "web"}}
		}, `readiness probe of container "c": the container has no port named "web"`, "a probe's port"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(st, Options{}).Spec(t.Context(), one(c.change))
			e := api.AsError(err)
			if e == nil || e.Code != api.CodeStartFailed || !strings.Contains(e.Message, c.message) || !strings.Contains(e.Hint, c.hint) {
				t.Errorf("%v, want %q and %q", err, c.message, c.hint)
			}
		})
	}
}

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "B": "$(A)"}
	for in, want := range map[string]string{
		"": "", "a": "a", "$(A)": "1", "x$(A)y$(B)": "x1y$(A)", "$$(A)": "$(A)", "$(C)": "$(C)", "$A": "$A", "$(A": "$(A", "$": "$", "$$": "$", "a$": "a$", "$()": "$()",
	} {
		if got := expand(in, env); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
