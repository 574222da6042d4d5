package policy

// peaks are the values of a sliding window that no later one is as large as, the
// largest first. They are not changed by add.
type peaks []peak

type peak struct {
	at    int64
	value int
}

// add is p with v at the given time, and the largest value of the width before
// it, v included.
func (p peaks) add(at, width int64, v int) (peaks, int) {
	kept := make(peaks, 0, len(p)+1)
	for _, x := range p {
		if x.at > at-width && x.value > v {
			kept = append(kept, x)
		}
	}
	kept = append(kept, peak{at, v})
	return kept, kept[0].value
}
