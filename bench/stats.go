package main

import (
	"cmp"
	"slices"
	"time"
)

// quantile is the smallest value that q of all are not above.
func quantile[T cmp.Ordered](all []T, q float64) T {
	s := slices.Sorted(slices.Values(all))
	i := int(q*float64(len(s))+0.9999999) - 1
	return s[min(max(i, 0), len(s)-1)]
}

// median is the middle value.
func median[T cmp.Ordered](all []T) T { return quantile(all, 0.5) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func share(a, b time.Duration) float64 { return float64(a) / float64(b) }
