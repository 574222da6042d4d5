package server_test

import (
	"testing"
)

func TestKubectl(t *testing.T) {
	w := newWorld(t)
	t.Log(w.kubectl("api-resources", "-o", "wide"))
	t.Log(w.kubectl("version"))
	t.Log(w.kubectlIn(`{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"hello","labels":{"app":"x"}},"spec":{"runtime":"node","source":{"inline":"x"}}}`, nil, "apply", "-f", "-"))
	t.Log(w.kubectlIn(`{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"hello","labels":{"app":"x"}},"spec":{"runtime":"node","source":{"inline":"x"}}}`, nil, "apply", "-f", "-"))
	t.Log(w.kubectl("get", "functions"))
	t.Log(w.kubectl("get", "all", "-o", "wide", "-A"))
	t.Log(w.kubectl("get", "fn", "hello", "-o", "yaml"))
	t.Log(w.kubectl("describe", "fn", "hello"))
	t.Log(w.kubectl("explain", "function.spec.scale"))
	t.Log(w.kubectl("create", "secret", "generic", "s1", "--from-literal=a=b"))
	t.Log(w.kubectl("create", "cm", "c1", "--from-literal=a=b"))
	t.Log(w.kubectl("create", "ns", "shop"))
	t.Log(w.kubectl("describe", "ns", "shop"))
	t.Log(w.kubectl("describe", "secret", "s1"))
	t.Log(w.kubectl("auth", "whoami"))
	t.Log(w.kubectl("auth", "can-i", "create", "functions"))
	t.Log(w.kubectl("auth", "can-i", "--list"))
	t.Log(w.kubectl("delete", "fn", "hello"))
	t.Log(w.kubectl("delete", "ns", "shop"))
}
