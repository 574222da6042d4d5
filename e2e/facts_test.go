package e2e

import (
	"regexp"
	"strings"
	"testing"
)

const factsProgram = `package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if f := r.Header.Get("File"); f != "" {
			b, err := os.ReadFile(f)
			if err != nil {
				fmt.Fprint(w, err)
			}
			w.Write(b)
		}
		fmt.Fprint(w, os.Getenv(r.Header.Get("Variable")))
	})
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
`

const factsManifest = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, annotations: {hearth.run/role: viewer}}
---
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: facts}
spec:
  template:
    metadata: {labels: {team: shop}, annotations: {example.com/note: hi}}
    spec:
      serviceAccountName: robot
      containers:
      - image: IMAGE
        env:
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
        - {name: MILLI, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
        resources: {limits: {memory: 64Mi, cpu: 500m}}
        volumeMounts: [{name: all, mountPath: /all}]
      volumes:
      - name: all
        projected:
          sources:
          - downwardAPI:
              items:
              - {path: pod/name, fieldRef: {fieldPath: metadata.name}}
              - {path: pod/labels, fieldRef: {fieldPath: metadata.labels}}
              - {path: pod/note, fieldRef: {fieldPath: "metadata.annotations['example.com/note']"}}
              - {path: memory, resourceFieldRef: {containerName: user-container, resource: limits.memory, divisor: 1Mi}}
          - serviceAccountToken: {path: token}
          - serviceAccountToken: {path: vault, audience: vault, expirationSeconds: 600}
`

// TestKnativeFacts is a program that asks what it is, and calls the API with the
// token of its account.
func TestKnativeFacts(t *testing.T) {
	s := up(t)
	k := s.kubectl(t)
	l := func(p ...string) []string { return p }
	k.soon(l("config-features"), "get", "configmaps", "-n", "knative-serving") // they are made as it starts
	k.ok(l("patched"), "patch", "configmap", "config-features", "-n", "knative-serving", "--type", "merge", "-p", `{"data":{"kubernetes.podspec-fieldref":"enabled"}}`)
	image := s.image(t, "facts:1", factsProgram)
	k.okIn(strings.ReplaceAll(factsManifest, "IMAGE", image), l("facts created"), "apply", "-f", "-")
	k.ok(l("condition met"), "wait", "--for=condition=Ready", "ksvc/facts", "--timeout=120s")
	host := "facts.default.localhost"
	get := func(name string) string {
		kind := "Variable"
		if name[0] == '/' {
			kind = "File"
		}
		code, got := s.at(t, host, kind, name)
		if code != 200 {
			t.Fatalf("%s: %d %s", name, code, got)
		}
		return got
	}
	pod := get("/all/pod/name")
	for path, want := range map[string]string{
		"/all/pod/name": `^pod-[a-z0-9]+$`, "/all/pod/labels": `(?s)^app="facts-00001"\n.*serving.knative.dev/service="facts"\n.*team="shop"$`, "/all/pod/note": "^hi$", "/all/memory": "^64$",
		"POD": "^" + pod + "$", "ACCOUNT": "^robot$", "MILLI": "^500$",
	} {
		if got := get(path); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: %q, want %s", path, got, want)
		}
	}
	token, vault := get("/all/token"), get("/all/vault")
	call := func(text, path string, want int, says string) {
		t.Helper()
		if code, st, body := s.raw("GET", path, "", text, ""); code != want || !strings.Contains(st.Message, says) {
			t.Errorf("%s: %d, want %d: %s", path, code, want, tail(body, 300))
		}
	}
	call(token, functionsPath, 200, "")
	call(token, "/api/v1/namespaces/default/secrets", 403, "system:serviceaccount:default:robot may not")
	call(token, strings.Replace(functionsPath, "default", "kube-system", 1), 403, "")
	call(vault, functionsPath, 401, `for "vault"`)
	k.ok(l("annotated"), "annotate", "serviceaccount", "robot", "hearth.run/role-")
	call(token, functionsPath, 403, "no role grants it")
	k.ok(l("deleted"), "delete", "serviceaccount", "robot")
	call(token, functionsPath, 401, "robot")
}
