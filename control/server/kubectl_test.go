package server_test

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// specimen is an object with a field to change and the path at which the change is
// seen.
type specimen struct{ kind, name, manifest, patch, path, want string }

// life takes an object through everything the unmodified program does with it, up
// to its end. same says that what was applied again is what is stored, defaults
// included.
func (w world) life(t *testing.T, k specimen, same bool) {
	w.t = t
	ref := k.kind + "/" + k.name
	w.okIn(k.manifest, []string{k.name + " created"}, "apply", "-f", "-")
	again, differs := k.name, "generation"
	if same {
		again, differs = k.name+" unchanged", ""
	}
	w.okIn(k.manifest, []string{again}, "apply", "-f", "-")
	if out := w.okIn(k.manifest, nil, "diff", "-f", "-"); differs == "" && out != "" || differs != "" && strings.Contains(out, differs) {
		t.Errorf("diff of the same: %s", out)
	}
	w.ok([]string{"NAME", k.name}, "get", ref)
	w.ok([]string{"AGE", k.name}, "get", k.kind, "-l", "app=shop", "-o", "wide")
	w.ok([]string{k.name}, "get", k.kind, "--field-selector", "metadata.name="+k.name, "-o", "name")
	w.ok([]string{`"name": "` + k.name + `"`, `"uid"`}, "get", ref, "-o", "json")
	w.ok([]string{"Name:", k.name}, "describe", ref)
	w.ok([]string{"KIND:", "DESCRIPTION:", "metadata"}, "explain", k.kind)
	w.ok([]string{"patched"}, "patch", ref, "--type", "merge", "-p", k.patch)
	w.ok([]string{k.want}, "get", ref, "-o", "jsonpath="+k.path)
	w.ok([]string{"patched"}, "patch", ref, "--type", "json", "-p", `[{"op":"add","path":"/metadata/labels/json","value":"yes"}]`)
	w.ok([]string{"labeled"}, "label", ref, "tier=web", "json-")
	w.ok([]string{"annotated"}, "annotate", ref, "who=me")
	w.ok([]string{k.name}, "get", k.kind, "-l", "tier in (web),!json", "-o", "name")
	w.ok([]string{"edited"}, w.edit("web", "api", "edit", ref)...)
	w.ok([]string{"api"}, "get", ref, "-o", "jsonpath={.metadata.labels.tier}")
	w.ok([]string{"yes"}, "auth", "can-i", "patch", k.kind)
	got := w.ok(nil, "get", ref, "-o", "yaml")
	w.okIn(got, []string{"replaced"}, "replace", "-f", "-")
	w.okIn(k.manifest, []string{"serverside-applied"}, "apply", "--server-side", "--force-conflicts", "-f", "-")
	w.ok([]string{"deleted"}, "delete", ref, "--wait", "--timeout=20s")
	w.fails("", []string{"NotFound"}, "get", ref)
}

// manifests are one object of every kind.
func manifests() []specimen {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	return []specimen{
		{"functions", "hello", `
apiVersion: hearth.run/v1
kind: Function
metadata: {name: hello, labels: {app: shop}}
spec:
  runtime: node
  handler: main.run
  timeout: 30
  env: [{name: A, value: "1"}]
  source: {inline: "export const run = () => 1"}
`, `{"spec":{"handler":"main.other"}}`, "{.spec.handler}", "main.other"},
		{"runtimes", "deno", `
apiVersion: hearth.run/v1
kind: Runtime
metadata: {name: deno, labels: {app: shop}}
spec: {command: [deno, run, server.ts], protocol: http, pool: {size: 0, max: 4}}
`, `{"spec":{"pool":{"max":5}}}`, "{.spec.pool.max}", "5"},
		{"routes", "front", `
apiVersion: hearth.run/v1
kind: Route
metadata: {name: front, labels: {app: shop}}
spec: {host: shop.example.com, prefix: /cart, targets: [{function: hello, weight: 1}]}
`, `{"spec":{"prefix":"/basket"}}`, "{.spec.prefix}", "/basket"},
		{"revisions", "hello-1", `
apiVersion: hearth.run/v1
kind: Revision
metadata: {name: hello-1, labels: {app: shop}}
spec: {function: hello, number: 1, runtime: node, artifact: "` + digest + `", timeout: 30s, concurrency: 1}
`, `{"metadata":{"annotations":{"note":"kept"}}}`, "{.metadata.annotations.note}", "kept"},
		{"configmaps", "settings", `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: shop}}
data: {color: red}
`, `{"data":{"color":"blue"}}`, "{.data.color}", "blue"},
		{"secrets", "keys", `
apiVersion: v1
kind: Secret
metadata: {name: keys, labels: {app: shop}}
stringData: {key: abc}
`, `{"data":{"key":"eHl6"}}`, "{.data.key}", "eHl6"},
		{"events", "seen", `
apiVersion: v1
kind: Event
metadata: {name: seen, labels: {app: shop}}
involvedObject: {apiVersion: hearth.run/v1, kind: Function, name: hello, namespace: default}
reason: Built
message: it was built
type: Normal
`, `{"message":"it was built again"}`, "{.message}", "it was built again"},
		{"namespaces", "annex", `
apiVersion: v1
kind: Namespace
metadata: {name: annex, labels: {app: shop}}
`, `{"metadata":{"labels":{"floor":"2"}}}`, "{.metadata.labels.floor}", "2"},
	}
}

