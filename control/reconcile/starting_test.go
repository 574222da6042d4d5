package reconcile

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/store"
)

// pull checks a revision whose image comes with a MiB each 90 ms.
func pull(ctx context.Context, mib int64) error {
	tell := engine.ProgressOf(ctx)
	for n := range mib + 1 {
		time.Sleep(90 * time.Millisecond)
		tell(engine.Progress{Done: n << 20, Total: mib << 20})
	}
	time.Sleep(5 * time.Second) // it is unpacked and started
	return nil
}

// writes collects the message of Ready at each write of an object.
func writes(w *world, k store.Key, message func([]byte) string) (stop func() []string) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan []string)
	list, err := w.st.List(ctx, store.Query{Resource: k.Resource})
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		var out []string
		defer func() { done <- out }()
		for e, err := range w.st.Watch(ctx, store.Query{Resource: k.Resource}, list.Revision) {
			if err != nil {
				return
			}
			if e.Type == store.EventPut && e.Record.Key == k {
				out = append(out, message(e.Record.Value))
			}
		}
	}()
	return func() []string { cancel(); return <-done }
}

// told is what is said of 25 MiB.
const told = `fetching the image: 10.0 of 25.0 MiB
fetching the image: 21.0 of 25.0 MiB
the image was fetched (25.0 MiB); it is unpacked and started`

