package rollout

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
)

// TestStepProperties: whatever is observed and whenever it is asked, no share is
// lost, a progressing rollout never gives the new revision less, a judged one
// never more, and what is decided stays decided.
func TestStepProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := &api.Rollout{}
		if rapid.Bool().Draw(t, "duration") {
			spec.Duration = &api.Duration{Duration: time.Duration(rapid.IntRange(1, 600).Draw(t, "seconds")) * time.Second}
		} else {
			p := 0
			for range rapid.IntRange(1, 5).Draw(t, "steps") {
				if p = rapid.IntRange(p+1, min(p+40, 100)).Draw(t, "percent"); p == 100 {
					break
				}
				spec.Steps = append(spec.Steps, p)
			}
			spec.Steps = append(spec.Steps[:0:0], append(spec.Steps, 100)[:max(1, len(spec.Steps))]...)
			spec.Interval = &api.Duration{Duration: 10 * time.Second}
		}
		if rapid.Bool().Draw(t, "errors") {
			n := rapid.IntRange(0, 50).Draw(t, "max errors")
			spec.MaxErrorPercent = &n
		}
		if rapid.Bool().Draw(t, "latency") {
			spec.MaxLatency = &api.Duration{Duration: 100 * time.Millisecond}
		}
		spec.MinRequests = rapid.SampledFrom([]int{0, 0, 1, 50}).Draw(t, "min")

		now := time.Unix(1_000_000, 0)
		latest, n := "f-1", 1
		s := Step(spec, nil, latest, Seen{Since: now}, now)
		if s.Phase != api.RolloutDone || len(s.Shares) != 1 || s.Shares[0].Percent != 100 {
			t.Fatalf("the first revision: %+v", s)
		}
		since := now
		for range rapid.IntRange(1, 300).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
			if rapid.IntRange(0, 30).Draw(t, "deploy") == 0 {
				n++
				latest = fmt.Sprint("f-", n)
			}
			calls := rapid.SampledFrom([]int{0, 1, 9, 10, 60, 1000}).Draw(t, "calls")
			errors := rapid.IntRange(0, calls).Draw(t, "errors")
			took := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second}).Draw(t, "took")
			how := Seen{Since: since, Calls: uint64(calls), Errors: uint64(errors), P99: took}
			next := Step(spec, s, latest, how, now)
			if next.To != latest {
				t.Fatalf("%+v is not about %s", next, latest)
			}
			total, share := 0, func(s *api.RolloutStatus) int {
				for _, x := range s.Shares {
					if x.Revision == s.To {
						return x.Percent
					}
				}
				return 0
			}
			for _, x := range next.Shares {
				if total += x.Percent; x.Percent <= 0 {
					t.Fatalf("an empty share: %+v", next)
				}
			}
			if total != 100 {
				t.Fatalf("%+v sums to %d", next, total)
			}
			if s.To == latest {
				bad := judge(spec, s, how) != ""
				switch {
				case s.Phase != api.RolloutProgressing && next != s:
					t.Fatalf("%+v was decided and became %+v", s, next)
				case s.Phase == api.RolloutProgressing && bad && (next.Phase != api.RolloutRolledBack || share(next) != 0 || next.Message == ""):
					t.Fatalf("%+v went on to %+v in spite of %+v", s, next, how.Calls)
				case s.Phase == api.RolloutProgressing && !bad && share(next) < share(s):
					t.Fatalf("%+v became less: %+v", s, next)
				case share(next) > share(s) && now.Sub(since) < every(spec, s):
					t.Fatalf("%+v became %+v after only %s", s, next, now.Sub(since))
				case share(next) > share(s) && how.Calls < uint64(spec.MinRequests):
					t.Fatalf("%+v became %+v after %d requests", s, next, how.Calls)
				}
			}
			if w := Wait(spec, next, Seen{Since: now}, now); (w > 0) != (next.Phase == api.RolloutProgressing) {
				t.Fatalf("looks again after %s: %+v", w, next)
			}
			if next.Step != s.Step || next.To != s.To || next.Phase != s.Phase {
				since = now
			}
			s = next
		}
		// Left alone, with answers that are well, it always ends at the newest.
		for i := 0; s.Phase == api.RolloutProgressing; i++ {
			if now = now.Add(time.Minute); i > 200 {
				t.Fatalf("no end: %+v", s)
			}
			s = Step(spec, s, latest, Seen{Since: now.Add(-11 * time.Minute), Calls: 100, P99: time.Millisecond}, now)
		}
	})
}

func TestPortion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shares := []api.Share{{Revision: "a", Percent: 100}}
		for i := range rapid.IntRange(0, 4).Draw(t, "more") {
			shares = api.BeginShift(shares, fmt.Sprint("r", i))
			shares = api.Shift(shares, rapid.IntRange(0, 60).Draw(t, "by"))
		}
		percent := rapid.IntRange(1, 100).Draw(t, "percent")
		total := 0
		got := Portion(shares, percent)
		for i, s := range got {
			total += s.Percent
			if s.Percent < 0 || i > 0 && i == len(got)-1 && s.Percent == 0 {
				t.Fatalf("%v of %d: %v", shares, percent, got)
			}
		}
		if total != percent {
			t.Fatalf("%v of %d: %v", shares, percent, got)
		}
	})
}
