package record

import (
	"testing"
	"time"
)

func TestDurationBuckets(t *testing.T) {
	last := 0
	for d := time.Duration(1); d < 10*time.Minute; d += d/20 + 1 {
		i := DurationBucket(d)
		if i < last {
			t.Fatalf("%s is in class %d, a shorter one in %d", d, i, last)
		}
		last = i
		if i == DurationBuckets-1 {
			continue
		}
		if end := bucketEnd(i); end < d || i > 0 && end > d+d/4+1 {
			t.Errorf("%s is in a class that ends at %s", d, end)
		}
	}
}

func TestSummary(t *testing.T) {
	var a Summary
	if a.Quantile(0.99) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range 1000 {
		d := 10 * time.Millisecond
		if i >= 980 {
			d = time.Second
		}
		a.Calls++
		a.Durations[DurationBucket(d)]++
	}
	if q := a.Quantile(0.5); q < 10*time.Millisecond || q > 13*time.Millisecond {
		t.Errorf("p50 is %s", q)
	}
	if q := a.Quantile(0.99); q < time.Second || q > 1250*time.Millisecond {
		t.Errorf("p99 is %s", q)
	}
	b := a
	b.Calls, b.Errors = b.Calls+3, b.Errors+2
	b.Durations[5] += 3
	if d := b.Since(a); d.Calls != 3 || d.Errors != 2 || d.Durations[5] != 3 || d.Quantile(1) != bucketEnd(5) {
		t.Errorf("%+v", d)
	}
	if d := a.Since(b); d != a {
		t.Errorf("after a restart: %+v", d)
	}
}
