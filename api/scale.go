package api

import (
	"fmt"
	"math"
	"time"
)

// Unlimited, as a revision's concurrency, lets one instance answer any number of
// calls at a time. (Knative writes containerConcurrency: 0.)
const Unlimited = -1

// Scaling policies.
const (
	PolicyHearth  = "hearth"  // by the queue, and by what is foreseen; the default
	PolicyKnative = "knative" // by averages over windows, as Knative's autoscaler
)

// What is counted. The first two are of the knative policy; the others work with
// both, see Autoscale.
const (
	MetricConcurrency = "concurrency" // calls in flight
	MetricRPS         = "rps"         // calls per second
	MetricCPU         = "cpu"         // processor time
	MetricMemory      = "memory"
)

// How a window's seconds are weighed.
const (
	AggregationLinear   = "linear"
	AggregationWeighted = "weighted-exponential"
)

// Defaults of Autoscale. Those of windows, rates and targets are Knative's.
const (
	DefaultWorth          = 12 * time.Minute
	DefaultTarget         = 100.0 // concurrency, for revisions without a bound
	DefaultTargetRPS      = 200.0
	DefaultTargetUsage    = 80.0 // percent of the processors or the memory asked for
	DefaultStabilization  = 5 * time.Minute
	DefaultUtilization    = 70.0 // percent
	DefaultWindow         = 60 * time.Second
	DefaultPanicWindow    = 10.0  // percent of the window
	DefaultPanicThreshold = 200.0 // percent of what is ready
	DefaultUpRate         = 1000.0
	DefaultDownRate       = 2.0
	DefaultGrace          = 30 * time.Second
	DefaultBurst          = 211.0
)

// Autoscale says how the number of instances follows the calls. All of it is
// optional. Worth is of the hearth policy, Reserve of both, and what stands
// between Metric and Zero of the knative policy, where each field is what the
// annotation or setting of that name is in Knative; of those the hearth policy
// has Initial, Activation and Target too, the last as the calls aimed at in one
// instance.
//
// With the metrics cpu and memory the number follows the mean of what the
// instances use, by the rules of Kubernetes' HorizontalPodAutoscaler, as with
// Knative's class hpa; of the fields after Metric they know Target, Window,
// Initial and Activation, and what is about zero. The knative policy then goes by
// usage alone and the hearth policy by whichever of queue and usage asks for
// more. Either way a call starts the first instance, and the last one ends by the
// policy's own rules; Scale.Min keeps it from that.
type Autoscale struct {
	Policy string    `json:"policy,omitempty" enum:"hearth,knative" doc:"hearth starts instances for queued calls at once and foresees the next call from the past ones; knative goes by averages over windows. hearth by default."`
	Worth  *Duration `json:"worth,omitempty" doc:"How long an instance may wait unused to spare one cold start: more is warmer, less saves memory; 12m by default."`

	Metric         string    `json:"metric,omitempty" enum:"concurrency,rps,cpu,memory" doc:"What is counted: calls in flight, calls per second, processor time or memory; concurrency by default."`
	Target         float64   `json:"target,omitempty" doc:"Of the metric, what one instance is meant to have, at least 0.01; by default the concurrency (100 where that has no bound), or 200 calls per second. For cpu percent of the processors asked for (the request, else the limit, else one), 80 by default; for memory MiB, by default 80 percent of the memory asked for."`
	Utilization    float64   `json:"utilization,omitempty" doc:"Percent of the target aimed at, 1 to 100; 70 by default."`
	Window         *Duration `json:"window,omitempty" doc:"Length of the averages, 6s to 1h; 60s by default. For cpu and memory how long less (or more) must be asked for before the number follows; 5m for less and 0s for more by default."`
	PanicWindow    float64   `json:"panicWindow,omitempty" doc:"Length of the short averages in percent of the window, 1 to 100; 10 by default."`
	PanicThreshold float64   `json:"panicThreshold,omitempty" doc:"Percent of what is ready that the short average must ask for to be believed, 110 to 1000; 200 by default."`
	UpRate         float64   `json:"upRate,omitempty" doc:"Most growth in one step, as a factor above 1; 1000 by default."`
	DownRate       float64   `json:"downRate,omitempty" doc:"Most shrinkage in one step, as a divisor above 1; 2 by default."`
	Initial        *int      `json:"initial,omitempty" min:"0" max:"1000" doc:"Instances a new revision starts with and needs to be ready; 1 by default with knative, 0 with hearth."`
	Activation     int       `json:"activation,omitempty" min:"0" max:"1000" doc:"Least instances whenever there are any, from 2; unset by default."`
	DownDelay      *Duration `json:"downDelay,omitempty" doc:"How long less must be wanted before instances go, at most 1h; 0s by default."`
	Retention      *Duration `json:"retention,omitempty" doc:"How long the last instance stays after the decision to go to zero, at most 1h; 0s by default."`
	Grace          *Duration `json:"grace,omitempty" doc:"Least time between that decision and the end of the last instance; 30s by default."`
	Burst          *float64  `json:"burst,omitempty" doc:"Calls that may come at once without waiting in an instance's own queue: -1 (any number), or 0 and more; 211 by default."`
	Aggregation    string    `json:"aggregation,omitempty" enum:"linear,weighted-exponential" doc:"How the seconds of a window are weighed; linear by default."`
	Zero           *bool     `json:"zero,omitempty" doc:"Whether the last instance goes at all; true by default."`

	Reserve []Reserve `json:"reserve,omitempty" doc:"Times at which instances are kept ready in advance."`
}

