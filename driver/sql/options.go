package sql

import (
	"log/slog"
	"time"
)

// Options for Open and OpenRecords. The zero value is usable.
type Options struct {
	Log *slog.Logger // nil: nothing is logged

	// Seal protects the values of secrets at rest. nil: they are kept as they
	// are, and values that were sealed before cannot be read.
	Seal Sealer
	// History is how many changes a store keeps at least for watches, unless
	// they are older than HistoryAge. 0: 10 000.
	History int
	// HistoryAge is how long a store keeps changes at most, give or take a
	// minute; the value of a deleted record is gone from the file's reachable
	// content after it. 0: one hour; negative: for ever.
	HistoryAge time.Duration

	// Calls is how many calls records keep at most. 0: 200 000.
	Calls int
	// LineBytes is how much text of lines records keep at most, with what
	// belongs to each line. 0: 64 MiB.
	LineBytes int64
}

// Sealer turns values into what may lie on a disk, and back. Open fails for
// what Seal did not make. Both are safe for concurrent use and change nothing
// they are given.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.History <= 0 {
		o.History = 10_000
	}
	if o.HistoryAge == 0 {
		o.HistoryAge = time.Hour
	}
	if o.Calls <= 0 {
		o.Calls = 200_000
	}
	if o.LineBytes <= 0 {
		o.LineBytes = 64 << 20
	}
	return o
}
