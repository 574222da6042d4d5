package scale_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/driver/process"
	"github.com/hearth-run/hearth/runtime"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/scale"
)

// burn keeps a processor busy, as far as there is one, for as long as it answers.
const burn = `module.exports = () => { const end = Date.now() + 20; while (Date.now() < end); return "ok" }`

// TestBurnsProcessors runs a program that burns processor time while it is called:
// there are as many instances as may be while it does, and one when it does not.
func TestBurnsProcessors(t *testing.T) {
	blobs := memory.NewBlobs()
	e, err := process.Open(t.Context(), process.Options{State: t.TempDir(), Blobs: blobs, Sink: func(engine.Line) {}, Grace: time.Second, Find: runtime.Once(runtime.Find)})
	if err != nil {
		t.Fatal(err)
	}
	artifact, err := blobs.Put(t.Context(), bytes.NewReader(tarOf(t, "index.js", burn)))
	if err != nil {
		t.Fatal(err)
	}
	s := scale.New(scale.Config{
		Engine: e, Tick: 20 * time.Millisecond, Look: 100 * time.Millisecond,
		Spec: func(_ context.Context, r *api.Revision) (engine.Spec, error) {
			return engine.Spec{
				Tenant: "default", Function: "burn", Revision: r.Metadata.Name, Artifact: string(artifact.Digest), Concurrency: 4, Timeout: time.Minute,
				Runtime: engine.Runtime{Name: api.RuntimeNode, Base: api.RuntimeNode, Shared: true, Protocol: api.ProtocolHearth, PoolSize: -1},
			}, nil
		},
	})
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	defer func() {
		limit, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Close(limit); err != nil {
			t.Error(err)
		}
		stop()
		<-ran
		if err := e.Close(limit); err != nil {
			t.Error(err)
		}
	}()

	r := &api.Revision{Metadata: api.Meta{Name: "burn-1", Namespace: "default", UID: "burn-1"}}
	r.Spec = api.RevisionSpec{
		Function: "burn", Concurrency: 4, Limits: api.Limits{CPU: "100m"},
		// Two percent of a tenth: a host that is busy gives that much in any case.
		Scale: api.Scale{Max: 3, Idle: api.Seconds(60), Auto: &api.Autoscale{
			Policy: api.PolicyKnative, Metric: api.MetricCPU, Target: 2, Window: api.Seconds(1),
		}},
	}
	var calls sync.WaitGroup
	rest := make(chan struct{})
	for range 4 {
		calls.Go(func() {
			for {
				select {
				case <-rest:
					return
				default:
					call(t, s, r)
				}
			}
		})
	}
	await(t, s, r, "burning", func(st scale.Stats) bool { return st.Instances == 3 && st.Used > st.Target })
	close(rest)
	calls.Wait()
	await(t, s, r, "at rest", func(st scale.Stats) bool { return st.Instances == 1 && st.Used < st.Target })
	call(t, s, r) // by one that is left
	if st := s.StatsOf(r); st.Starts != 3 {
		t.Errorf("%d starts: %+v", st.Starts, st)
	}
}

// await looks until it is so.
func await(t *testing.T, s *scale.Scaler, r *api.Revision, what string, is func(st scale.Stats) bool) {
	t.Helper()
	limit := time.After(2 * time.Minute)
	for every := time.NewTicker(20 * time.Millisecond); ; {
		st := s.StatsOf(r)
		if is(st) {
			return
		}
		select {
		case <-every.C:
		case <-limit:
			t.Fatalf("%s: %+v", what, st)
		}
	}
}

func call(t *testing.T, s *scale.Scaler, r *api.Revision) {
	l, err := s.Acquire(t.Context(), r)
	if err != nil {
		t.Errorf("Acquire: %v", err)
		return
	}
	err = answer(t.Context(), l.Instance)
	if err != nil {
		t.Error(err)
	}
	l.Release(err != nil)
}

func answer(ctx context.Context, in engine.Instance) error {
	nc, err := in.Dial(ctx)
	if err != nil {
		return err
	}
	c := frame.NewClient(nc, frame.Options{})
	defer c.Close()
	a, err := c.Do(ctx, &frame.Request{Method: "GET", Target: "/", Authority: "localhost", Scheme: "http", ID: "test"})
	if err != nil {
		return err
	}
	defer a.Close()
	_, err = io.Copy(io.Discard, a)
	return err
}

func tarOf(t *testing.T, name, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
