package simulate

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/hearth-run/hearth/api"
)

// Frugal is a worth of a cold start for those who would otherwise take Knative's
// autoscaler: less of everything.
const Frugal = 3 * time.Minute

// Traces are all of them, the mixed one last.
func Traces(seed uint64) []Trace {
	return []Trace{Steps(seed), Ramps(seed), Poisson(seed), OnOff(seed), Daily(seed), Azure(seed), Mixed(seed)}
}

// Policies are the rivals and some settings of the knob.
func Policies() []Policy {
	return []Policy{Knative(), Fixed(10 * time.Minute), Hybrid(), Hearth(time.Minute), Hearth(Frugal), Hearth(5 * time.Minute), Hearth(api.DefaultWorth), Hearth(30 * time.Minute), Hearth(2 * time.Hour), Usage(false), Usage(true)}
}

// Report replays every trace with every policy and writes a table.
func Report(w io.Writer, seed uint64) error {
	fmt.Fprintf(w, "Virtual time, seed %d. A start takes 0.3 s in the median. hearth's setting is what a spared cold start is worth; %s is the default.\n", seed, api.Duration{Duration: api.DefaultWorth}.Text())
	for _, t := range Traces(seed) {
		fmt.Fprintf(w, "\n%s: %d functions, %d calls in %s\n", t.Name, len(t.Functions), t.calls(), api.Duration{Duration: t.Length}.Text())
		tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(tab, "policy\tcold starts\tp99 in queue\tinstance-seconds\tstarts\tmost instances\tmost calls\t")
		var rivals []Result
		for _, p := range Policies() {
			r := Run(t, p, seed)
			fmt.Fprintf(tab, "%s\t%.3f %%\t%s\t%.0f\t%d\t%d\t%d\t", p.Name, 100*r.ColdShare(), r.Queue99.Round(time.Millisecond), r.InstanceSeconds, r.Starts, r.Most, r.InFlight)
			for _, o := range rivals {
				if r.Beats(o) {
					fmt.Fprintf(tab, "  beats %s", o.Policy)
				}
			}
			fmt.Fprintln(tab)
			if len(rivals) < 3 {
				rivals = append(rivals, r)
			}
		}
		if err := tab.Flush(); err != nil {
			return err
		}
	}
	return nil
}
