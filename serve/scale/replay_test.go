package scale

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/scale/simulate"
)

// TestReplay holds that what the simulator says of a policy is what the scaler
// does: the same calls lead to about as many cold ones and starts.
func TestReplay(t *testing.T) {
	for _, c := range []struct {
		name     string
		simulate simulate.Policy
		auto     api.Autoscale
	}{
		{"hearth", simulate.Hearth(api.DefaultWorth), api.Autoscale{}},
		{"frugal", simulate.Hearth(simulate.Frugal), api.Autoscale{Worth: &api.Duration{Duration: simulate.Frugal}}},
		{"knative", simulate.Knative(), api.Autoscale{Policy: api.PolicyKnative}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := simulate.Azure(3)
			trace := simulate.Trace{Length: 24 * time.Hour}
			for i, f := range all.Functions {
				if i%6 == 0 && len(f.Calls) < 3000 {
					n := 0
					for n < len(f.Calls) && f.Calls[n].At < trace.Length {
						n++
					}
					f.Calls = f.Calls[:n]
					trace.Functions = append(trace.Functions, f)
				}
			}
			want := simulate.Run(trace, c.simulate, 3)
			var got Counts
			inBubble(t, Config{Tick: time.Second}, slow(300*time.Millisecond), func(h *house) {
				begin := time.Now()
				for i, f := range trace.Functions {
					r := revision(i, f.Concurrency, 0, 1000)
					r.Status.Conditions = r.Status.Conditions.Set(api.Condition{Type: api.ConditionReady, Status: api.True}, begin)
					r.Spec.Function, r.Spec.Scale.Auto = f.Name, &c.auto
					go func() {
						for _, call := range f.Calls {
							time.Sleep(time.Until(begin.Add(call.At)))
							go func() {
								if l, err := h.Acquire(context.Background(), r); err != nil {
									t.Errorf("Acquire: %v", err)
								} else {
									time.Sleep(call.Took)
									l.Release(false)
								}
							}()
						}
					}()
				}
				time.Sleep(trace.Length)
				synctest.Wait()
				for _, st := range h.Stats() {
					got.Calls += st.Calls
					got.ColdStarts += st.ColdStarts
					got.Starts += st.Starts
				}
				time.Sleep(time.Hour) // calls that take long
			})
			t.Logf("simulated %d calls, %d cold, %d starts; the scaler %d, %d, %d", want.Calls, want.Cold, want.Starts, got.Calls, got.ColdStarts, got.Starts)
			near := func(what string, a, b int64) {
				if d := a - b; d*d*100 > b*b && max(d, -d) > 10 { // a tenth
					t.Errorf("%s: %d, the simulator says %d", what, a, b)
				}
			}
			near("calls", got.Calls, int64(want.Calls))
			near("cold starts", got.ColdStarts, int64(want.Cold))
			near("starts", got.Starts, int64(want.Starts))
		})
	}
}
