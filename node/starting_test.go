package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/binding"
	"github.com/hearth-run/hearth/control/reconcile"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/store"
	mem "github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/serve/scale"
)

// slow is an engine whose instances are never ready: it says so after a time, and
// until then what they wait for.
type slow struct {
	*mem.Engine
	took    time.Duration
	verdict func(error) error // of nil, or of the end of its context
}

func (s slow) Start(ctx context.Context, _ engine.Spec) (engine.Instance, error) {
	select {
	case <-time.After(s.took):
		return nil, s.verdict(nil)
	case <-ctx.Done():
		return nil, s.verdict(ctx.Err())
	}
}

func (s slow) Prepare(context.Context, engine.Spec) error { return nil }

func (s slow) Waits(string, string) string { return "port 8080; it listens on port 3000" }

// imageWorld runs functions made of images on e, with a scaler and a reconciler
// as a node has them. deploy writes the function web.
func imageWorld(t *testing.T, e engine.Engine) (st store.Store, deploy func(generation int64), stop func()) {
	st = mem.NewStore()
	n := &Node{cfg: Config{Log: slog.New(slog.DiscardHandler)}}
	n.binder = binding.New(st, binding.Options{})
	n.pods = newCounted(e, func(string, string) {})
	n.engines = engines{containers: n.pods, processes: mem.NewEngine(mem.EngineOptions{})}
	n.scaler = scale.New(scale.Config{Engine: n.engines, Spec: n.binder.Spec, Log: n.cfg.Log})
	loops := reconcile.New(reconcile.Config{
		Store: st, Check: n.check, Waits: n.waits, Retire: n.scaler.Retire, Log: n.cfg.Log,
		Build: func(_ context.Context, r reconcile.BuildRequest) (reconcile.Built, error) {
			return reconcile.Built{Runtime: api.RuntimeImage, Image: r.Function.Spec.Source.Image}, nil
		},
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { loops.Run(ctx); close(ended) }()
	deploy = func(generation int64) {
		t.Helper()
		f := api.Function{Metadata: api.Meta{Name: "web", Namespace: "shop", UID: "u", Generation: generation}}
		f.Spec.Source.Image = fmt.Sprintf("example.com/web@sha256:%d", generation)
		k, expect := store.Key{Resource: api.Functions, Namespace: "shop", Name: "web"}, store.New
		if was, err := st.Get(ctx, k); err == nil {
			expect = was.Revision
		}
		value, err := json.Marshal(f)
		if err == nil {
			_, err = st.Apply(ctx, k, value, expect)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return st, deploy, func() {
		cancel()
		<-ended
		if err := errors.Join(n.scaler.Close(context.Background()), n.engines.Close(context.Background())); err != nil {
			t.Error(err)
		}
	}
}

// TestVerdictOfAnImage: through scaler and reconciler, an engine's verdict about
// an image is in the function's conditions when it is there, and what the instance
// waits for before; however long a call would have waited.
func TestVerdictOfAnImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var decided time.Time
		st, deploy, stop := imageWorld(t, slow{mem.NewEngine(mem.EngineOptions{}), 9*time.Minute + 17*time.Second, func(err error) error {
			if err == nil && decided.IsZero() {
				decided = time.Now()
			}
			return api.Errorf(api.CodeStartFailed, "never became ready on port 8080")
		}})
		defer stop()
		deploy(1)
		var said []string
		for e, err := range st.Watch(t.Context(), store.Query{Resource: api.Functions}, 0) {
			if err != nil {
				t.Fatal(err)
			}
			var f api.Function
			if err := json.Unmarshal(e.Record.Value, &f); err != nil {
				t.Fatal(err)
			}
			ready, _ := f.Status.Conditions.Get(api.ConditionReady)
			if m := ready.Message; len(said) == 0 || said[len(said)-1] != m {
				said = append(said, m)
			}
			if ready.Status != api.Unknown && ready.Status != "" {
				if late := time.Since(decided); ready.Status != api.False || late > 2*time.Second {
					t.Errorf("%s: %s, %s after the engine said so", ready.Status, ready.Message, late)
				}
				break
			}
		}
		if got := strings.Join(said, "\n"); got != "\nthe image is looked up\nwaiting for port 8080; it listens on port 3000\nnever became ready on port 8080" {
			t.Errorf("said\n%s", got)
		}
	})
}

// TestNewerImage: an instance that is not ready yet does not go on once a newer
// spec is there.
func TestNewerImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []error
		_, deploy, stop := imageWorld(t, slow{mem.NewEngine(mem.EngineOptions{}), 9 * time.Minute, func(err error) error {
			ended = append(ended, err)
			return err
		}})
		defer stop()
		deploy(1)
		time.Sleep(time.Minute)
		deploy(2)
		synctest.Wait()
		if len(ended) != 1 || ended[0] != context.Canceled {
			t.Errorf("it ended with %v", ended)
		}
	})
}
