package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
)

func TestUsageOf(t *testing.T) {
	for _, c := range []struct{ spec, want string }{
		{`{}`, "none"},
		{`{"scale":{"auto":{"metric":"rps","target":5}}}`, "none"},
		{`{"scale":{"auto":{"metric":"cpu"}}}`, "0.8 processors, up 0s, down 5m0s"},
		{`{"scale":{"auto":{"metric":"cpu","target":50}},"limits":{"cpu":"500m"}}`, "0.25 processors, up 0s, down 5m0s"},
		{`{"scale":{"auto":{"metric":"cpu","target":150,"window":"10m"}}}`, "1.5 processors, up 10m0s, down 10m0s"},
		{`{"scale":{"auto":{"metric":"cpu","target":100}},"containers":[
			{"image":"a","resources":{"requests":{"cpu":"250m"},"limits":{"cpu":"2"}}},{"image":"b","resources":{"limits":{"cpu":"100m"}}},{"image":"c"}]}`,
			"0.35 processors, up 0s, down 5m0s"},
		{`{"scale":{"auto":{"metric":"cpu","target":100}},"limits":{"cpu":"3"},"containers":[{"image":"a"}]}`, "3 processors, up 0s, down 5m0s"},
		{`{"scale":{"auto":{"metric":"cpu"}},"containers":[{"image":"a"}]}`, "0.8 processors, up 0s, down 5m0s"},
		{`{"scale":{"auto":{"metric":"memory","target":64}}}`, "6.710886e+07 bytes, up 0s, down 5m0s"},
		{`{"scale":{"auto":{"metric":"memory"}},"limits":{"memory":"100Mi"}}`, "8.388608e+07 bytes, up 0s, down 5m0s"},
		{`{"scale":{"auto":{"metric":"memory"}}}`, "2.147484e+08 bytes, up 0s, down 5m0s"},
	} {
		var sp api.RevisionSpec
		if err := json.Unmarshal([]byte(c.spec), &sp); err != nil {
			t.Fatal(err)
		}
		got := "none"
		if u, ok := UsageOf(&sp); ok {
			unit := "processors"
			if u.Memory {
				unit = "bytes"
			}
			got = fmt.Sprintf("%.7g %s, up %s, down %s", u.Target, unit, u.Up, u.Down)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.spec, got, c.want)
		}
	}
}

// TestUsageAsks is the formula alone: at 0.5 processors for each instance, what
// a revision asks for that uses them like this.
func TestUsageAsks(t *testing.T) {
	u := Usage{Target: 0.5}
	for _, c := range []struct {
		name                        string
		sum                         float64
		measured, missing, starting int
		want                        int
	}{
		{"nothing is known", 0, 0, 2, 1, 3},
		{"on target", 1, 2, 0, 0, 2},
		{"ten percent more is near enough", 1.1, 2, 0, 0, 2},
		{"more than that is not", 1.11, 2, 0, 0, 3},
		{"ten percent less is near enough", 4.5, 10, 0, 0, 10},
		{"more than that is not either", 4.4, 10, 0, 0, 9},
		{"twice", 2, 2, 0, 0, 4},
		{"a whole number is not rounded up", 5.5 * 1.2, 11, 0, 0, 14},
		{"idle", 0, 3, 0, 0, 1},
		{"one instance at a hundred times the target", 50, 1, 0, 0, 100},
		{"one that starts will help: no more are needed", 1, 1, 0, 1, 2},
		{"it will help, but not enough", 2, 1, 0, 1, 4},
		{"those that start would turn it", 1.2, 1, 0, 5, 6},
		{"less is asked for whatever starts", 0.4, 4, 0, 2, 1},
		{"a missing one is thought idle when more are needed", 2, 2, 1, 0, 4},
		{"a missing one is thought idle, which is near enough", 1.6, 2, 1, 0, 3},
		{"a missing one is thought busy when fewer would do", 0.6, 4, 1, 0, 3},
		{"a missing one is thought busy, which is near enough", 0.8, 2, 3, 0, 5},
	} {
		if got := u.ask(UsageMetrics{Sum: c.sum, Measured: c.measured, Missing: c.missing, Starting: c.starting}); max(got, 1) != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestUsageInTime shows what is decided every five seconds of a load, given as
// the processors used in all; each decision is followed within five seconds.
func TestUsageInTime(t *testing.T) {
	type phase struct {
		ticks int
		load  float64
	}
	for _, c := range []struct {
		name   string
		change func(u *Usage)
		phases []phase
		want   string // numbers, and how many ticks they held
	}{
		{"a step doubles every fifteen seconds", nil, []phase{{1, 0.5}, {9, 50}}, "1 5×3 10×3 20×3"},
		{"less is believed after five minutes", nil, []phase{{1, 1}, {4, 4}, {70, 1}}, "2 6×3 8×60 2×11"},
		{"a peak begins the five minutes again", nil, []phase{{1, 1}, {1, 3}, {50, 1}, {1, 3}, {65, 1}}, "2 6×111 2×6"},
		{"a window holds for more, too", func(u *Usage) { u.Up, u.Down = 20*time.Second, 20*time.Second }, []phase{{2, 0.5}, {3, 4}, {2, 0.5}, {6, 4}, {5, 1}},
			"1×10 5×6 2×2"},
		{"bounds", func(u *Usage) { u.Min, u.Max = 2, 3 }, []phase{{2, 0}, {2, 50}, {62, 0}}, "2×2 3×61 2×3"},
		{"the first look changes nothing for as long", nil, []phase{{62, 0.5}}, "1×62"},
	} {
		u := Usage{Target: 0.5, Down: api.DefaultStabilization}
		if c.change != nil {
			c.change(&u)
		}
		var st UsageState
		n, i := max(1, int(c.phases[0].load/u.Target)), 0
		var got []string
		last, held := 0, 0
		flush := func() {
			switch {
			case held == 1:
				got = append(got, fmt.Sprint(last))
			case held > 1:
				got = append(got, fmt.Sprintf("%d×%d", last, held))
			}
		}
		for _, p := range c.phases {
			for range p.ticks {
				st, n = u.Decide(st, UsageMetrics{Sum: p.load, Measured: n}, start.Add(time.Duration(i)*UsageTick))
				i++
				if n != last {
					flush()
					last, held = n, 0
				}
				held++
			}
		}
		flush()
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, s, c.want)
		}
	}
}

