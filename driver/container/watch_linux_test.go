package container

import (
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hearth-run/hearth/core/engine"
)

// becomes waits until an instance is ready, or is not.
func becomes(t *testing.T, in engine.Instance, want bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		now, changed := in.(engine.Probed).Ready()
		if now == want {
			return
		}
		select {
		case <-changed:
		case <-in.Done():
			if now, _ := in.(engine.Probed).Ready(); now != want {
				t.Fatalf("it ended: %+v", in.Exit())
			}
		case <-timeout:
			t.Fatalf("ready is still %t", now)
		}
	}
}

func TestReadinessWhileItRuns(t *testing.T) {
	b := open(t)
	img, port := served(t), 9000
	s := pod(engine.Container{Image: img,
		Readiness: &engine.Probe{HTTP: &engine.HTTPProbe{Port: 8080, Path: "/health"}, Period: 10 * time.Millisecond, Failure: 2, Success: 2, Timeout: 10 * time.Second}},
		engine.Container{Image: img, Args: []string{"at", "9000"}, Readiness: &engine.Probe{TCP: &port, Period: 10 * time.Millisecond, Timeout: 10 * time.Second}})
	in := b.start(t, s)
	becomes(t, in, true)
	for range 2 {
		ask(t, in, "/sick")
		becomes(t, in, false)
		b.line(t, "[user-container] instance takes no calls: the readiness probe of user-container failed 2 times: GET /health on port 8080: status 500")
		ask(t, in, "/well") // calls it has are answered
		becomes(t, in, true)
		b.line(t, "[user-container] instance takes calls again")
	}
	if err := in.Stop(t.Context()); err != nil || in.Exit().Reason != "stopped" {
		t.Errorf("%v, %+v", err, in.Exit())
	}

	// The aggressive mode ends with the start.
	s = pod(engine.Container{Image: img, Readiness: &engine.Probe{HTTP: &engine.HTTPProbe{Port: 8080, Path: "/health"}},
		Liveness: &engine.Probe{HTTP: &engine.HTTPProbe{Port: 8080, Path: "/health"}, Period: 10 * time.Millisecond, Failure: 20}})
	in = b.start(t, s)
	ask(t, in, "/sick")
	if _, changed := in.(engine.Probed).Ready(); ends(t, in).Reason == "" {
		t.Error("no reason")
	} else {
		<-changed
	}
	for len(b.lines) > 0 {
		if l := <-b.lines; strings.Contains(l.Text, "takes no calls") {
			t.Errorf("asked for readiness: %s", l.Text)
		}
	}
}

func TestLivenessFailure(t *testing.T) {
	b := open(t)
	img := served(t)
	sick := func(grace time.Duration, change func(*engine.Spec)) engine.Exit {
		t.Helper()
		s := pod(engine.Container{Image: img, Liveness: &engine.Probe{HTTP: &engine.HTTPProbe{Port: 8080, Path: "/health"}, Period: 10 * time.Millisecond, Failure: 2,
			Timeout: 10 * time.Second, Grace: grace}})
		s.Pod.Grace = time.Hour
		change(&s)
		in := b.start(t, s)
		ask(t, in, "/sick")
		becomes(t, in, false)
		x := ends(t, in)
		if !strings.HasPrefix(x.Reason, "killed: the liveness probe") || !strings.HasSuffix(x.Reason, "failed 2 times: GET /health on port 8080: status 500") {
			t.Errorf("%+v", x)
		}
		return x
	}
	// It may end by itself, and say so.
	sick(time.Hour, func(*engine.Spec) {})
	b.line(t, "asked to stop by terminated")
	b.line(t, "instance killed: the liveness probe failed 2 times")
	// One that does not is killed: after the probe's grace, or the pod's.
	sick(50*time.Millisecond, func(s *engine.Spec) { s.Pod.Containers[0].Args = []string{"ignore"} })
	sick(0, func(s *engine.Spec) {
		s.Pod.Containers[0].Args, s.Pod.Grace = []string{"ignore"}, 50*time.Millisecond
	})
	// Others of the pod have their time, too, though one ends before them.
	for len(b.lines) > 0 {
		<-b.lines
	}
	sick(time.Hour, func(s *engine.Spec) {
		s.Pod.Containers = append(s.Pod.Containers, engine.Container{Name: "sidecar", Image: img, Args: []string{"late", "9000"}})
	})
	b.line(t, "[sidecar] asked to stop by terminated, and did")
}

func TestFetchIsTold(t *testing.T) {
	b := open(t)
	s := pod(engine.Container{Image: served(t)}, engine.Container{Image: push(t, v1.Config{Entrypoint: []string{"/bin/server", "at", "9000"}}, map[string]string{"more": strings.Repeat("x", 100_000)})})
	var said []engine.Progress
	ctx := engine.WithProgress(t.Context(), func(p engine.Progress) { said = append(said, p) })
	if err := b.Prepare(ctx, s); err != nil {
		t.Fatal(err)
	}
	for _, p := range said {
		if p.Done > p.Total || p.Total == 0 {
			t.Errorf("%d bytes of %d", p.Done, p.Total)
		}
	}
	if n := len(said); n == 0 || said[n-1].Done != said[n-1].Total || said[n-1].Total < 1<<20 {
		t.Errorf("it said %v", said)
	}
	said = nil
	if err := b.Prepare(ctx, s); err != nil || len(said) > 0 {
		t.Errorf("for what is there it said %v, %v", said, err)
	}
}
