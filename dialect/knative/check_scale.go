package knative

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Classes of autoscalers.
const (
	classKPA = "kpa.autoscaling.knative.dev"
	classHPA = "hpa.autoscaling.knative.dev"
)

// autoscaling checks the annotations of the autoscaler.
func (c *checker) autoscaling(at string, m map[string]string) {
	class := or(m[Autoscaling+"class"], c.Class)
	if strings.HasSuffix(class, "."+strings.TrimSuffix(Autoscaling, "/")) && class != classKPA && class != classHPA {
		c.invalid(class, at+"."+Autoscaling+"class", classKPA+" or "+classHPA)
	}
	c.scales(at, m)
	c.percent(at, m, 1, 100, "panic-window-percentage", "panicWindowPercentage")
	c.percent(at, m, 110, 1000, "panic-threshold-percentage", "panicThresholdPercentage")
	if k, v, ok := scaling(m, "target"); ok {
		hint := "a number of 0.01 or more, such as \"10\""
		switch f, err := strconv.ParseFloat(v, 64); {
		case err != nil || math.IsNaN(f):
			c.invalid(v, at+"."+k, hint)
		case f < 0.01:
			c.add(fmt.Sprintf("target %s should be at least %g", v, 0.01), hint, at+"."+k)
		}
	}
	c.percent(at, m, 1, 100, "target-utilization-percentage", "targetUtilizationPercentage")
	if k, v, ok := scaling(m, "target-burst-capacity", "targetBurstCapacity"); ok {
		if f, err := strconv.ParseFloat(v, 64); err != nil || !(f >= 0 || f == -1) {
			c.invalid(v, at+"."+k, `"-1" for any number, or 0 and more, such as "211"`)
		}
	}
	c.length(at, m, 6*time.Second, true, "window")
	c.length(at, m, 0, false, "scale-to-zero-pod-retention-period", "scaleToZeroPodRetentionPeriod")
	c.length(at, m, 0, true, "scale-down-delay", "scaleDownDelay")
	c.metric(at, class, m)
	if k, v, _ := scaling(m, "metric-aggregation-algorithm", "metricAggregationAlgorithm"); v != "" && class == classKPA &&
		!slices.Contains([]string{api.AggregationLinear, api.AggregationWeighted, camelCase(api.AggregationWeighted)}, v) {
		c.invalid(v, at+"."+k, "linear or weighted-exponential")
	}
	if k, v, ok := scaling(m, "initial-scale", "initialScale"); ok {
		hint := "a whole number from 1, such as \"1\""
		switch n, err := strconv.Atoi(v); {
		case err != nil:
			c.invalid(v, at+"."+k, hint)
		case n < 0:
			c.invalid(v, at+"."+k+" must be greater than 0", hint)
		case n == 0 && !c.ZeroInitialScale:
			c.invalid(v, at+"."+k+"=0 not allowed by cluster", hint)
		}
	}
}

// metric checks what is counted.
func (c *checker) metric(at, class string, m map[string]string) {
	k, v, ok := scaling(m, "metric")
	if !ok {
		return
	}
	switch class {
	case classKPA:
		if v != api.MetricConcurrency && v != api.MetricRPS {
			c.invalid(v, at+"."+k, "concurrency or rps; with class "+classHPA+" cpu or memory")
		}
	case classHPA:
		if v != api.MetricCPU && v != api.MetricMemory {
			c.invalid(v, at+"."+k, "cpu or memory, or with class "+classKPA+" concurrency or rps; metrics of programs are not read here")
		}
	}
}

// scaling reads an annotation of the autoscaler.
func scaling(m map[string]string, names ...string) (key, value string, ok bool) {
	full := make([]string, len(names))
	for i, n := range names {
		full[i] = Autoscaling + n
	}
	return annotation(m, full...)
}

func (c *checker) percent(at string, m map[string]string, least, most float64, names ...string) {
	k, v, ok := scaling(m, names...)
	if !ok {
		return
	}
	hint := fmt.Sprintf("a number from %g to %g", least, most)
	switch f, err := strconv.ParseFloat(v, 64); {
	case err != nil:
		c.invalid(v, at+"."+k, hint)
	case !(f >= least && f <= most):
		c.outside(v, least, most, at+"."+k, hint)
	}
}

// length checks a length of time of at most an hour; whole allows seconds only.
func (c *checker) length(at string, m map[string]string, least time.Duration, whole bool, names ...string) {
	k, v, ok := scaling(m, names...)
	if !ok {
		return
	}
	hint := fmt.Sprintf("from %s to 1h, such as 60s", least)
	switch d, err := time.ParseDuration(v); {
	case err != nil:
		c.invalid(v, at+"."+k, hint)
	case d < least || d > time.Hour:
		c.outside(v, least, time.Hour, at+"."+k, hint)
	case whole && d.Truncate(time.Second) != d:
		c.add("must be specified with at most second precision", hint, at+"."+k)
	}
}

// scales checks the bounds of the number of instances, and activation-scale,
// which lies between them.
func (c *checker) scales(at string, m map[string]string) {
	least, _, _ := c.scale(at, m, "min-scale", "minScale")
	most, maxKey, given := c.scale(at, m, "max-scale", "maxScale")
	if most != 0 && most < least {
		c.add(fmt.Sprintf("max-scale=%d is less than min-scale=%d", most, least), "raise max-scale, or 0 for no limit",
			at+"."+Autoscaling+"max-scale", at+"."+Autoscaling+"min-scale")
	}
	if limit := c.MaxScaleLimit; given && limit != 0 {
		hint := fmt.Sprintf("from 1 to %d", limit)
		if most > limit {
			c.outside(most, 1, limit, at+"."+maxKey, hint)
		} else if most == 0 {
			c.add(fmt.Sprint("max-scale=0 (unlimited), must be less than ", limit), hint, at+"."+maxKey)
		}
	}
	k, v, ok := scaling(m, "activation-scale")
	if !ok {
		return
	}
	path, hint := at+"."+k, "a whole number from 2, between min-scale and max-scale"
	switch n, err := strconv.ParseInt(v, 10, 32); {
	case err != nil:
		c.invalid(v, path, hint)
	case least > n:
		c.add(fmt.Sprintf("min-scale=%d is greater than activation-scale=%d", least, n), hint, path)
	case most < n && most != 0:
		c.add(fmt.Sprintf("max-scale=%d is less than activation-scale=%d", most, n), hint, path)
	case n < 2:
		c.add(fmt.Sprintf("activation-scale=%d must be greater than 1", n), hint, path)
	}
}

// scale reads a number of instances.
func (c *checker) scale(at string, m map[string]string, names ...string) (n int64, key string, ok bool) {
	k, v, ok := scaling(m, names...)
	if !ok {
		return 0, k, false
	}
	hint := "a whole number from 0, such as \"1\""
	n, err := strconv.ParseInt(v, 10, 32)
	switch {
	case err != nil && strings.HasSuffix(err.Error(), strconv.ErrRange.Error()), err == nil && n < 0:
		c.outside(v, 0, math.MaxInt32, at+"."+k, hint)
		n = 0
	case err != nil:
		c.invalid(v, at+"."+k, hint)
		n = 0
	}
	return n, k, true
}
