package policy

import (
	"math"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Knative is what Knative's algorithm knows of a revision. Make one with
// KnativeOf, which fills in the defaults.
type Knative struct {
	Concurrency    int     // of one instance; 0: no bound
	RPS            bool    // calls per second are counted, not calls in flight
	Target         float64 // per instance; 0: by Concurrency
	Utilization    float64 // of the target, as a fraction
	Window, Panic  time.Duration
	Threshold      float64 // of what is ready, above which the short average is believed
	UpRate         float64
	DownRate       float64
	Min, Max       int // Max 0: no bound
	Initial        int
	Activation     int // 0: unset
	DownDelay      time.Duration
	Retention      time.Duration
	Grace          time.Duration
	Burst          float64 // target burst capacity; -1: any
	Weighted, Zero bool
	Deadline       time.Duration // for the first instance to become ready
}

// KnativeTick is how often Decide is meant to be called. A call from zero asks
// for one more at once.
const KnativeTick = 2 * time.Second

// KnativeOf reads a revision's spec.
func KnativeOf(sp *api.RevisionSpec) Knative {
	a := sp.Scale.Auto
	if a == nil {
		a = &api.Autoscale{}
	}
	or := func(v, def float64) float64 {
		if v == 0 {
			return def
		}
		return v
	}
	k := Knative{
		Concurrency: max(0, sp.Concurrency),
		RPS:         a.Metric == api.MetricRPS,
		Utilization: or(a.Utilization, api.DefaultUtilization) / 100,
		Window:      api.DefaultWindow,
		Threshold:   or(a.PanicThreshold, api.DefaultPanicThreshold) / 100,
		UpRate:      or(a.UpRate, api.DefaultUpRate),
		DownRate:    or(a.DownRate, api.DefaultDownRate),
		Min:         sp.Scale.Min,
		Max:         sp.Scale.Max,
		Initial:     1,
		Activation:  a.Activation,
		DownDelay:   a.DownDelay.Or(0),
		Retention:   a.Retention.Or(0),
		Grace:       a.Grace.Or(api.DefaultGrace),
		Burst:       api.DefaultBurst,
		Weighted:    a.Aggregation == api.AggregationWeighted,
		Zero:        a.Zero == nil || *a.Zero,
		Deadline:    sp.StartTimeout.Or(10 * time.Minute),
	}
	switch a.Metric {
	case "", api.MetricConcurrency, api.MetricRPS:
		k.Target, k.Window = a.Target, a.Window.Or(api.DefaultWindow)
	} // with others they are about usage, and calls only say whether there are any instances
	if a.Initial != nil {
		k.Initial = *a.Initial
	}
	if a.Burst != nil {
		k.Burst = *a.Burst
	}
	k.Panic = max(time.Second, time.Duration(float64(k.Window)*or(a.PanicWindow, api.DefaultPanicWindow)/100).Round(time.Second))
	return k
}

// Total is what one instance can take of the metric.
func (k Knative) Total() float64 {
	total := api.DefaultTarget
	switch {
	case k.RPS:
		total = api.DefaultTargetRPS
	case k.Concurrency > 0:
		total = float64(k.Concurrency)
	}
	if k.Target > 0 {
		if !k.RPS && k.Concurrency > 0 {
			return min(k.Target, total)
		}
		return k.Target
	}
	return total
}

// PerInstance is what one instance is meant to have of the metric.
func (k Knative) PerInstance() float64 { return math.Max(0.01, k.Total()*k.Utilization) }