// TestKubectlEveryKind takes every kind through the life of an object with the
// unmodified program.
func TestKubectlEveryKind(t *testing.T) {
	w := newWorld(t)
	w.ok(nil, "version")
	for _, k := range manifests() {
		t.Run(k.kind, func(t *testing.T) {
			w.life(t, k, k.kind != "secrets") // stringData differs from what is stored, with any server
		})
	}
}

func TestKubectlEvents(t *testing.T) {
	w := newWorld(t)
	f := w.want(201, "POST", fnPath, "", function("hello"))
	w.want(201, "POST", "/api/v1/namespaces/default/events", "", m{
		"metadata": m{"name": "e"}, "type": "Warning", "reason": "BuildFailed", "message": "unexpected comma",
		"involvedObject": m{"apiVersion": "hearth.run/v1", "kind": "Function", "namespace": "default", "name": "hello", "uid": at(f, "metadata", "uid")},
	})
	w.ok([]string{"Events:", "Warning", "BuildFailed", "unexpected comma"}, "describe", "fn", "hello")
	w.ok([]string{"function/hello", "BuildFailed"}, "get", "events")
	w.ok([]string{"unexpected comma"}, "events", "--for", "function/hello")
}

// edit sets KUBE_EDITOR to a program that replaces a word, and returns args.
func (w *world) edit(old, new string, args ...string) []string {
	w.t.Helper()
	script := filepath.Join(w.t.TempDir(), "editor")
	text := "#!/bin/sh\nsed -i 's/tier: " + old + "/tier: " + new + "/' \"$1\"\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.t.Setenv("KUBE_EDITOR", script)
	return args
}

func TestKubectlCreate(t *testing.T) {
	w := newWorld(t)
	w.ok([]string{"namespace/shop created"}, "create", "namespace", "shop")
	w.ok([]string{"secret/s created"}, "create", "secret", "generic", "s", "--from-literal=a=secret-value", "-n", "shop")
	w.ok([]string{"configmap/c created"}, "create", "configmap", "c", "--from-literal=a=b", "-n", "shop")
	w.ok([]string{"Opaque", "1"}, "get", "secret", "s", "-n", "shop")
	w.ok([]string{"c2VjcmV0LXZhbHVl"}, "get", "secret", "s", "-n", "shop", "-o", "jsonpath={.data.a}")
	w.ok([]string{"a:  12 bytes"}, "describe", "secret", "s", "-n", "shop")
	w.ok([]string{"b"}, "describe", "configmap", "c", "-n", "shop")
	w.ok([]string{"Status:", "Active"}, "describe", "namespace", "shop")
	w.fails("", []string{"AlreadyExists"}, "create", "namespace", "shop")
	w.fails("", []string{`namespaces "nowhere" not found`, "kubectl create namespace nowhere"}, "create", "configmap", "c", "-n", "nowhere")
	w.ok([]string{"configmap/d created (server dry run)"}, "create", "configmap", "d", "--dry-run=server")
	w.fails("", []string{"NotFound"}, "get", "configmap", "d")
	w.ok([]string{"test-admin", "admin"}, "auth", "whoami")
	w.ok([]string{"functions.hearth.run", "invoke"}, "auth", "can-i", "--list")
	w.ok([]string{"functions", "fn", "Function", "all,hearth"}, "api-resources", "-o", "wide")
	w.ok([]string{"deleted"}, "delete", "namespace", "shop", "--timeout=20s")
	w.fails("", []string{"NotFound"}, "get", "configmap", "c", "-n", "shop")
	w.fails("", []string{"Forbidden", "cannot be deleted"}, "delete", "namespace", "default")
	if strings.Contains(w.log.String(), "secret-value") || strings.Contains(w.log.String(), "c2VjcmV0LXZhbHVl") {
		t.Error("the log holds a secret")
	}
}

func TestKubectlSaysWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	w.fails(`
apiVersion: hearth.run/v1
kind: Function
metadata: {name: hello}
spec: {source: {inline: x}, handlr: main.run, concurrency: many}
`, []string{"spec.handlr", `did you mean "handler"?`, "spec.concurrency", "must be a whole number"}, "apply", "-f", "-")
	w.fails(`
apiVersion: hearth.run/v1
kind: Function
metadata: {name: Hello}
spec: {source: {}}
`, []string{"is not a DNS label", "exactly one of inline"}, "apply", "--server-side", "-f", "-")
	w.okIn(`
apiVersion: hearth.run/v1
kind: Function
metadata: {name: hello}
spec: {source: {inline: x}, handlr: main.run}
`, []string{"Warning: ", "spec.handlr", "created"}, "apply", "--validate=warn", "-f", "-")
}

func TestKubectlExplain(t *testing.T) {
	w := newWorld(t)
	w.ok([]string{"FIELDS", "envFrom\t<[]Object>", "source\t<Object> -required-", "Where the code comes from"}, "explain", "function.spec")
	w.ok([]string{"<string>"}, "explain", "fn.spec.timeout")
	w.ok([]string{"idle", "min", "max"}, "explain", "functions.spec.scale", "--recursive")
	if out := w.ok([]string{"What its author wants."}, "explain", "function"); strings.Contains(out, "enum") {
		t.Errorf("explain: %s", out)
	}
	w.ok([]string{"stringData\t<map[string]string>"}, "explain", "secret")
}

func TestKubectlServerSideApply(t *testing.T) {
	w := newWorld(t)
	mine := func(handler string) string {
		return `{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"hello"},"spec":{"runtime":"node","handler":"` + handler + `","source":{"inline":"x"},"env":[{"name":"A","value":"1"}]}}`
	}
	w.okIn(mine("a.run"), []string{"serverside-applied"}, "apply", "--server-side", "--field-manager", "alice", "-f", "-")
	w.fails(mine("b.run"), []string{"conflict with \"alice\"", ".spec.handler"}, "apply", "--server-side", "--field-manager", "bob", "-f", "-")
	w.okIn(mine("b.run"), []string{"serverside-applied"}, "apply", "--server-side", "--field-manager", "bob", "--force-conflicts", "-f", "-")
	w.ok([]string{"b.run"}, "get", "fn", "hello", "-o", "jsonpath={.spec.handler}")
	managers := w.ok([]string{"alice", "bob"}, "get", "fn", "hello", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}")
	if managers != "alice bob" {
		t.Errorf("managers: %s", managers)
	}
	// A list with keys merges: carol adds a variable beside A.
	w.okIn(`{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"hello"},"spec":{"env":[{"name":"B","value":"2"}]}}`,
		nil, "apply", "--server-side", "--field-manager", "carol", "-f", "-")
	w.ok([]string{"A B"}, "get", "fn", "hello", "-o", "jsonpath={.spec.env[*].name}")
	// What carol stops naming goes; what alice and bob own stays.
	w.okIn(`{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"hello","labels":{"c":"1"}}}`,
		nil, "apply", "--server-side", "--field-manager", "carol", "-f", "-")
	if out := w.ok(nil, "get", "fn", "hello", "-o", "jsonpath={.spec.env[*].name}"); out != "A" {
		t.Errorf("env after carol let go: %q", out)
	}
	// An ordinary write is an owner as well.
	w.ok([]string{"patched"}, "patch", "fn", "hello", "--type", "merge", "-p", `{"spec":{"handler":"c.run"}}`)
	w.fails(mine("b.run"), []string{"kubectl-patch", ".spec.handler"}, "apply", "--server-side", "--field-manager", "bob", "-f", "-")
	// From client-side to server-side apply without a conflict.
	w.okIn(strings.ReplaceAll(mine("a.run"), "hello", "moved"), []string{"created"}, "apply", "-f", "-")
	w.okIn(strings.ReplaceAll(mine("z.run"), "hello", "moved"), []string{"serverside-applied"}, "apply", "--server-side", "-f", "-")
	w.ok([]string{"z.run"}, "get", "fn", "moved", "-o", "jsonpath={.spec.handler}")
}

