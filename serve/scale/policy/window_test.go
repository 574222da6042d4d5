package policy

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Unix(1_700_000_000, 0)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func TestWindow(t *testing.T) {
	for _, c := range []struct {
		name     string
		weighted bool
		seconds  int
		records  map[int]float64
		now      int
		want     float64
	}{
		{"a young window averages over the time elapsed", false, 60, map[int]float64{0: 10, 1: 20}, 1, 15},
		{"gaps count as nothing", false, 60, map[int]float64{0: 10, 4: 20}, 4, 6},
		{"silence drops the oldest second by second", false, 6, map[int]float64{0: 12, 1: 6, 2: 6, 3: 6, 4: 6, 5: 6}, 6, 6},
		{"after half a window of silence", false, 6, map[int]float64{0: 6, 1: 6, 2: 6, 3: 6, 4: 6, 5: 12}, 8, 8},
		{"of a short silence a young window knows nothing", false, 6, map[int]float64{0: 6}, 2, 6},
		{"a whole window of silence", false, 6, map[int]float64{0: 6, 5: 6}, 11, 0},
		{"a new beginning after it", false, 6, map[int]float64{0: 600, 10: 6, 11: 12}, 11, 9},
		{"rounded to six digits", false, 3, map[int]float64{0: 1, 1: 0, 2: 0}, 2, 0.333333},
		{"weighted: sixty seconds decay by a fifth", true, 60, map[int]float64{0: 10, 1: 20}, 1, 5.6},
		{"weighted: six seconds", true, 6, map[int]float64{0: 100}, 0, 78.4557},
		{"weighted: silence is age", true, 60, map[int]float64{0: 10}, 2, 1.28},
	} {
		w := NewWindow(time.Duration(c.seconds)*time.Second, c.weighted)
		for s := 0; s <= c.now; s++ {
			if v, ok := c.records[s]; ok {
				w.Record(at(s), v)
			}
		}
		if got := w.Average(at(c.now)); math.Abs(got-c.want) > 1e-4 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	w := NewWindow(time.Minute, false)
	w.Record(at(0), 1)
	w.Record(at(0), 2)
	if got := w.Average(at(0)); got != 3 {
		t.Errorf("a second holds the sum of what was recorded in it: %v", got)
	}
	if !NewWindow(time.Second, false).Empty(at(0)) || w.Empty(at(59)) || !w.Empty(at(60)) {
		t.Error("Empty")
	}
}

// TestWindowModel compares the running totals with sums over all records.
func TestWindowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "window")
		weighted := rapid.Bool().Draw(t, "weighted")
		w := NewWindow(time.Duration(n)*time.Second, weighted)
		coefficient := math.Max(1-math.Pow(0.0001, 1/float64(n)), 0.2)
		records := map[int]float64{}
		first, last, now := 0, -1, 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += rapid.IntRange(0, n+1).Draw(t, "pause")
			if rapid.Bool().Draw(t, "record") {
				if last < 0 || now-last >= n {
					first = now
					clear(records)
				}
				v := rapid.Float64Range(0, 1000).Draw(t, "value")
				records[now] += v
				last = now
				w.Record(at(now), v)
			}
			var want float64
			for s, v := range records {
				if now-s >= n {
					continue
				}
				if weighted {
					v *= coefficient * math.Pow(1-coefficient, float64(now-s))
				}
				want += v
			}
			if !weighted && last >= 0 && now-last < n {
				want /= float64(min(last-first+1, n-(now-last)))
			}
			if got := w.Average(at(now)); math.Abs(got-want) > 1e-5 {
				t.Fatalf("at %d: %v, want %v", now, got, want)
			}
		}
	})
}
