package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/dialect/knative"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/node"
)

// pods runs the first container of a pod as a program of the memory engine, by
// its image: what a container does is not what is tested here.
type pods struct{ *memory.Engine }

func (p pods) Prepare(ctx context.Context, s engine.Spec) error {
	s.Handler = s.Pod.Containers[0].Image
	return p.Engine.Prepare(ctx, s)
}

func (p pods) Start(ctx context.Context, s engine.Spec) (engine.Instance, error) {
	s.Handler = s.Pod.Containers[0].Image
	return p.Engine.Start(ctx, s)
}

func newPods() pods {
	echo := memory.Program{Main: func(p *memory.Process) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			env := p.Spec().Pod.Containers[0].Env
			fmt.Fprintf(w, "%s %s %s %s", env["K_REVISION"], env["K_SERVICE"], env["PORT"], env["WHO"])
		})
	}}
	failing := memory.Program{Main: func(*memory.Process) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusInternalServerError) })
	}}
	broken := memory.Program{StartError: &api.Error{Code: api.CodeStartFailed, Message: "user-container exited with status 3", Detail: "ImportError: no module named shop"}}
	return pods{memory.NewEngine(memory.EngineOptions{Programs: map[string]memory.Program{"dev.local/echo:1": echo, "dev.local/broken:1": broken, "dev.local/failing:1": failing}})}
}

func knativeKind(resource string) api.Kind {
	for _, k := range knative.Kinds() {
		if k.Resource() == resource {
			return k
		}
	}
	return api.Kind{}
}

func ksvc() api.Kind      { return knativeKind(knative.Services) }
func revisions() api.Kind { return knativeKind(knative.Revisions) }

// await watches an object until done says so.
func await[T any](t *testing.T, c *client.Client, k api.Kind, name, what string, done func(*T) bool) *T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last *T
	for e, err := range c.Watch(ctx, k, client.ListOptions{Fields: "metadata.name=" + name}, "") {
		o, err := client.As[T](e.Object, err)
		if err != nil {
			break
		}
		if last = o; done(o) {
			return o
		}
	}
	b, _ := json.MarshalIndent(last, "", "  ")
	t.Fatalf("waited for %s: %s", what, b)
	return nil
}

// serviceOf is a manifest of a Service; more is added to its spec.
func serviceOf(image, who, more string) string {
	return fmt.Sprintf(`{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello","namespace":"default"},
		"spec":{"template":{"spec":{"containers":[{"image":%q,"env":[{"name":"WHO","value":%q}]}]}}%s}}`, image, who, more)
}

// settle applies a Service and waits until done says so.
func settle(t *testing.T, c *client.Client, manifest string, done func(*knative.Service) bool) *knative.Service {
	t.Helper()
	o, err := c.Apply(t.Context(), ksvc(), "hello", []byte(manifest), client.WriteOptions{})
	s, err := client.As[knative.Service](o, err)
	if err != nil {
		t.Fatal(err)
	}
	generation := s.Metadata.Generation
	return await(t, c, ksvc(), "hello", "the Service", func(s *knative.Service) bool {
		return s.Status.ObservedGeneration == generation && done(s)
	})
}

