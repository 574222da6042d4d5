package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// daily holds how often functions are called: the share of functions that are
// called at most so many times a day. The shape is that of the Azure Functions
// workload of July 2019 (Shahrad et al., "Serverless in the Wild", USENIX ATC
// 2020): 45 % are called at most once an hour on average and 81 % at most once a
// minute. Its eight orders of magnitude are cut at a call in ten
// seconds: what is called more often never meets a cold start with any policy, and
// only dilutes the figures.
var daily = []struct{ share, calls float64 }{
	{0, 0.5}, {0.2, 4}, {0.45, 24}, {0.81, 1440}, {0.9, 8640}, {1, 8640},
}

// triggers holds what calls them, by share of functions, from the same source.
var triggers = []struct {
	share float64
	name  string
}{{0.16, "timer"}, {0.55, "http"}, {0.15, "queue"}, {0.02, "event"}, {0.12, "other"}}

// periods of timers in minutes; people choose round ones.
var periods = []float64{1, 5, 10, 15, 30, 60, 120, 360, 720, 1440}

// Azure is 300 functions for two days, made by the distributions that were
// published for the Azure Functions workload of 2019: rates over many orders of
// magnitude, a sixth of the functions on timers with exact periods, two fifths
// with idle times that vary more than those of a Poisson process, a daily cycle
// above a constant half, and a log-normal length of calls (of the averages: median
// 0.7 s, sigma 2.36).
func Azure(seed uint64) Trace {
	t := Trace{Name: "azure", Length: 48 * time.Hour}
	r := random(seed, "azure")
	const n = 300
	for i := range n {
		perDay := rate((float64(i) + r.Float64()) / n)
		took := min(math.Exp(-0.38+2.36*r.NormFloat64()), 60)
		took = max(0.005, min(took, 5*86400/perDay)) // at most five in flight on average
		kind := trigger(r.Float64())
		f := Function{Name: fmt.Sprintf("azure-%s-%d", kind, i), Concurrency: 1}
		switch {
		case kind == "timer":
			f.Calls = timer(r, t.Length, 1440/perDay, took)
		case kind == "http":
			phase := 0.15 * r.NormFloat64()
			wave := func(s float64) float64 { return 0.5 + 0.5*(1-math.Cos(2*math.Pi*(s/86400+phase)))/2 }
			f.Calls = arrivals(r, t.Length, 86400/perDay, spread(r), took, wave)
		default:
			f.Calls = arrivals(r, t.Length, 86400/perDay, spread(r), took, func(float64) float64 { return 0.75 })
		}
		t.Functions = append(t.Functions, f)
	}
	return t
}

func rate(share float64) float64 {
	for i := 1; i < len(daily); i++ {
		if a, b := daily[i-1], daily[i]; share <= b.share {
			x := (share - a.share) / (b.share - a.share)
			return a.calls * math.Pow(b.calls/a.calls, x)
		}
	}
	return daily[len(daily)-1].calls
}

func trigger(x float64) string {
	for _, t := range triggers {
		if x -= t.share; x < 0 {
			return t.name
		}
	}
	return triggers[len(triggers)-1].name
}

// spread chooses how idle times vary (the sigma of a log-normal): a tenth of the
// functions almost regular, half about like a Poisson process, the rest in bursts.
func spread(r *rand.Rand) float64 {
	switch x := r.Float64(); {
	case x < 0.1:
		return 0.05
	case x < 0.6:
		return 0.83 // a coefficient of variation of 1
	default:
		return 1.3 + 0.5*r.Float64() // of 2 to 5
	}
}

// arrivals have log-normal gaps of the given mean, in seconds, stretched where
// the wave is low.
func arrivals(r *rand.Rand, length time.Duration, gap, sigma, took float64, wave func(float64) float64) (calls []Call) {
	last := varied(r, took)
	draw := func() float64 { return gap * math.Exp(sigma*r.NormFloat64()-sigma*sigma/2) }
	for s := draw() * r.Float64(); s < length.Seconds(); s += draw() * 0.75 / wave(s) {
		calls = append(calls, Call{seconds(s), seconds(last())})
	}
	return calls
}

// timer fires by the clock, at the period that is nearest, with a little delay;
// every other one of them misses a few per cent of its times.
func timer(r *rand.Rand, length time.Duration, minutes, took float64) (calls []Call) {
	period := periods[0]
	for _, p := range periods {
		if math.Abs(math.Log(p/minutes)) < math.Abs(math.Log(period/minutes)) {
			period = p
		}
	}
	last := varied(r, min(took, period*30))
	missed := 0.03 * float64(r.IntN(2))
	for s := period * 60 * r.Float64(); s < length.Seconds(); s += period * 60 {
		if r.Float64() >= missed {
			calls = append(calls, Call{seconds(s + 0.2*r.ExpFloat64()), seconds(last())})
		}
	}
	return sorted(calls)
}
