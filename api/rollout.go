package api

import (
	"math"
	"time"
)

// Share is the part of the requests a revision gets, in percent.
type Share struct {
	Revision string `json:"revision"`
	Percent  int    `json:"percent"`
}

// The functions below move a share from older revisions to a newer one, a
// little at a time: the arithmetic of Knative's rollout duration. A list of
// shares is ordered from the oldest revision to the newest; its sum is what is
// shared. They are pure and return lists of their own.

// BeginShift starts to move shares to a revision, which becomes the newest: it
// gets 1 % from the newest other that has any, or keeps what it has. Where
// nothing can be moved gradually (to is the only one, or all is 1 % or less) it
// gets all at once. Shares of 0 are dropped.
func BeginShift(shares []Share, to string) []Share {
	var out []Share
	total := sum(shares)
	for _, s := range shares {
		if s.Percent > 0 && s.Revision != to {
			out = append(out, s)
		}
	}
	if len(out) == 0 || total <= 1 {
		return []Share{{to, total}}
	}
	have := total - sum(out)
	if have == 0 {
		have = 1
		out[len(out)-1].Percent--
	}
	if n := len(out) - 1; out[n].Percent == 0 {
		out = out[:n]
	}
	return append(out, Share{to, have})
}

// PlanShift spreads the move of percent over d. ready is how long it took until
// the first part of it was in effect, which is the shortest a step can be. It
// returns how much each step moves and the time between two.
func PlanShift(percent int, d, ready time.Duration) (size int, every time.Duration) {
	if percent <= 1 {
		return percent, 0
	}
	m := math.Max(1, math.Ceil(ready.Seconds()))
	rest := math.Max(1, d.Seconds()-m)
	steps := math.Min(math.Max(1, rest/m), float64(percent-1))
	return int(math.Round(float64(percent-1) / steps)), time.Duration(rest / steps * float64(time.Second))
}

// Shift moves by percent from the newest older revisions to the newest.
func Shift(shares []Share, by int) []Share {
	if len(shares) == 0 {
		return nil
	}
	out := append([]Share(nil), shares...)
	last := len(out) - 1
	for i := last - 1; i >= 0 && by > 0; i-- {
		n := min(by, out[i].Percent)
		out[i].Percent -= n
		out[last].Percent += n
		by -= n
	}
	kept := out[:0]
	for i, s := range out {
		if s.Percent > 0 || i == last {
			kept = append(kept, s)
		}
	}
	return kept
}

// Resize makes the sum of shares percent, as when a target's share changes in
// the middle of a rollout: the newest gets what comes, the oldest give what
// goes.
func Resize(shares []Share, percent int) []Share {
	if len(shares) == 0 {
		return nil
	}
	out := append([]Share(nil), shares...)
	d := percent - sum(out)
	if d >= 0 {
		out[len(out)-1].Percent += d
		return out
	}
	for i := range out {
		n := min(-d, out[i].Percent)
		out[i].Percent -= n
		d += n
	}
	for len(out) > 1 && out[0].Percent == 0 {
		out = out[1:]
	}
	return out
}

func sum(shares []Share) (n int) {
	for _, s := range shares {
		n += s.Percent
	}
	return n
}
