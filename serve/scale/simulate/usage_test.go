package simulate

import (
	"testing"
	"time"
)

// TestByProcessorTime: with a load that only processor time shows, a function that
// takes as many calls at once as there are has as many instances as the target
// asks for and no fewer; by itself, processor time is slower than the queue.
func TestByProcessorTime(t *testing.T) {
	ramps, steps := Ramps(1), Steps(1)
	ramps.Functions, steps.Functions = ramps.Functions[1:], steps.Functions[1:] // ten calls at a time
	for _, c := range []struct {
		tr   Trace
		need int // what keeps so many in flight at 80 percent
	}{{ramps, 4}, {steps, 7}} {
		tr := c.tr
		alone, both := Run(tr, Usage(false), 1), Run(tr, Usage(true), 1)
		if alone.Most < c.need || alone.Most > 2*c.need {
			t.Errorf("%s: %d instances, want about %d", tr.Name, alone.Most, c.need)
		}
		if both.Queue99 >= alone.Queue99 || both.Calls != alone.Calls {
			t.Errorf("%s: with the queue %+v, without %+v", tr.Name, both, alone)
		}
		if again := Run(tr, Usage(true), 1); again != both {
			t.Errorf("%s: %+v, then %+v", tr.Name, both, again)
		}
	}
}

// TestByProcessorTimeToZero: without calls there is no instance, whatever the load
// was, and the first call of the next burst starts one.
func TestByProcessorTimeToZero(t *testing.T) {
	call := func(at time.Duration) Call { return Call{at, time.Second} }
	tr := Trace{Name: "two calls", Length: 2 * time.Hour, Functions: []Function{{"f", 1, []Call{call(0), call(time.Hour)}}}}
	for _, queue := range []bool{false, true} {
		r := Run(tr, Usage(queue), 1)
		if r.Starts != 2 || r.Cold != 2 || r.InstanceSeconds < 2*61 || r.InstanceSeconds > 2*70 {
			t.Errorf("%+v", r)
		}
	}
}
