package e2e

import (
	"strings"
	"testing"
)

const podProgram = `package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	if f := os.Getenv("INIT"); f != "" {
		if err := os.WriteFile(f, []byte("by init"), 0o644); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	if f := os.Getenv("SIDE"); f != "" {
		os.WriteFile(f, []byte("by the sidecar"), 0o644)
		time.Sleep(time.Hour)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		for _, f := range os.Args[1:] {
			if b, err := os.ReadFile(f); err != nil {
				fmt.Fprintln(w, err)
			} else {
				fmt.Fprintln(w, string(b))
			}
		}
		err := os.WriteFile("/keys/new", nil, 0o644)
		fmt.Fprintln(w, os.Getuid(), os.Getenv("PW"), os.Getenv("CFG_mode"), os.Getenv("PORT"), err != nil)
	})
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
`

const podManifest = `
apiVersion: v1
kind: ConfigMap
metadata: {name: cfg}
data: {mode: fast}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: pod}
spec:
  template:
    spec:
      initContainers:
      - {name: prepare, image: IMAGE, env: [{name: INIT, value: /scratch/init}], volumeMounts: [{name: scratch, mountPath: /scratch}]}
      containers:
      - name: web
        image: IMAGE
        ports: [{containerPort: 9000}]
        args: [/scratch/init, /scratch/side, /keys/password, /all/mode, $(CFG_mode)]
        env: [{name: PW, valueFrom: {secretKeyRef: {name: db, key: password}}}]
        envFrom: [{prefix: CFG_, configMapRef: {name: cfg}}]
        readinessProbe: {httpGet: {path: /}}
        resources: {limits: {memory: 64Mi, cpu: 500m}}
        securityContext: {runAsUser: 1234}
        volumeMounts: [{name: scratch, mountPath: /scratch}, {name: keys, mountPath: /keys}, {name: all, mountPath: /all}]
      - name: side
        image: IMAGE
        env: [{name: SIDE, value: /scratch/side}]
        volumeMounts: [{name: scratch, mountPath: /scratch}]
      volumes:
      - {name: scratch, emptyDir: {}}
      - {name: keys, secret: {secretName: db}}
      - {name: all, projected: {sources: [{configMap: {name: cfg}}]}}
`

// TestKnativePod is a revision of several containers that share volumes, with
// configuration and a secret that comes too late.
func TestKnativePod(t *testing.T) {
	s := up(t)
	k := s.kubectl(t)
	l := func(p ...string) []string { return p }
	image := s.image(t, "pod:1", podProgram)
	k.okIn(strings.ReplaceAll(podManifest, "IMAGE", image), l("pod created"), "apply", "-f", "-")
	k.soon(l(`False.*Secret "db" is not there`), "get", "ksvc", "pod", "-o", `jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.message}{end}`)

	k.ok(l("created"), "create", "secret", "generic", "db", "--from-literal=password=hush")
	k.ok(l("condition met"), "wait", "--for=condition=Ready", "ksvc/pod", "--timeout=120s")
	want := "by init\nby the sidecar\nhush\nfast\nopen fast: no such file or directory\n1234 hush fast 9000 true"
	code, got := 0, ""
	eventually(t, patience, "the sidecar has written", func() bool {
		code, got = s.at(t, "pod.default.localhost")
		return code != 200 || strings.Contains(got, "sidecar\n")
	})
	if code != 200 || got != want {
		t.Errorf("it answers %d\n%s\nwant\n%s", code, got, want)
	}
}
