package knative

import (
	"strconv"
	"time"

	"github.com/hearth-run/hearth/api"
)

// AnnotationPolicy chooses how the instances of a revision are counted:
// "hearth" instead of Knative's own algorithm, in a template's annotations.
const AnnotationPolicy = "hearth.run/scaling-policy"

// mostInstances stands for Knative's "no limit".
const mostInstances = 1000

// tuning reads the annotations of the autoscaler and the settings behind them.
type tuning struct {
	annotations map[string]string
	cluster     map[string]string
}

// value is that of an annotation (min-scale; minScale is the same) or setting.
func (t tuning) value(annotation, setting string) string {
	return or(or(t.annotations[Autoscaling+annotation], t.annotations[Autoscaling+camelCase(annotation)]), t.cluster[setting])
}

func (t tuning) count(annotation, setting string) (int, bool) {
	n, err := strconv.Atoi(t.value(annotation, setting))
	return n, err == nil && n >= 0
}

func (t tuning) number(annotation, setting string) float64 {
	f, err := strconv.ParseFloat(t.value(annotation, setting), 64)
	if err != nil || f < 0 {
		return 0
	}
	return f
}

func (t tuning) duration(annotation, setting string) *api.Duration {
	d, err := time.ParseDuration(t.value(annotation, setting))
	if err != nil || d < 0 {
		return nil
	}
	return &api.Duration{Duration: d}
}

// scale translates annotations. What is silent stays so: the native defaults
// are Knative's.
func (s *step) scale(annotations map[string]string, concurrency *int64) api.Scale {
	t := tuning{annotations, s.set.autoscaler}
	a := &api.Autoscale{Policy: api.PolicyKnative}
	if annotations[AnnotationPolicy] == api.PolicyHearth {
		a.Policy = api.PolicyHearth
	}
	out := api.Scale{Auto: a}
	out.Min, _ = t.count("min-scale", "min-scale")
	out.Max, _ = t.count("max-scale", "max-scale")
	if out.Max == 0 {
		out.Max = max(mostInstances, out.Min)
	}
	if n, ok := t.count("initial-scale", "initial-scale"); ok {
		a.Initial = &n
	}
	a.Activation, _ = t.count("activation-scale", "")
	a.Retention = t.duration("scale-to-zero-pod-retention-period", "scale-to-zero-pod-retention-period")
	a.Grace = t.duration("", "scale-to-zero-grace-period")
	if t.value("", "enable-scale-to-zero") == "false" {
		a.Zero = new(bool)
	}
	if or(annotations[Autoscaling+"class"], s.set.Class) == classHPA {
		// As in Kubernetes one instance stays, but it may be asked to go.
		if out.Min == 0 && t.value("min-scale", "") == "" {
			out.Min = 1
		}
		a.Metric, a.Target, a.Window = or(t.value("metric", ""), api.MetricCPU), t.number("target", ""), t.duration("window", "")
		return out
	}
	if t.value("metric", "") == api.MetricRPS {
		a.Metric = api.MetricRPS
		a.Target = t.number("target", "requests-per-second-target-default")
	} else {
		a.Target = t.number("target", "")
		if a.Target == 0 && (concurrency == nil || *concurrency == 0) {
			a.Target = t.number("", "container-concurrency-target-default")
		}
	}
	a.Utilization = t.number("target-utilization-percentage", "container-concurrency-target-percentage")
	if a.Utilization > 0 && a.Utilization <= 1 && t.value("target-utilization-percentage", "") == "" {
		a.Utilization *= 100 // the setting may be a fraction
	}
	a.Window = t.duration("window", "stable-window")
	a.PanicWindow = t.number("panic-window-percentage", "panic-window-percentage")
	a.PanicThreshold = t.number("panic-threshold-percentage", "panic-threshold-percentage")
	a.UpRate, a.DownRate = t.number("", "max-scale-up-rate"), t.number("", "max-scale-down-rate")
	a.DownDelay = t.duration("scale-down-delay", "scale-down-delay")
	if f, err := strconv.ParseFloat(t.value("target-burst-capacity", "target-burst-capacity"), 64); err == nil && (f >= 0 || f == -1) {
		a.Burst = &f
	}
	if v := t.value("metric-aggregation-algorithm", ""); v == api.AggregationWeighted || v == camelCase(api.AggregationWeighted) {
		a.Aggregation = api.AggregationWeighted
	}
	return out
}