func TestUsageLeavesZeroAlone(t *testing.T) {
	u := Usage{Target: 0.5, Down: api.DefaultStabilization, Min: 3}
	st, _ := u.Decide(UsageState{}, UsageMetrics{Sum: 9, Measured: 3}, at(0))
	st, n := u.Decide(st, UsageMetrics{}, at(5))
	if n != 0 || st.begun || st.most != nil {
		t.Errorf("%d instances are wanted where there are none, remembering %+v", n, st)
	}
}

func TestUsageProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := Usage{
			Target: rapid.Float64Range(0.01, 4).Draw(t, "target"),
			Up:     time.Duration(rapid.IntRange(0, 60).Draw(t, "up")) * time.Second,
			Down:   time.Duration(rapid.IntRange(0, 300).Draw(t, "down")) * time.Second,
			Min:    rapid.IntRange(0, 3).Draw(t, "min"),
		}
		if most := rapid.IntRange(0, 50).Draw(t, "max"); most > 0 {
			u.Max = max(most, u.Min)
		}
		var st UsageState
		now := start
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
			m := UsageMetrics{
				Measured: rapid.IntRange(0, 20).Draw(t, "measured"), Missing: rapid.IntRange(0, 3).Draw(t, "missing"), Starting: rapid.IntRange(0, 5).Draw(t, "starting"),
			}
			if m.Measured > 0 {
				m.Sum = rapid.Float64Range(0, 100).Draw(t, "sum")
			}
			next, n := u.Decide(st, m, now)
			if _, again := u.Decide(st, m, now); again != n {
				t.Fatalf("%d, then %d from the same state", n, again)
			}
			switch current := m.current(); {
			case current == 0 && n != 0, current > 0 && n < max(1, u.Min), u.Max > 0 && n > u.Max:
				t.Fatalf("%d instances at %d, with %+v", n, current, u)
			case n > max(2*current, current+surge, u.Min):
				t.Fatalf("%d instances at %d at once", n, current)
			}
			more := m
			more.Sum += rapid.Float64Range(0, 100).Draw(t, "more")
			if _, n2 := u.Decide(st, more, now); m.Measured > 0 && n2 < n {
				t.Fatalf("%d for %+v, but %d for %+v", n, m, n2, more)
			}
			st = next
		}
	})
}

// TestUsageSettles holds that what follows its own decisions comes to rest within
// the tolerance, or at the least number that keeps the target.
func TestUsageSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := Usage{Target: 0.5, Down: time.Minute}
		load := rapid.Float64Range(0, 40).Draw(t, "load")
		n := rapid.IntRange(1, 60).Draw(t, "instances")
		var st UsageState
		for i := range 60 {
			st, n = u.Decide(st, UsageMetrics{Sum: load, Measured: n}, at(5*i))
		}
		ideal := max(1, int(math.Ceil(load/u.Target-1e-9)))
		mean := load / float64(n)
		if n != ideal && math.Abs(mean-u.Target) > tolerance*u.Target+1e-6 {
			t.Fatalf("%d instances use %g each of %g", n, mean, load)
		}
	})
}
