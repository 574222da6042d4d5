package simulate

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Call is an arrival, counted from the beginning, and how long answering takes.
type Call struct{ At, Took time.Duration }

// Function is one function and its calls in the order they come.
type Function struct {
	Name        string
	Concurrency int
	Calls       []Call
}

// Trace is what is replayed.
type Trace struct {
	Name      string
	Length    time.Duration
	Functions []Function
}

// calls is how many there are.
func (t Trace) calls() (n int) {
	for _, f := range t.Functions {
		n += len(f.Calls)
	}
	return n
}

func random(seed uint64, name string) *rand.Rand {
	h := uint64(14695981039346656037)
	for _, b := range []byte(name) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, h))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// thinned makes Poisson arrivals whose rate, per second, changes with time.
func thinned(r *rand.Rand, length time.Duration, most float64, rate func(s float64) float64, took func() float64) (calls []Call) {
	for t := 0.0; ; {
		if t += r.ExpFloat64() / most; t >= length.Seconds() {
			return calls
		}
		if r.Float64()*most < rate(t) {
			calls = append(calls, Call{seconds(t), seconds(took())})
		}
	}
}

// varied is a length around mean, as calls of one function vary.
func varied(r *rand.Rand, mean float64) func() float64 {
	return func() float64 { return mean * math.Exp(0.3*r.NormFloat64()-0.045) }
}

// Steps goes from no calls to many at once, up to 50 in flight, and back.
func Steps(seed uint64) Trace {
	t := Trace{Name: "steps", Length: 14 * time.Minute}
	levels := []float64{0, 50, 0, 10, 30, 5, 0}
	for _, c := range []int{1, 10} {
		name := fmt.Sprintf("steps-%d", c)
		r := random(seed, name)
		const took = 0.5
		calls := thinned(r, t.Length, 50/took, func(s float64) float64 { return levels[int(s/t.Length.Seconds()*float64(len(levels)))] / took }, varied(r, took))
		t.Functions = append(t.Functions, Function{name, c, calls})
	}
	return t
}

// Ramps grows steadily to 30 calls in flight and shrinks again.
func Ramps(seed uint64) Trace {
	t := Trace{Name: "ramps", Length: 30 * time.Minute}
	for _, c := range []int{1, 10} {
		name := fmt.Sprintf("ramps-%d", c)
		r := random(seed, name)
		const took = 0.4
		half := t.Length.Seconds() / 2
		calls := thinned(r, t.Length, 30/took, func(s float64) float64 { return 30 / took * (1 - math.Abs(s-half)/half) }, varied(r, took))
		t.Functions = append(t.Functions, Function{name, c, calls})
	}
	return t
}

// Poisson has calls without memory, from one a second to one in an hour.
func Poisson(seed uint64) Trace {
	t := Trace{Name: "poisson", Length: 24 * time.Hour}
	for _, gap := range []float64{1, 10, 60, 300, 900, 1800, 3600} {
		name := fmt.Sprintf("poisson-%g", gap)
		r := random(seed, name)
		calls := thinned(r, t.Length, 1/gap, func(float64) float64 { return 1 / gap }, varied(r, 0.3))
		t.Functions = append(t.Functions, Function{name, 1, calls})
	}
	return t
}

// OnOff has bursts of two minutes with quiet times of random length between.
func OnOff(seed uint64) Trace {
	t := Trace{Name: "on/off", Length: 24 * time.Hour}
	for _, quiet := range []float64{240, 1200, 7200} {
		name := fmt.Sprintf("onoff-%g", quiet)
		r := random(seed, name)
		took := varied(r, 0.5)
		var calls []Call
		for at := quiet * r.ExpFloat64(); at < t.Length.Seconds(); at += 120 + quiet*r.ExpFloat64() {
			for s := at; s < min(at+120, t.Length.Seconds()); s += r.ExpFloat64() / 4 {
				calls = append(calls, Call{seconds(s), seconds(took())})
			}
		}
		t.Functions = append(t.Functions, Function{name, 1, calls})
	}
	return t
}

// Daily follows the sun: almost nothing at night, most at noon.
func Daily(seed uint64) Trace {
	t := Trace{Name: "daily", Length: 48 * time.Hour}
	for _, most := range []float64{1, 0.02} {
		name := fmt.Sprintf("daily-%g", most)
		r := random(seed, name)
		rate := func(s float64) float64 { return most * math.Pow((1-math.Cos(2*math.Pi*s/86400))/2, 2) }
		t.Functions = append(t.Functions, Function{name, 1, thinned(r, t.Length, most, rate, varied(r, 0.8))})
	}
	return t
}

// Mixed is all of them side by side.
func Mixed(seed uint64) Trace {
	t := Trace{Name: "mixed"}
	for _, o := range []Trace{Steps(seed), Ramps(seed), Poisson(seed), OnOff(seed), Daily(seed), Azure(seed)} {
		t.Functions = append(t.Functions, o.Functions...)
		t.Length = max(t.Length, o.Length)
	}
	return t
}

func sorted(calls []Call) []Call {
	slices.SortFunc(calls, func(a, b Call) int { return cmp.Compare(a.At, b.At) })
	return calls
}
