package knative

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestAdvance: whatever happens to a rollout, its shares sum up to its target's
// percent, it gets on with time alone, and it ends with the latest revision.
func TestAdvance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
		w := wish{configuration: "c", latest: "r0", percent: 100}
		d := time.Duration(rapid.IntRange(1, 600).Draw(t, "seconds")) * time.Second
		gone := map[string]bool{}
		there := func(r string) bool { return !gone[r] }
		r, wait := advance(nil, w, d, true, there, now)
		ready := true
		names := []string{"r0", "r1", "r2", "r3", "r4", "r5"}
		next := 1
		check := func() {
			sum := 0
			for _, s := range r.Shares {
				if sum += s.Percent; gone[s.Revision] && s.Revision != w.latest {
					t.Fatalf("%s is gone and has %d %%", s.Revision, s.Percent)
				}
			}
			if sum != w.percent || r.Shares[len(r.Shares)-1].Revision != w.latest {
				t.Fatalf("%+v for %+v", r, w)
			}
			if r.moving() && ready && wait <= 0 && r.Size > 0 {
				t.Fatalf("it moves and no step is planned: %+v", r)
			}
		}
		for _, s := range rapid.SliceOfN(rapid.IntRange(0, 4), 1, 30).Draw(t, "steps") {
			switch s {
			case 0:
				if next < len(names) {
					w.latest = names[next]
					next++
				}
			case 1:
				w.percent = rapid.IntRange(0, 100).Draw(t, "percent")
			case 2:
				now = now.Add(time.Duration(rapid.IntRange(1, 300).Draw(t, "time")) * time.Second)
			case 3:
				ready = !ready
			case 4:
				gone[names[rapid.IntRange(0, next-1).Draw(t, "gone")]] = true
			}
			r, wait = advance(&r, w, d, ready, there, now)
			check()
		}
		ready = true
		for n := 0; r.moving(); n++ {
			if n > 1000 {
				t.Fatalf("it never ends: %+v", r)
			}
			before := r.Shares[len(r.Shares)-1].Percent
			now = now.Add(max(wait, time.Second))
			r, wait = advance(&r, w, d, ready, there, now)
			check()
			if r.Shares[len(r.Shares)-1].Percent < before {
				t.Fatalf("the latest had %d %% and has less: %+v", before, r)
			}
		}
	})
}
