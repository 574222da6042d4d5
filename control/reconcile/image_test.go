package reconcile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/api"
)

func TestImageRevision(t *testing.T) {
	f := &api.Function{Metadata: api.Meta{Name: "web", Namespace: "shop"}, Spec: api.FunctionSpec{
		Source: api.Source{Image: "example.com/web:1"}, Command: []string{"/serve", "-v"}, Port: &api.ServePort{Number: 9000, Protocol: api.ProtocolH2C},
		PullSecrets: []api.LocalRef{{Name: "registry"}}, Env: []api.EnvVar{{Name: "A", Value: "1"}}, Secrets: []string{"db"}, Config: []string{"site"},
		Limits: api.Limits{Memory: "64Mi", CPU: "500m"},
	}}
	got := revisionSpec(f, Built{Runtime: api.RuntimeImage, Image: "example.com/web@sha256:1"})
	want := []api.Container{{
		Name: "user-container", Image: "example.com/web@sha256:1", Command: []string{"/serve", "-v"}, Env: f.Spec.Env,
		Ports:     []api.ContainerPort{{Name: api.PortH2C, ContainerPort: 9000}},
		Resources: api.Resources{Limits: map[string]api.Quantity{"memory": "64Mi", "cpu": "500m"}},
		VolumeMounts: []api.VolumeMount{
			{Name: "secret-0", MountPath: "/secrets/shop/db", ReadOnly: true}, {Name: "config-0", MountPath: "/configs/shop/site", ReadOnly: true},
		},
	}}
	if d := cmp.Diff(want, got.Containers); d != "" {
		t.Error(d)
	}
	wantVolumes := []api.Volume{{Name: "secret-0", Secret: &api.SecretVolume{SecretName: "db"}}, {Name: "config-0", ConfigMap: &api.ConfigMapVolume{Name: "site"}}}
	if d := cmp.Diff(wantVolumes, got.Volumes); d != "" {
		t.Error(d)
	}
	if got.Concurrency != api.Unlimited || got.Command != nil || got.Env != nil || got.Secrets != nil || got.PullSecrets[0].Name != "registry" {
		t.Errorf("%+v", got)
	}
	f.Spec.Concurrency = 7
	if again := revisionSpec(f, Built{Runtime: api.RuntimeImage, Image: "example.com/web@sha256:1"}); again.Concurrency != 7 || again.SpecHash == got.SpecHash {
		t.Errorf("concurrency %d, hash %s", again.Concurrency, again.SpecHash)
	}
}