// pullingOnly are the lines about the image.
func pullingOnly(lines []string) string {
	var out []string
	for _, l := range lines {
		if strings.Contains(l, " image") && (len(out) == 0 || out[len(out)-1] != l) {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

func TestPullingIsTold(t *testing.T) {
	inWorld(t, func(w *world, c *Config) {
		c.Check = func(ctx context.Context, r *api.Revision) error { return pull(ctx, 25) }
	}, func(w *world) {
		k := functionKey("shop", "hello")
		w.source("hello", "ok")
		stop := writes(w, k, func(b []byte) string {
			var f api.Function
			if err := json.Unmarshal(b, &f); err != nil {
				t.Error(err)
			}
			ready, _ := f.Status.Conditions.Get(api.ConditionReady)
			updated, _ := f.Status.Conditions.Get(api.ConditionUpdated)
			if ready.Message != updated.Message && ready.Status != api.True {
				t.Errorf("Ready says %q, Updated %q", ready.Message, updated.Message)
			}
			return ready.Message
		})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := pullingOnly(stop()); got != told {
			t.Errorf("said\n%s\nwant\n%s", got, told)
		}
		if f := w.function("hello"); !f.Status.Conditions.Ready() {
			t.Errorf("%s", conditions(f.Status.Conditions))
		}

		// What serves stays ready while the next is fetched.
		w.source("hello", "next")
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		f := w.function("hello")
		updated, _ := f.Status.Conditions.Get(api.ConditionUpdated)
		if !f.Status.Conditions.Ready() || updated.Reason != reasonPulling {
			t.Errorf("%s", conditions(f.Status.Conditions))
		}
	})
}

func TestForeignPullingIsTold(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		w.failing = "pull"
		defer w.run()()
		w.make("web", "image", 0)
		stop := writes(w.world, widgetKey("web"), func(b []byte) string {
			var o widget
			if err := json.Unmarshal(b, &o); err != nil {
				t.Error(err)
			}
			return o.Status.Why
		})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if got := pullingOnly(stop()); got != told {
			t.Errorf("said\n%s\nwant\n%s", got, told)
		}
		if o := w.widget("web"); o.Status.Ready != api.True {
			t.Errorf("%+v", o.Status)
		}
	})
}

// TestPullingAfterAVerdict tries again what failed: the verdict stays until
// there is another.
func TestPullingAfterAVerdict(t *testing.T) {
	inForeignWorld(t, func(w *foreignWorld) {
		w.failing = "it does not start"
		defer w.run()()
		w.make("web", "image", 0)
		w.set(func() { w.failing = "pull" })
		stop := writes(w.world, widgetKey("web"), func(b []byte) string { return string(b) })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		for _, l := range stop() {
			if strings.Contains(l, "fetching the image") {
				t.Errorf("said %s", l)
			}
		}
		if o := w.widget("web"); o.Status.Ready != api.True {
			t.Errorf("%+v", o.Status)
		}
	})
}

// TestStartingIsTold: of an image that does not get ready what it waits for is
// said while it starts, and the verdict at once when there is one.
func TestStartingIsTold(t *testing.T) {
	const waits, verdict = "port 8080; it listens on port 3000", "container user-container never became ready on port 8080 within 1m"
	var decided time.Time
	inWorld(t, func(w *world, c *Config) {
		build := c.Build
		c.Build = func(ctx context.Context, r BuildRequest) (Built, error) {
			time.Sleep(3 * time.Second) // of a registry
			b, err := build(ctx, r)
			b.Runtime, b.Artifact, b.Image = api.RuntimeImage, "", r.Function.Spec.Source.Image
			return b, err
		}
		c.Check = func(ctx context.Context, r *api.Revision) error {
			time.Sleep(time.Minute)
			decided = time.Now()
			return api.Errorf(api.CodeStartFailed, verdict)
		}
		began := time.Now()
		c.Waits = func(namespace, revision string) string {
			if namespace != "shop" || revision != "web-1" {
				t.Errorf("asked about %s/%s", namespace, revision)
			}
			if time.Since(began) < 10*time.Second {
				return "" // it does not listen yet
			}
			return waits
		}
	}, func(w *world) {
		k := functionKey("shop", "web")
		var said []string
		stop := writes(w, k, func(b []byte) string {
			var f api.Function
			if err := json.Unmarshal(b, &f); err != nil {
				t.Error(err)
			}
			ready, _ := f.Status.Conditions.Get(api.ConditionReady)
			line := conditions(f.Status.Conditions) + " " + ready.Message
			if n := len(said); n == 0 || said[n-1] != line {
				said = append(said, line)
			}
			if ready.Status == api.False && time.Since(decided) > 0 {
				t.Errorf("the verdict came %s late", time.Since(decided))
			}
			return ""
		})
		w.apply("web", func(f *api.Function) { f.Spec.Source.Image = "example.com/web:1" })
		time.Sleep(64 * time.Second)
		synctest.Wait()
		stop()
		want := []string{
			" ",
			"Ready=Unknown:Resolving Updated=Unknown:Resolving Built=Unknown:Resolving the image is looked up",
			"Ready=Unknown:Starting Updated=Unknown:Starting Built=True:Built an instance is being started",
			"Ready=Unknown:Starting Updated=Unknown:Starting Built=True:Built waiting for " + waits,
			"Ready=False:StartFailed Updated=False:StartFailed Built=True:Built " + verdict,
		}
		if got := strings.Join(said, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("said\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}
		if ready, _ := get[api.Revision](w, revisionKey("shop", "web-1")).Status.Conditions.Get(api.ConditionReady); ready.Message != verdict {
			t.Errorf("the revision says %q", ready.Message)
		}
	})
}

// TestStartGivenUp: what starts for a spec that is not the newest any more is
// ended, and what serves is not.
func TestStartGivenUp(t *testing.T) {
	inWorld(t, func(w *world, c *Config) {
		c.Check = func(ctx context.Context, r *api.Revision) error {
			if r.Metadata.Name == "hello-2" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
	}, func(w *world) {
		w.source("hello", "ok")
		w.source("hello", "hangs")
		w.want("hello", "Ready=True:Serving Updated=Unknown:Building Built=Unknown:Building", "hello-1")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.want("hello", "Ready=True:Serving Updated=Unknown:Starting Built=True:Built", "hello-1")
		w.source("hello", "better")
		w.want("hello", allWell, "hello-3")
		if got := w.seen(&w.retired); len(got) != 1 || got[0] != "hello-2" {
			t.Errorf("given up: %v", got)
		}
	})
}
