package policy

import (
	"fmt"
	"testing"

	"github.com/hearth-run/hearth/api"
)

// TestEveryAnnotationCounts puts the same load on a new revision with each of
// Knative's annotations, in the fields they are translated to: the load at which
// one instance is enough for two minutes, twelve times as much for twenty seconds,
// one instance's again, and none. What happens differs from what the defaults do
// in the way that the annotation is for.
func TestEveryAnnotationCounts(t *testing.T) {
	type scale = func(s *api.Scale, a *api.Autoscale)
	run := func(change scale) string {
		l := newLoop(knative(10, change), 1)
		l.st = KnativeState{} // never seen before
		_, first := l.k.Decide(KnativeState{}, Metrics{}, at(0))
		l.ready = first.Replicas
		text := fmt.Sprint(first.Replicas)
		for _, p := range []struct {
			seconds int
			load    float64
		}{{120, 5}, {4, 60}, {16, 60}, {44, 5}, {56, 5}} {
			l.run(p.seconds, p.load)
			text += fmt.Sprintf(" %d", l.ready)
		}
		for begin := l.second; ; {
			if l.run(2, 0); l.ready == 0 {
				return fmt.Sprintf("%s, zero after %ds", text, l.second-begin)
			}
			if l.second-begin > 1000 {
				return fmt.Sprintf("%s, then %d", text, l.ready)
			}
		}
	}
	const defaults = "1 1 4 9 4 1, zero after 62s"
	for _, c := range []struct {
		annotation string
		change     scale
		want       string
	}{
		{"none", nil, defaults},
		{"metric: rps", func(_ *api.Scale, a *api.Autoscale) { a.Metric = api.MetricRPS }, "1 1 1 1 1 1, zero after 62s"},
		{"metric: rps, target: 20", func(_ *api.Scale, a *api.Autoscale) { a.Metric, a.Target = api.MetricRPS, 20 }, "1 1 2 5 2 1, zero after 62s"},
		{"target: 5", target(5), "1 2 7 18 9 2, zero after 62s"},
		{"target-utilization-percentage: 100", func(_ *api.Scale, a *api.Autoscale) { a.Utilization = 100 }, "1 1 3 6 3 1, zero after 62s"},
		{"window: 20s", func(_ *api.Scale, a *api.Autoscale) { a.Window = api.Seconds(20) }, "1 1 9 9 1 1, zero after 22s"},
		{"panic-window-percentage: 50", func(_ *api.Scale, a *api.Autoscale) { a.PanicWindow = 50 }, "1 1 2 6 3 1, zero after 62s"},
		{"panic-threshold-percentage: 1000", func(_ *api.Scale, a *api.Autoscale) { a.PanicThreshold = 1000 }, "1 1 1 4 3 1, zero after 62s"},
		{"min-scale: 2", func(s *api.Scale, _ *api.Autoscale) { s.Min = 2 }, "2 2 4 9 4 2, then 2"},
		{"max-scale: 4", func(s *api.Scale, _ *api.Autoscale) { s.Max = 4 }, "1 1 4 4 4 1, zero after 62s"},
		{"initial-scale: 3", func(_ *api.Scale, a *api.Autoscale) { a.Initial = new(3) }, "3 1 4 9 4 1, zero after 62s"},
		{"activation-scale: 4", func(_ *api.Scale, a *api.Autoscale) { a.Activation = 4 }, "1 4 4 9 9 4, zero after 66s"},
		{"scale-down-delay: 90s", func(_ *api.Scale, a *api.Autoscale) { a.DownDelay = api.Seconds(90) }, "1 1 4 9 9 9, zero after 304s"},
		{"scale-to-zero-pod-retention-period: 5m", func(_ *api.Scale, a *api.Autoscale) { a.Retention = api.Seconds(300) }, "1 1 4 9 4 1, zero after 360s"},
		{"target-burst-capacity: 0", burst(0), "1 1 4 9 4 1, zero after 90s"},
		{"metric-aggregation-algorithm: weighted-exponential", func(_ *api.Scale, a *api.Autoscale) { a.Aggregation = api.AggregationWeighted }, "1 1 9 9 4 1, zero after 62s"},
		{"(setting) scale-to-zero-grace-period: 2m", func(_ *api.Scale, a *api.Autoscale) { a.Grace, a.Burst = api.Seconds(120), new(0.0) }, "1 1 4 9 4 1, zero after 180s"},
		{"(setting) max-scale-up-rate: 2", func(_ *api.Scale, a *api.Autoscale) { a.UpRate = 2 }, "1 1 2 9 9 1, zero after 62s"},
		{"(setting) max-scale-down-rate: 10", func(_ *api.Scale, a *api.Autoscale) { a.DownRate = 10 }, "1 1 4 9 3 1, zero after 62s"},
		{"(setting) enable-scale-to-zero: false", func(_ *api.Scale, a *api.Autoscale) { a.Zero = new(bool) }, "1 1 4 9 4 1, then 1"},
	} {
		got := run(c.change)
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.annotation, got, c.want)
		}
		if c.change != nil && got == defaults {
			t.Errorf("%s does what the defaults do", c.annotation)
		}
	}
}
