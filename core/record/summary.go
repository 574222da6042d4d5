package record

import (
	"math/bits"
	"time"
)

// DurationBuckets is the number of a Summary's classes of duration.
const DurationBuckets = 96

// Summary is what is counted of many calls: how many, how many ended in a
// status of 500 and above, and how long they took, in classes a quarter of an
// octave wide.
type Summary struct {
	Calls     uint64
	Errors    uint64
	Durations [DurationBuckets]uint64
}

// DurationBucket is the class of d.
func DurationBucket(d time.Duration) int {
	if d < 1<<16 {
		return 0
	}
	e := bits.Len64(uint64(d)) - 17
	return min(1+4*e+int(uint64(d)>>(14+e)&3), DurationBuckets-1)
}

// bucketEnd is the longest duration of class i.
func bucketEnd(i int) time.Duration {
	if i == 0 {
		return 1 << 16
	}
	e, sub := (i-1)/4, (i-1)%4
	return 1<<(16+e) + time.Duration(sub+1)<<(14+e)
}

// Since is what was counted after before, an earlier summary of the same calls.
// Counters that began anew in between count from there.
func (s Summary) Since(before Summary) Summary {
	if before.Calls > s.Calls {
		return s
	}
	s.Calls -= before.Calls
	s.Errors -= min(before.Errors, s.Errors)
	for i := range s.Durations {
		s.Durations[i] -= min(before.Durations[i], s.Durations[i])
	}
	return s
}

// Quantile is a time that a share q of the calls did not exceed, at most a
// quarter too long; 0 without calls.
func (s Summary) Quantile(q float64) time.Duration {
	total := uint64(0)
	for _, n := range s.Durations {
		total += n
	}
	want, seen := q*float64(total), uint64(0)
	for i, n := range s.Durations {
		if seen += n; n > 0 && float64(seen) >= want {
			return bucketEnd(i)
		}
	}
	return 0
}
