package binding

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/driver/memory"
)

func fieldVar(name, path string) api.EnvVar {
	return api.EnvVar{Name: name, ValueFrom: &api.ValueRef{FieldRef: &api.FieldRef{FieldPath: path}}}
}

func resourceVar(name, container, resource, divisor string) api.EnvVar {
	return api.EnvVar{Name: name, ValueFrom: &api.ValueRef{ResourceFieldRef: &api.ResourceFieldRef{ContainerName: container, Resource: resource, Divisor: api.Quantity(divisor)}}}
}

func TestFacts(t *testing.T) {
	machine := engine.Limits{MemoryBytes: 8 << 30, CPUMilli: 4000, DiskBytes: 100 << 30}
	rev := podRevision(api.RevisionSpec{
		ServiceAccount: "robot", Limits: api.Limits{Disk: "1Gi"},
		Containers: []api.Container{
			{
				Name: "web", Image: "w@sha256:1", Args: []string{"--name=$(NAME)"},
				Resources: api.Resources{Limits: map[string]api.Quantity{"memory": "100Mi", "cpu": "1500m"}, Requests: map[string]api.Quantity{"memory": "64M"}},
				Env: []api.EnvVar{
					fieldVar("NAME", "metadata.name"), fieldVar("UID", "metadata.uid"), fieldVar("NS", "metadata.namespace"), fieldVar("APP", "metadata.labels['app']"),
					fieldVar("NONE", "metadata.labels['none']"), fieldVar("NOTE", "metadata.annotations['example.com/note']"), fieldVar("NODE", "spec.nodeName"),
					fieldVar("SA", "spec.serviceAccountName"), fieldVar("IP", "status.podIP"), fieldVar("HOST", "status.hostIP"), {Name: "BOTH", Value: "$(NS)/$(NAME)"},
					resourceVar("CPUS", "", "limits.cpu", ""), resourceVar("MILLI", "", "limits.cpu", "1m"), resourceVar("MEM", "", "limits.memory", ""), resourceVar("MIB", "web", "limits.memory", "1Mi"),
					resourceVar("ASKED", "", "requests.memory", "1Mi"), resourceVar("CPUASKED", "", "requests.cpu", "1m"), resourceVar("DISK", "", "limits.ephemeral-storage", "1Mi"),
					resourceVar("ALLCPU", "side", "limits.cpu", ""), resourceVar("ALLMEM", "side", "limits.memory", "1Gi"), resourceVar("NOTHING", "side", "requests.memory", ""),
				},
				Ports: []api.ContainerPort{{ContainerPort: 8080}}, VolumeMounts: []api.VolumeMount{{Name: "facts", MountPath: "/facts", ReadOnly: true}},
			},
			{Name: "side", Image: "s@sha256:2"},
		},
		Volumes: []api.Volume{{Name: "facts", Projected: &api.ProjectedVolume{DefaultMode: ptr(0o440), Sources: []api.VolumeProjection{{DownwardAPI: &api.DownwardAPI{Items: []api.DownwardAPIFile{
			{Path: "labels", FieldRef: &api.FieldRef{FieldPath: "metadata.labels"}}, {Path: "who/name", FieldRef: &api.FieldRef{FieldPath: "metadata.name"}, Mode: ptr(0o400)},
			{Path: "cpus", ResourceFieldRef: &api.ResourceFieldRef{ContainerName: "web", Resource: "limits.cpu"}},
		}}}}}}},
	})
	rev.Metadata.Labels, rev.Metadata.Annotations = map[string]string{"app": "shop", "a": "x y\n"}, map[string]string{"example.com/note": "hi"}
	got, err := New(memory.NewStore(), Options{Machine: machine}).Spec(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	env := got.Pod.Containers[0].Env
	for k := range env {
		if strings.HasPrefix(k, "K_") || k == "PORT" {
			delete(env, k)
		}
	}
	want := map[string]string{
		"NAME": engine.StandInName, "UID": engine.StandInUID, "NS": "shop", "APP": "shop", "NONE": "", "NOTE": "hi", "NODE": engine.StandInHostName, "SA": "robot",
		"IP": engine.StandInIP, "HOST": engine.StandInHostIP, "BOTH": "shop/" + engine.StandInName,
		"CPUS": "2", "MILLI": "1500", "MEM": "104857600", "MIB": "100", "ASKED": "62", "CPUASKED": "1500", "DISK": "1024", "ALLCPU": "4", "ALLMEM": "8", "NOTHING": "0",
	}
	if d := cmp.Diff(want, env); d != "" {
		t.Error(d)
	}
	if a := got.Pod.Containers[0].Args[0]; a != "--name="+engine.StandInName {
		t.Errorf("the argument is %q", a)
	}
	files := []engine.VolumeFile{
		{Path: "cpus", Data: []byte("2"), Mode: 0o440}, {Path: "labels", Data: []byte("a=\"x y\\n\"\napp=\"shop\""), Mode: 0o440},
		{Path: "who/name", Data: []byte(engine.StandInName), Mode: 0o400, Late: true},
	}
	if d := cmp.Diff(files, got.Pod.Volumes[0].Files); d != "" {
		t.Error(d)
	}
}

func TestFactsRefused(t *testing.T) {
	st := memory.NewStore()
	file := func(f api.DownwardAPIFile) api.VolumeProjection {
		return api.VolumeProjection{DownwardAPI: &api.DownwardAPI{Items: []api.DownwardAPIFile{f}}}
	}
	for want, change := range map[string]func(s *api.RevisionSpec){
		`fieldPath "spec.restartPolicy" is not known`: func(s *api.RevisionSpec) { s.Containers[0].Env = []api.EnvVar{fieldVar("A", "spec.restartPolicy")} },
		`fieldPath "metadata.labels" is not known`:    func(s *api.RevisionSpec) { s.Containers[0].Env = []api.EnvVar{fieldVar("A", "metadata.labels")} },
		"metadata.annotations['bad'] has a zero byte": func(s *api.RevisionSpec) {
			s.Containers[0].Env = []api.EnvVar{fieldVar("A", "metadata.annotations['bad']")}
		},
		`container "other", which is not there`: func(s *api.RevisionSpec) {
			s.Containers[0].Env = []api.EnvVar{resourceVar("A", "other", "limits.cpu", "")}
		},
		`resource "limits.gpu" is not known`: func(s *api.RevisionSpec) { s.Containers[0].Env = []api.EnvVar{resourceVar("A", "", "limits.gpu", "")} },
		`fieldPath "status.podIP" is not known in a volume`: func(s *api.RevisionSpec) {
			s.Volumes[0].Projected.Sources = []api.VolumeProjection{file(api.DownwardAPIFile{Path: "a", FieldRef: &api.FieldRef{FieldPath: "status.podIP"}})}
		},
		`path "../a" of downwardAPI does not stay inside`: func(s *api.RevisionSpec) {
			s.Volumes[0].Projected.Sources = []api.VolumeProjection{file(api.DownwardAPIFile{Path: "../a", FieldRef: &api.FieldRef{FieldPath: "metadata.name"}})}
		},
		`path "/token" of serviceAccountToken does not stay inside`: func(s *api.RevisionSpec) {
			s.Volumes[0].Projected.Sources = []api.VolumeProjection{{ServiceAccountToken: &api.ServiceAccountToken{Path: "/token"}}}
		},
	} {
		s := api.RevisionSpec{Containers: []api.Container{{Name: "web", Image: "w@sha256:1"}}, Volumes: []api.Volume{{Name: "v", Projected: &api.ProjectedVolume{}}}}
		change(&s)
		rev := podRevision(s)
		rev.Metadata.Annotations = map[string]string{"bad": "a\x00b"}
		_, err := New(st, Options{}).Spec(t.Context(), rev)
		if !api.IsCode(err, api.CodeStartFailed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f := &api.Function{Metadata: api.Meta{Name: "f", Namespace: "shop"}, Spec: api.FunctionSpec{Env: []api.EnvVar{fieldVar("A", "metadata.name")}}}
	if err := New(st, Options{}).Check(t.Context(), f); err == nil || !strings.Contains(err.Error(), "are for programs from images") {
		t.Errorf("a function without an image: %v", err)
	}
	f.Spec.Source.Image = "example.com/f"
	if err := New(st, Options{}).Check(t.Context(), f); err != nil {
		t.Errorf("a function from an image: %v", err)
	}
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, id := memory.NewStore(), memory.NewIdentity()
		tokens := func(list ...*api.ServiceAccountToken) api.RevisionSpec {
			s := api.RevisionSpec{ServiceAccount: "robot", Containers: []api.Container{{Name: "web", Image: "w@sha256:1"}},
				Volumes: []api.Volume{{Name: "v", Projected: &api.ProjectedVolume{DefaultMode: ptr(0o400)}}}}
			for _, a := range list {
				s.Volumes[0].Projected.Sources = append(s.Volumes[0].Projected.Sources, api.VolumeProjection{ServiceAccountToken: a})
			}
			return s
		}
		b := New(st, Options{Tokens: id})
		spec, err := b.Spec(t.Context(), podRevision(tokens(&api.ServiceAccountToken{Path: "token"}, &api.ServiceAccountToken{Path: "x/vault", Audience: "vault", ExpirationSeconds: ptr(int64(600))})))
		if err != nil {
			t.Fatal(err)
		}
		v := spec.Pod.Volumes[0]
		if _, _, err := v.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), `ServiceAccount "robot" is not there`) {
			t.Errorf("for an account that is not there: %v", err)
		}
		put(t, st, "serviceaccounts", "shop", "robot", map[string]any{})
		files, again, err := v.Renew(t.Context())
		if err != nil || len(files) != 2 || time.Until(again) != 480*time.Second {
			t.Fatalf("%v, again in %s, %v", files, time.Until(again), err)
		}
		if files[0].Path != "token" || files[1].Path != "x/vault" || files[0].Mode != 0o400 || files[0].Late {
			t.Errorf("%+v", files)
		}
		caller, err := id.Authenticate(t.Context(), string(files[0].Data))
		if want := (identity.Caller{Name: "system:serviceaccount:shop:robot", Namespaces: []string{"shop"}}); err != nil || !cmp.Equal(caller, want) {
			t.Errorf("%+v, %v", caller, err)
		}
		if _, err := id.Authenticate(t.Context(), string(files[1].Data)); err == nil || !strings.Contains(err.Error(), "vault") {
			t.Errorf("the API takes a token for vault: %v", err)
		}
		time.Sleep(59 * time.Minute)
		if _, err := id.Authenticate(t.Context(), string(files[0].Data)); err != nil {
			t.Errorf("within its hour: %v", err)
		}
		time.Sleep(time.Minute)
		if _, err := id.Authenticate(t.Context(), string(files[0].Data)); err == nil {
			t.Error("it is valid for longer than an hour")
		}
		if next, _, err := v.Renew(context.Background()); err != nil || string(next[0].Data) == string(files[0].Data) {
			t.Errorf("not a new one: %v", err)
		}
		spec, err = New(st, Options{}).Spec(t.Context(), podRevision(tokens(&api.ServiceAccountToken{Path: "token"})))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := spec.Pod.Volumes[0].Renew(t.Context()); !api.IsCode(err, api.CodeUnsupported) {
			t.Errorf("where there are no tokens: %v", err)
		}
	})
}