func TestKubectlWait(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", fnPath, "", function("hello"))
	cmd := w.command("wait", "--for=condition=Ready", "fn/hello", "--timeout=20s")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.want(200, "PATCH", fnPath+"/hello/status", "application/merge-patch+json",
		m{"status": m{"conditions": l{m{"type": "Ready", "status": "True", "reason": "Up"}}, "url": "http://hello.localhost"}})
	line, _ := bufio.NewReader(out).ReadString('\n')
	if err := cmd.Wait(); err != nil || !strings.Contains(line, "condition met") {
		t.Fatalf("wait: %v %q", err, line)
	}
	w.ok([]string{"READY", "True", "Up", "http://hello.localhost"}, "get", "fn", "hello")
	w.fails("", []string{"timed out"}, "wait", "--for=condition=Built", "fn/hello", "--timeout=1s")
	w.ok(nil, "wait", "--for=jsonpath={.spec.runtime}=node", "fn/hello", "--timeout=5s")
}

func TestKubectlWatch(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", fnPath, "", function("hello"))
	cmd := w.command("get", "fn", "-w", "--output-watch-events")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func(parts ...string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("the watch ended: %v", lines.Err())
		}
		for _, p := range parts {
			if !strings.Contains(lines.Text(), p) {
				t.Fatalf("no %q in %q", p, lines.Text())
			}
		}
	}
	next("EVENT", "NAME", "RUNTIME")
	next("ADDED", "hello", "node")
	w.want(200, "PATCH", fnPath+"/hello", "application/merge-patch+json", m{"spec": m{"runtime": "go"}})
	next("MODIFIED", "hello", "go")
	w.want(201, "POST", fnPath, "", function("world"))
	next("ADDED", "world")
	w.want(200, "DELETE", fnPath+"/hello", "", nil)
	next("DELETED", "hello")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
}

func TestKubectlCascade(t *testing.T) {
	w := newWorld(t)
	family := func() {
		t.Helper()
		o := w.want(201, "POST", fnPath, "", function("parent"))
		c := configMap("child")
		c["metadata"].(m)["ownerReferences"] = l{m{"apiVersion": "hearth.run/v1", "kind": "Function", "name": "parent", "uid": at(o, "metadata", "uid"), "blockOwnerDeletion": true}}
		w.want(201, "POST", cmPath, "", c)
	}
	for _, policy := range []string{"background", "foreground"} {
		family()
		w.ok([]string{"deleted"}, "delete", "fn", "parent", "--cascade="+policy, "--timeout=20s")
		w.ok(nil, "wait", "--for=delete", "configmap/child", "--timeout=20s")
	}
	family()
	w.ok([]string{"deleted"}, "delete", "fn", "parent", "--cascade=orphan", "--timeout=20s")
	if refs := w.ok(nil, "get", "configmap", "child", "-o", "jsonpath={.metadata.ownerReferences}"); refs != "" {
		t.Errorf("an orphan still has owners: %s", refs)
	}
}

func TestKubectlDiff(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", fnPath, "", function("hello"))
	out, err := w.kubectlIn(`{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"hello"},"spec":{"runtime":"node","handler":"main.new","source":{"inline":"x"}}}`, nil, "diff", "-f", "-")
	if err == nil || !strings.Contains(out, "-  handler: main.run") || !strings.Contains(out, "+  handler: main.new") {
		t.Fatalf("diff: %v\n%s", err, out)
	}
	o := w.want(200, "GET", fnPath+"/hello", "", nil)
	if at(o, "spec", "handler") != "main.run" {
		t.Error("diff changed the object")
	}
}

func TestKubectlRoles(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", secPath, "", m{"apiVersion": "v1", "kind": "Secret", "metadata": m{"name": "s"}, "stringData": m{"a": "b"}})
	viewer := w.as(t, "viewer")
	viewer.ok(nil, "get", "functions")
	viewer.fails("", []string{"Forbidden", "may not list secrets", "roles: viewer"}, "get", "secrets")
	out, _ := viewer.kubectl("auth", "can-i", "create", "functions")
	if !strings.HasPrefix(out, "no") {
		t.Errorf("can-i: %s", out)
	}
	stranger := w.as(t, "stranger")
	stranger.fails("", []string{"logged in"}, "get", "--raw", "/api")
	editor := w.as(t, "editor")
	var o m
	if err := json.Unmarshal([]byte(editor.ok(nil, "get", "secret", "s", "-o", "json")), &o); err != nil {
		t.Fatal(err)
	}
	if v := at(o, "data", "a"); v == "Yg==" || v == nil {
		t.Errorf("an editor reads %v", v)
	}
}
