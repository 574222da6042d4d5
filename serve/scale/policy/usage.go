package policy

import (
	"math"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Usage is what the decision by processor time or memory knows of a revision. It
// follows Kubernetes' HorizontalPodAutoscaler. Make one with UsageOf, which fills
// in the defaults.
type Usage struct {
	Memory   bool    // bytes are compared, not processors
	Target   float64 // what one instance is meant to use, in the mean
	Up, Down time.Duration
	Min, Max int // Max 0: no bound
}

// UsageTick is how often Decide is meant to be called, and UsageSpan the time
// over which processor time is averaged.
const (
	UsageTick = 5 * time.Second
	UsageSpan = 3 * UsageTick
)

// tolerance is how far the mean may be from the target without consequence.
const tolerance = 0.1

// The number may double within a period, and grow by this many if that is more.
const (
	surge       = 4
	surgePeriod = 15 * time.Second
)

// UsageOf reads a revision's spec; false where it does not scale by usage.
func UsageOf(sp *api.RevisionSpec) (Usage, bool) {
	a := sp.Scale.Auto
	if a == nil || a.Metric != api.MetricCPU && a.Metric != api.MetricMemory {
		return Usage{}, false
	}
	u := Usage{
		Memory: a.Metric == api.MetricMemory, Target: a.Target, Min: sp.Scale.Min, Max: sp.Scale.Max,
		Up: a.Window.Or(0), Down: a.Window.Or(api.DefaultStabilization),
	}
	switch {
	case u.Memory && u.Target > 0:
		u.Target *= 1 << 20
	case u.Memory:
		u.Target = api.DefaultTargetUsage / 100 * asked(sp, "memory", sp.Limits.Memory, api.DefaultMemory*1000)
	case u.Target > 0:
		u.Target *= asked(sp, "cpu", sp.Limits.CPU, 1000) / 100
	default:
		u.Target = api.DefaultTargetUsage / 100 * asked(sp, "cpu", sp.Limits.CPU, 1000)
	}
	return u, true
}

// asked is how much of a resource the containers of an instance ask for together,
// where one that does not ask has what it is limited to; limit is the instance's
// and def, in thousandths, stands for silence.
func asked(sp *api.RevisionSpec, name string, limit api.Quantity, def int64) float64 {
	sum, _ := limit.Milli() // admission refused malformed ones, also below
	if len(sp.Containers) > 0 {
		all := int64(0)
		for _, c := range sp.Containers {
			q := c.Resources.Requests[name]
			if q == "" {
				q = c.Resources.Limits[name]
			}
			n, _ := q.Milli()
			all += n
		}
		if all > 0 {
			sum = all
		}
	}
	if sum <= 0 {
		sum = def
	}
	return float64(sum) / 1000
}

// UsageMetrics is what was measured.
type UsageMetrics struct {
	Sum      float64 // used by those measured: processors or bytes
	Measured int     // instances that take calls and could be measured
	Missing  int     // those that should have been but could not
	Starting int     // those that start, or have not taken calls for long enough to be measured
}

// Mean is what one instance uses.
func (m UsageMetrics) Mean() float64 { return m.Sum / float64(max(m.Measured, 1)) }

func (m UsageMetrics) current() int { return m.Measured + m.Missing + m.Starting }

// UsageState is what is remembered between two decisions; the zero value is that
// of a revision without instances. It is not changed by Decide.
type UsageState struct {
	begun bool
	most  peaks // numbers asked for within Down
	least peaks // the same within Up, negative
	low   peaks // numbers there were within the last period, negative
}

// Decide says how many instances there should be at now: at least one where there
// are any, and none where there are none, because neither the first start nor the
// last end is a matter of usage.
func (u Usage) Decide(st UsageState, m UsageMetrics, now time.Time) (UsageState, int) {
	current := m.current()
	if current == 0 {
		return UsageState{}, 0
	}
	t, asked := now.UnixNano(), max(u.ask(m), 1)
	if !st.begun { // what runs is not changed before it was watched for as long as later
		st.begun = true
		st.most, _ = st.most.add(t, int64(u.Down), current)
		st.least, _ = st.least.add(t, int64(u.Up), -current)
	}
	var most, least, low int
	st.most, most = st.most.add(t, int64(u.Down), asked)
	st.least, least = st.least.add(t, int64(u.Up), -asked)
	st.low, low = st.low.add(t, int64(surgePeriod), -current)
	want := min(max(current, -least), most)
	want = min(want, max(current, 2*-low, -low+surge))
	want = max(want, u.Min)
	if u.Max > 0 {
		want = min(want, u.Max)
	}
	return st, want
}

// ask is how many instances would have the target in the mean. Instances that
// could not be measured count against a change: as if they used the target where
// fewer would do, and nothing where more are needed, as do those that start.
func (u Usage) ask(m UsageMetrics) int {
	current := m.current()
	if m.Measured == 0 {
		return current
	}
	ratio := m.Mean() / u.Target
	sum, n := m.Sum, m.Measured
	if ratio < 1 {
		sum += float64(m.Missing) * u.Target
	} else {
		n += m.Starting
	}
	n += m.Missing
	counted := sum / float64(n) / u.Target
	if math.Abs(1-counted) <= tolerance+1e-9 || ratio < 1 != (counted < 1) {
		return current
	}
	want := int(math.Min(math.Ceil(counted*float64(n)-1e-9), math.MaxInt32))
	if n != m.Measured && (counted < 1) != (want < current) {
		return current // counting them alone would turn the direction
	}
	return want
}
