package e2e

import (
	"strings"
	"testing"
)

const probedProgram = `package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

func main() {
	var ill, dead atomic.Bool
	var asked atomic.Int64
	http.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		if ill.Load() {
			if asked.Add(1) > 5 {
				ill.Store(false)
				return
			}
			w.WriteHeader(503)
		}
	})
	http.HandleFunc("/alive", func(w http.ResponseWriter, r *http.Request) {
		if dead.Load() {
			w.WriteHeader(500)
		}
	})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, map[bool]string{true: "ill ", false: "well "}[ill.Load()], os.Getenv("HOSTNAME"))
		switch r.Header.Get("Do") {
		case "ill":
			asked.Store(0)
			ill.Store(true)
		case "die":
			dead.Store(true)
		}
	})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		fmt.Println("these are my last words")
		os.Exit(0)
	}()
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
`

const probedManifest = `
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: probed}
spec:
  template:
    metadata: {annotations: {autoscaling.knative.dev/max-scale: "1", autoscaling.knative.dev/min-scale: "1"}}
    spec:
      containers:
      - image: IMAGE
        readinessProbe: {httpGet: {path: /ready}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 30}
        livenessProbe: {httpGet: {path: /alive}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 30, terminationGracePeriodSeconds: 30}
`

// TestKnativeProbes has a program that is not ready for a while, and then one
// that has to be replaced.
func TestKnativeProbes(t *testing.T) {
	s := up(t)
	k := s.kubectl(t)
	l := func(p ...string) []string { return p }
	image := s.image(t, "probed:1", probedProgram)
	k.okIn(strings.ReplaceAll(probedManifest, "IMAGE", image), l("probed created"), "apply", "-f", "-")
	k.ok(l("condition met"), "wait", "--for=condition=Ready", "ksvc/probed", "--timeout=120s")
	host := "probed.default.localhost"
	must := func(header ...string) (state, instance string) {
		t.Helper()
		code, got := s.at(t, host, header...)
		state, instance, ok := strings.Cut(got, " ")
		if code != 200 || !ok {
			t.Fatalf("%d %s", code, got)
		}
		return state, instance
	}
	logs := func() string {
		out, _, _ := s.run("logs", "probed")
		return out
	}
	_, first := must("Do", "ill")
	eventually(t, patience, "the readiness probe has failed", func() bool {
		return strings.Contains(logs(), "instance takes no calls: the readiness probe failed 1 times: GET /ready on port 8080: status 503")
	})
	if state, instance := must(); state != "well" || instance != first { // it waited
		t.Errorf("%s answers and is %s, want %s", instance, state, first)
	}
	if out := logs(); !strings.Contains(out, "instance takes calls again") {
		t.Error(tail(out, 1000))
	}
	must("Do", "die")
	eventually(t, patience, "the instance has ended", func() bool { return strings.Contains(logs(), "instance killed") })
	if out := logs(); !strings.Contains(out, "these are my last words") || !strings.Contains(out, "instance killed: the liveness probe failed 1 times: GET /alive on port 8080: status 500") {
		t.Error(tail(out, 1000))
	}
	if _, instance := must(); instance == first {
		t.Error("it answers after its end")
	}
}
