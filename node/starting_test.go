package node

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
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
	verdict func() error
}

func (s slow) Start(ctx context.Context, _ engine.Spec) (engine.Instance, error) {
	select {
	case <-time.After(s.took):
		return nil, s.verdict()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s slow) Prepare(context.Context, engine.Spec) error { return nil }

func (s slow) Waits(string, string) string { return "port 8080; it listens on port 3000" }

// TestVerdictOfAnImage: through scaler and reconciler, an engine's verdict about
// an image is in the function's conditions when it is there, and what the instance
// waits for before; however long a call would have waited.
func TestVerdictOfAnImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var decided time.Time
		st := mem.NewStore()
		n := &Node{cfg: Config{Log: slog.New(slog.DiscardHandler)}}
		n.binder = binding.New(st, binding.Options{})
		n.pods = newCounted(slow{mem.NewEngine(mem.EngineOptions{}), 9*time.Minute + 17*time.Second, func() error {
			if decided.IsZero() {
				decided = time.Now()
			}
			return api.Errorf(api.CodeStartFailed, "never became ready on port 8080")
		}}, func(string, string) {})
		n.engines.containers, n.engines.processes = n.pods, mem.NewEngine(mem.EngineOptions{Programs: map[string]mem.Program{"f": {Main: func(*mem.Process) http.Handler { return http.NotFoundHandler() }}}})
		n.scaler = scale.New(scale.Config{Engine: n.engines, Spec: n.binder.Spec, Log: n.cfg.Log})
		loops := reconcile.New(reconcile.Config{
			Store: st, Check: n.check, Waits: n.waits, Log: n.cfg.Log,
			Build: func(context.Context, reconcile.BuildRequest) (reconcile.Built, error) {
				return reconcile.Built{Runtime: api.RuntimeImage, Image: "example.com/web@sha256:1"}, nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { loops.Run(ctx); close(ended) }()
		defer func() {
			cancel()
			<-ended
			n.scaler.Close(context.Background())
			n.engines.Close(context.Background())
		}()

		k := store.Key{Resource: api.Functions, Namespace: "shop", Name: "web"}
		f := api.Function{Metadata: api.Meta{Name: "web", Namespace: "shop", UID: "u", Generation: 1}, Spec: api.FunctionSpec{Source: api.Source{Image: "example.com/web:1"}}}
		value, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Apply(ctx, k, value, store.New); err != nil {
			t.Fatal(err)
		}
		var said []string
		for e, err := range st.Watch(ctx, store.Query{Resource: api.Functions}, 0) {
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