// Reserve keeps instances ready at certain times.
type Reserve struct {
	Schedule  string   `json:"schedule" doc:"When it begins, as cron writes it: minute, hour, day of month, month, day of week."`
	TimeZone  string   `json:"timeZone,omitempty" doc:"Zone of the schedule, such as Europe/Berlin; UTC by default."`
	Instances int      `json:"instances" min:"1" max:"1000" doc:"Instances kept ready."`
	Duration  Duration `json:"duration" doc:"For how long, at least 1m and at most 168h."`
}

// ValidateScale checks s, which stands at the given path (spec.scale). Every
// message names what is allowed; the hint is an example.
func ValidateScale(at string, s Scale) (errs []FieldError) {
	bad := func(field, example, format string, args ...any) {
		errs = append(errs, FieldError{Path: at + "." + field, Message: fmt.Sprintf(format, args...), Hint: "such as " + example})
	}
	if s.Max > 0 && s.Min > s.Max {
		bad("min", fmt.Sprint(s.Max), "%d is more than %s.max (%d)", s.Min, at, s.Max)
	}
	a := s.Auto
	if a == nil {
		return errs
	}
	number := func(field string, v, least, most float64, example string) {
		switch {
		case v == 0: // silent
		case math.IsNaN(v) || v < least:
			bad(field, example, "%g is less than %g", v, least)
		case v > most:
			bad(field, example, "%g is more than %g", v, most)
		}
	}
	length := func(field string, d *Duration, least, most time.Duration, example string) {
		if v := d.Or(least); v < least || v > most {
			bad(field, example, "%s is not between %s and %s", d.Text(), Duration{least}.Text(), Duration{most}.Text())
		}
	}
	length("auto.worth", a.Worth, 0, 168*time.Hour, "12m")
	number("auto.target", a.Target, 0.01, math.MaxInt32, "10")
	number("auto.utilization", a.Utilization, 1, 100, "70")
	length("auto.window", a.Window, 6*time.Second, time.Hour, "60s")
	number("auto.panicWindow", a.PanicWindow, 1, 100, "10")
	number("auto.panicThreshold", a.PanicThreshold, 110, 1000, "200")
	length("auto.downDelay", a.DownDelay, 0, time.Hour, "30s")
	length("auto.retention", a.Retention, 0, time.Hour, "5m")
	length("auto.grace", a.Grace, 0, time.Hour, "30s")
	for _, r := range []struct {
		field string
		v     float64
	}{{"auto.upRate", a.UpRate}, {"auto.downRate", a.DownRate}} {
		if r.v != 0 && !(r.v > 1) {
			bad(r.field, "2", "%g is not more than 1", r.v)
		}
	}
	if b := a.Burst; b != nil && *b != -1 && !(*b >= 0) {
		bad("auto.burst", "211", "%g is neither -1 (any number of calls) nor 0 or more", *b)
	}
	if n := a.Activation; n != 0 {
		switch {
		case n < 2:
			bad("auto.activation", "2", "%d is less than 2", n)
		case n < s.Min:
			bad("auto.activation", fmt.Sprint(s.Min), "%d is less than %s.min (%d)", n, at, s.Min)
		case s.Max > 0 && n > s.Max:
			bad("auto.activation", fmt.Sprint(s.Max), "%d is more than %s.max (%d)", n, at, s.Max)
		}
	}
	for i, r := range a.Reserve {
		p := fmt.Sprintf("auto.reserve[%d].", i)
		if _, err := ParseSchedule(r.Schedule, r.TimeZone); err != nil {
			e := AsError(err)
			errs = append(errs, FieldError{Path: at + "." + p + "schedule", Message: e.Message, Hint: e.Hint})
		}
		if r.Instances < 1 || s.Max > 0 && r.Instances > s.Max {
			most := "1000"
			if s.Max > 0 {
				most = fmt.Sprint(s.Max)
			}
			bad(p+"instances", most, "%d is not between 1 and the most instances there may be (%s)", r.Instances, most)
		}
		length(p+"duration", &r.Duration, time.Minute, 168*time.Hour, "2h")
	}
	return errs
}
