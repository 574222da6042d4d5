package api

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestShift(t *testing.T) {
	type shares = []Share
	for _, tc := range []struct {
		name      string
		got, want shares
	}{
		{"the first", BeginShift(nil, "a"), shares{{"a", 0}}},
		{"the only one", BeginShift(shares{{"a", 100}}, "a"), shares{{"a", 100}}},
		{"begin", BeginShift(shares{{"a", 100}}, "b"), shares{{"a", 99}, {"b", 1}}},
		{"begin with little", BeginShift(shares{{"a", 1}}, "b"), shares{{"b", 1}}},
		{"begin with two", BeginShift(shares{{"a", 2}}, "b"), shares{{"a", 1}, {"b", 1}}},
		{"stacked", BeginShift(shares{{"a", 60}, {"b", 40}}, "c"), shares{{"a", 60}, {"b", 39}, {"c", 1}}},
		{"stacked on 1", BeginShift(shares{{"a", 99}, {"b", 1}}, "c"), shares{{"a", 99}, {"c", 1}}},
		{"an old one again", BeginShift(shares{{"a", 60}, {"b", 40}}, "a"), shares{{"b", 40}, {"a", 60}}},
		{"step", Shift(shares{{"a", 60}, {"b", 39}, {"c", 1}}, 10), shares{{"a", 60}, {"b", 29}, {"c", 11}}},
		{"step over one", Shift(shares{{"a", 60}, {"b", 5}, {"c", 35}}, 10), shares{{"a", 55}, {"c", 45}}},
		{"last step", Shift(shares{{"a", 5}, {"b", 95}}, 33), shares{{"b", 100}}},
		{"grow", Resize(shares{{"a", 60}, {"b", 20}}, 90), shares{{"a", 60}, {"b", 30}}},
		{"shrink", Resize(shares{{"a", 60}, {"b", 20}}, 50), shares{{"a", 30}, {"b", 20}}},
		{"shrink below the newest", Resize(shares{{"a", 60}, {"b", 20}}, 10), shares{{"b", 10}}},
		{"shrink to nothing", Resize(shares{{"a", 60}, {"b", 20}}, 0), shares{{"b", 0}}},
	} {
		if !reflect.DeepEqual(tc.got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, tc.got, tc.want)
		}
	}
}

func TestPlanShift(t *testing.T) {
	for _, tc := range []struct {
		percent  int
		d, ready time.Duration
		size     int
		every    time.Duration
	}{
		{100, 100 * time.Second, 0, 1, time.Second},
		{100, 1001 * time.Second, 500 * time.Millisecond, 1, 1000 * time.Second / 99},
		{100, 55 * time.Second, 5 * time.Second, 10, 5 * time.Second},
		{100, 5 * time.Second, 10 * time.Second, 99, time.Second},
		{2, time.Minute, time.Second, 1, 59 * time.Second},
		{1, time.Minute, 0, 1, 0},
	} {
		if size, every := PlanShift(tc.percent, tc.d, tc.ready); size != tc.size || every != tc.every {
			t.Errorf("%d %% over %s, ready after %s: %d every %s, want %d every %s", tc.percent, tc.d, tc.ready, size, every, tc.size, tc.every)
		}
	}
}

// Every rollout ends with one revision, no share is lost or invented on the
// way, and the newest never loses any.
func TestShiftProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		percent := rapid.IntRange(1, 100).Draw(t, "percent")
		shares := []Share{{"r0", percent}}
		for i := 1; i < rapid.IntRange(2, 5).Draw(t, "revisions"); i++ {
			to := string(rune('a' + i))
			shares = BeginShift(shares, to)
			for range rapid.IntRange(0, 3).Draw(t, "steps") {
				before := shares[len(shares)-1].Percent
				shares = Shift(shares, rapid.IntRange(1, 60).Draw(t, "by"))
				if last := shares[len(shares)-1]; last.Revision != to || last.Percent < before {
					t.Fatalf("the newest went from %d to %v", before, shares)
				}
			}
			if rapid.Bool().Draw(t, "resize") {
				percent = rapid.IntRange(1, 100).Draw(t, "new percent")
				shares = Resize(shares, percent)
			}
			if sum(shares) != percent {
				t.Fatalf("%v is not %d", shares, percent)
			}
			for _, s := range shares {
				if s.Percent <= 0 {
					t.Fatalf("an empty share in %v", shares)
				}
			}
		}
		d := time.Duration(rapid.IntRange(1, 4000).Draw(t, "seconds")) * time.Second
		size, every := PlanShift(percent, d, time.Duration(rapid.IntRange(0, 60).Draw(t, "ready"))*time.Second)
		steps := 0
		for len(shares) > 1 {
			if shares = Shift(shares, size); steps > 100 {
				t.Fatalf("no end: %v by %d", shares, size)
			}
			steps++
		}
		// A step that is rounded down from 1.5 makes half as many steps more.
		if time.Duration(steps)*every > d*3/2+every {
			t.Fatalf("%d steps of %s take much longer than %s", steps, every, d)
		}
	})
}
