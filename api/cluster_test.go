package api_test

import (
	"testing"

	"github.com/hearth-run/hearth/api"
)

func TestClusterHost(t *testing.T) {
	for host, want := range map[string]string{
		"a.b.svc.cluster.local": "b", "a.b.svc": "b", "x-a.b.svc": "b", "*.b.svc.cluster.local": "b", "x.a.b.svc": "b",
		"b.svc": "", ".svc": "", ".b.svc": "", "*.svc.cluster.local": "",
	} {
		if got, ok := api.ClusterHost(host); !ok || got != want {
			t.Errorf("%s: %q %v, want %q", host, got, ok, want)
		}
	}
	for _, host := range []string{"", "a.b", "svc", "svc.cluster.local", "cluster.local", "a.b.cluster.local", "a.svc.test", "a.bsvc"} {
		if got, ok := api.ClusterHost(host); ok {
			t.Errorf("%s: %q", host, got)
		}
	}
}