func create(t *testing.T, c *client.Client, resource, name, manifest string) {
	t.Helper()
	if _, err := c.Apply(t.Context(), knativeKind(resource), name, []byte(manifest), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func ready(s *knative.Service) bool { return s.Status.Conditions.Ready() }

// ask calls a host at the gateway.
func ask(t *testing.T, n *node.Node, host string) string {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", n.GatewayURL, nil)
	r.Host = host
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 {
		return fmt.Sprint(res.StatusCode, " ", string(b))
	}
	return string(b)
}

// TestKnativeService goes through the life of a Service.
func TestKnativeService(t *testing.T) {
	cfg := config(t)
	cfg.Containers = newPods()
	n, c := up(t, cfg)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(n.GatewayURL, "http://"))

	s := settle(t, c, serviceOf("dev.local/echo:1", "one", ""), ready)
	if s.Status.URL != "http://hello.default.localhost:"+port {
		t.Errorf("url %s", s.Status.URL)
	}
	for _, host := range []string{"hello.default.localhost", "hello.localhost", "hello.default.svc.cluster.local", "hello.default.svc"} {
		if got := ask(t, n, host); got != "hello-00001 hello 8080 one" {
			t.Errorf("%s answers %q", host, got)
		}
	}

	await(t, c, revisions(), "hello-00001", "an instance in status.actualReplicas", func(r *knative.Revision) bool {
		active, _ := r.Status.Conditions.Get(knative.ConditionActive)
		return *r.Status.ActualReplicas == 1 && *r.Status.DesiredReplicas == 1 && active.Status == api.True
	})

	settle(t, c, serviceOf("dev.local/echo:1", "two", ""), ready)
	if got := ask(t, n, "hello.default.localhost"); got != "hello-00002 hello 8080 two" {
		t.Errorf("the new revision answers %q", got)
	}

	settle(t, c, serviceOf("dev.local/echo:1", "two", `,"traffic":[{"latestRevision":true,"percent":90},{"revisionName":"hello-00001","percent":10,"tag":"old"}]`),
		func(s *knative.Service) bool { return ready(s) && len(s.Status.Traffic) == 2 })
	count := map[string]int{}
	for range 100 {
		count[strings.Fields(ask(t, n, "hello.default.localhost"))[0]]++
	}
	if count["hello-00001"] != 10 || count["hello-00002"] != 90 {
		t.Errorf("of 100 calls %v", count)
	}
	if got := ask(t, n, "old-hello.default.localhost"); got != "hello-00001 hello 8080 one" {
		t.Errorf("the tag answers %q", got)
	}

	create(t, c, knative.DomainClaims, "www.shop.test", `{"apiVersion":"networking.internal.knative.dev/v1alpha1","kind":"ClusterDomainClaim","metadata":{"name":"www.shop.test"},"spec":{"namespace":"default"}}`)
	create(t, c, knative.DomainMappings, "www.shop.test", `{"apiVersion":"serving.knative.dev/v1beta1","kind":"DomainMapping","metadata":{"name":"www.shop.test"},
		"spec":{"ref":{"apiVersion":"serving.knative.dev/v1","kind":"Service","name":"hello"}}}`)
	await(t, c, knativeKind(knative.DomainMappings), "www.shop.test", "the DomainMapping", func(m *knative.DomainMapping) bool { return m.Status.Conditions.Ready() })
	if got := ask(t, n, "www.shop.test"); !strings.HasPrefix(got, "hello-0000") {
		t.Errorf("the mapped domain answers %q", got)
	}

	s = settle(t, c, serviceOf("dev.local/broken:1", "three", ""), func(s *knative.Service) bool {
		r, _ := s.Status.Conditions.Get("Ready")
		return r.Status == api.False
	})
	r, _ := s.Status.Conditions.Get("Ready")
	if r.Reason != "RevisionFailed" || !strings.Contains(r.Message, `Revision "hello-00003" failed with message: Container failed with: user-container exited with status 3`) || !strings.Contains(r.Message, "ImportError: no module named shop") {
		t.Errorf("condition %+v", r)
	}
	if got := ask(t, n, "hello.default.localhost"); got != "hello-00002 hello 8080 two" {
		t.Errorf("while the newest revision fails, %q answers", got)
	}

	if err := c.Delete(t.Context(), ksvc(), "hello", client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for {
		if got := ask(t, n, "hello.default.localhost"); strings.HasPrefix(got, "404") {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("after deletion %q answers", got)
		}
	}
}

// TestKnativeSettings: what an administrator writes holds for the next write, and
// what cannot be read is refused.
func TestKnativeSettings(t *testing.T) {
	cfg := config(t)
	cfg.Containers = newPods()
	_, c := up(t, cfg)
	of := func(name string) api.Kind {
		k, _ := api.FindIn(node.Kinds(), name)
		return k
	}
	admin := c.In("knative-serving")
	await(t, admin, of("configmap"), "config-observability", "the last of the ConfigMaps", func(*api.ConfigMap) bool { return true })
	set := func(data string) error {
		_, err := admin.Apply(t.Context(), of("configmap"), "config-defaults", []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"config-defaults"},"data":`+data+`}`), client.WriteOptions{})
		return err
	}
	timeout := func(who string) int64 {
		o, err := c.Apply(t.Context(), ksvc(), "hello", []byte(serviceOf("dev.local/echo:1", who, "")), client.WriteOptions{})
		s, err := client.As[knative.Service](o, err)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(t.Context(), ksvc(), "hello", client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		return *s.Spec.Template.Spec.TimeoutSeconds
	}
	for i, seconds := range []int64{120, 60, 30} {
		if err := set(fmt.Sprintf(`{"revision-timeout-seconds":"%d"}`, seconds)); err != nil {
			t.Fatal(err)
		}
		if got := timeout(fmt.Sprint(i)); got != seconds {
			t.Errorf("the timeout is %d, want %d", got, seconds)
		}
	}
	if err := set(`{"revision-timeout-seconds":"soon"}`); err == nil || !strings.Contains(err.Error(), "data.revision-timeout-seconds") {
		t.Errorf("a bad setting: %v", err)
	}
	if got := timeout("again"); got != 30 {
		t.Errorf("after a bad setting the timeout is %d", got)
	}
	if err := admin.Delete(t.Context(), of("configmap"), "config-defaults", client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := timeout("last"); got != 300 {
		t.Errorf("without settings the timeout is %d", got)
	}
}

// TestKnativeLosesNothing calls a Service without a pause while its revisions,
// splits and tags change.
func TestKnativeLosesNothing(t *testing.T) {
	cfg := config(t)
	cfg.Containers = newPods()
	n, c := up(t, cfg)
	settle(t, c, serviceOf("dev.local/echo:1", "0", ""), ready)
	stop := make(chan struct{})
	var callers sync.WaitGroup
	var calls atomic.Int64
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, _ := http.NewRequest("GET", n.GatewayURL, nil)
				r.Host = "hello.default.localhost"
				res, err := http.DefaultClient.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if calls.Add(1); res.StatusCode != 200 || !strings.HasPrefix(string(b), "hello-0") {
					t.Errorf("%d %s", res.StatusCode, b)
					return
				}
			}
		})
	}
	for i := 1; i <= 15; i++ {
		more := ""
		if i%3 == 1 {
			more = fmt.Sprintf(`,"traffic":[{"latestRevision":true,"percent":50},{"revisionName":"hello-%05d","percent":50,"tag":"before"}]`, i)
		}
		settle(t, c, serviceOf("dev.local/echo:1", fmt.Sprint(i), more), func(s *knative.Service) bool {
			return ready(s) && (more != "") == (len(s.Status.Traffic) == 2)
		})
	}
	close(stop)
	callers.Wait()
	if calls.Load() < 100 {
		t.Errorf("only %d calls were made", calls.Load())
	}
}

// TestKnativeJudged: a revision whose answers are errors is taken back by itself,
// and the Service says why.
func TestKnativeJudged(t *testing.T) {
	cfg := config(t)
	cfg.Containers = newPods()
	n, c := up(t, cfg)
	judged := func(image string) string {
		return strings.Replace(serviceOf(image, "x", ""), `"name":"hello"`, `"name":"hello","annotations":{"hearth.run/rollout-steps":"50","hearth.run/rollout-interval":"1h","hearth.run/rollout-max-error-percent":"10"}`, 1)
	}
	settle(t, c, judged("dev.local/echo:1"), ready)
	settle(t, c, judged("dev.local/failing:1"), func(s *knative.Service) bool { return len(s.Status.Traffic) == 2 })
	var r api.Condition
	for deadline := time.Now().Add(patience); r.Reason != "RolledBack"; {
		if ask(t, n, "hello.default.localhost"); time.Now().After(deadline) {
			t.Fatalf("not taken back: %+v", r)
		}
		s, err := client.As[knative.Service](c.Get(t.Context(), ksvc(), "hello"))
		if err != nil {
			t.Fatal(err)
		}
		r, _ = s.Status.Conditions.Get("Ready")
	}
	if r.Status != api.False || !strings.Contains(r.Message, `"hello-00002" was rolled back: at 50 % of the requests`) {
		t.Errorf("%+v", r)
	}
	for range 10 {
		if got := ask(t, n, "hello.default.localhost"); !strings.HasPrefix(got, "hello-00001 ") {
			t.Errorf("after that %q answers", got)
		}
	}
	s := settle(t, c, judged("dev.local/echo:1"), func(s *knative.Service) bool {
		return s.Status.LatestReadyRevisionName == "hello-00003" && len(s.Status.Traffic) == 2
	})
	if s.Status.Traffic[1].RevisionName != "hello-00003" {
		t.Errorf("a better one: %+v", s.Status.Traffic)
	}
}

// TestKnativeRollout: with a rollout's duration a new revision gets its share
// little by little, by time alone.
func TestKnativeRollout(t *testing.T) {
	cfg := config(t)
	cfg.Containers = newPods()
	n, c := up(t, cfg)
	slowly := func(who string) string {
		return strings.Replace(serviceOf("dev.local/echo:1", who, ""), `"name":"hello"`, `"name":"hello","annotations":{"serving.knative.dev/rollout-duration":"8s"}`, 1)
	}
	settle(t, c, slowly("one"), ready)
	var steps []int64
	settle(t, c, slowly("two"), func(s *knative.Service) bool {
		if tr := s.Status.Traffic; len(tr) > 0 && tr[len(tr)-1].RevisionName == "hello-00002" {
			if p := *tr[len(tr)-1].Percent; len(steps) == 0 || steps[len(steps)-1] != p {
				steps = append(steps, p)
			}
		}
		return len(steps) > 0 && ready(s)
	})
	if len(steps) < 3 || steps[0] != 1 || steps[len(steps)-1] != 100 || !slices.IsSorted(steps) {
		t.Errorf("the new revision got %v %%", steps)
	}
	if got := ask(t, n, "hello.default.localhost"); got != "hello-00002 hello 8080 two" {
		t.Errorf("in the end %q answers", got)
	}
}
