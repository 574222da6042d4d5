package policy

import (
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

func TestReserved(t *testing.T) {
	hour := func(n int) api.Duration { return api.Duration{Duration: time.Duration(n) * time.Hour} }
	list := Reserves([]api.Reserve{
		{Schedule: "0 8 * * 1-5", TimeZone: "Europe/Berlin", Instances: 3, Duration: hour(10)},
		{Schedule: "0 12 * * *", TimeZone: "Europe/Berlin", Instances: 5, Duration: hour(1)},
		{Schedule: "*/10 * 24 12 *", Instances: 9, Duration: hour(1)}, // begins again before it ends
		{Schedule: "nonsense", Instances: 100, Duration: hour(1)},
	})
	for _, c := range []struct {
		at, until string
		n         int
	}{
		{"2026-11-20T06:59:59Z", "2026-11-20T07:00:00Z", 0}, // a Friday
		{"2026-11-20T07:00:00Z", "2026-11-20T11:00:00Z", 3},
		{"2026-11-20T11:00:00Z", "2026-11-20T12:00:00Z", 5},
		{"2026-11-20T12:00:00Z", "2026-11-20T17:00:00Z", 3},
		{"2026-11-20T17:00:00Z", "2026-11-21T11:00:00Z", 0},
		{"2026-11-21T11:30:00Z", "2026-11-21T12:00:00Z", 5}, // a Saturday
		{"2026-12-24T20:05:00Z", "2026-12-24T20:10:00Z", 9},
		{"2026-12-25T00:30:00Z", "2026-12-25T00:40:00Z", 9},
		{"2026-07-20T06:00:00Z", "2026-07-20T10:00:00Z", 3}, // summer time
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		n, until := Reserved(list, at)
		if n != c.n || until.UTC().Format(time.RFC3339) != c.until {
			t.Errorf("%s: %d until %s, want %d until %s", c.at, n, until.UTC().Format(time.RFC3339), c.n, c.until)
		}
	}
	if n, until := Reserved(nil, time.Now()); n != 0 || !until.IsZero() {
		t.Error("nothing is reserved")
	}
}
