package process

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSize(t *testing.T) {
	quiet := time.Hour
	for _, c := range []struct {
		name string
		d    demand
		want int
	}{
		{"nothing happens", demand{least: 2, most: 100, affordable: 50, quiet: quiet}, 2},
		{"arrivals of three refill times", demand{most: 100, affordable: 50, quiet: quiet, rate: 20, startTime: 100 * time.Millisecond}, 6},
		{"in use: one for each function at zero", demand{least: 2, most: 100, affordable: 50, dormant: 30}, 30},
		{"long quiet: not for each function", demand{least: 2, most: 100, affordable: 50, dormant: 30, quiet: quiet}, 2},
		{"memory bounds", demand{least: 2, most: 100, affordable: 10, dormant: 30}, 10},
		{"the runtime's most bounds", demand{least: 2, most: 8, affordable: 50, dormant: 30}, 8},
		{"the least holds against memory", demand{least: 3, most: 100, affordable: 0}, 3},
	} {
		if got := size(c.d); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestSizeBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := demand{
			least: rapid.IntRange(0, 20).Draw(t, "least"), rate: rapid.Float64Range(0, 1e6).Draw(t, "rate"),
			startTime: time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "start")), dormant: rapid.IntRange(0, 1e6).Draw(t, "dormant"),
			quiet: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "quiet")), affordable: rapid.IntRange(0, 1000).Draw(t, "affordable"),
		}
		d.most = d.least + rapid.IntRange(0, 100).Draw(t, "more")
		if n := size(d); n < d.least || n > d.most || n > max(d.least, d.affordable) {
			t.Fatalf("%+v: %d", d, n)
		}
	})
}

func TestArrivals(t *testing.T) {
	var a arrivals
	now := time.Now()
	for i := range 1000 { // ten a second for a hundred seconds
		a.add(now.Add(time.Duration(i)*100*time.Millisecond), 1)
	}
	now = now.Add(100 * time.Second)
	if r := a.at(now); r < 9 || r > 11 {
		t.Errorf("rate %v, want about 10", r)
	}
	if r := a.at(now.Add(2 * time.Minute)); r > 0.01 {
		t.Errorf("two minutes later the rate is %v, want about 0", r)
	}
}
