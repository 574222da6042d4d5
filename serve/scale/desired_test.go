package scale

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
)

func TestDesired(t *testing.T) {
	for _, c := range []struct {
		name string
		load load
		want int
	}{
		{"nothing to do", load{Concurrency: 1, Max: 10}, 0},
		{"one call wakes one", load{Waiting: 1, Concurrency: 1, Max: 10}, 1},
		{"ten calls of concurrency 50 need one", load{Waiting: 10, Concurrency: 50, Max: 10}, 1},
		{"51 need two", load{Waiting: 51, Concurrency: 50, Max: 10}, 2},
		{"waiters come on top of full ones", load{Ready: 2, Waiting: 3, Concurrency: 2, Max: 10}, 4},
		{"never above max", load{Ready: 2, Waiting: 300, Concurrency: 1, Max: 5}, 5},
		{"those that leave count towards max", load{Ready: 2, Leaving: 2, Waiting: 300, Concurrency: 1, Max: 5}, 3},
		{"nothing fits beside those that leave", load{Leaving: 5, Waiting: 1, Concurrency: 1, Max: 5}, 0},
		{"min is started", load{Min: 3, Concurrency: 1, Max: 5}, 3},
		{"min does not add to waiters", load{Min: 3, Waiting: 2, Concurrency: 1, Max: 5}, 3},
		{"starts do not change the aim", load{Starting: 2, Waiting: 2, Concurrency: 1, Max: 5}, 2},
		{"busy ones stay", load{Ready: 4, Concurrency: 1, Max: 5}, 4},
		{"expired ones go", load{Ready: 4, Expired: 3, Concurrency: 1, Max: 5}, 1},
		{"expired ones stay for min", load{Ready: 4, Expired: 4, Min: 2, Concurrency: 1, Max: 5}, 2},
		{"failing: one try at a time", load{Waiting: 100, Concurrency: 1, Max: 50, Failing: true}, 1},
		{"failing: one more than what runs", load{Ready: 3, Waiting: 100, Concurrency: 1, Max: 50, Failing: true}, 4},
		{"blocked: none more", load{Ready: 3, Waiting: 100, Min: 10, Concurrency: 1, Max: 50, Failing: true, Blocked: true}, 3},
		{"blocked: expired ones go", load{Ready: 3, Expired: 3, Concurrency: 1, Max: 50, Blocked: true}, 0},
	} {
		if got := desired(c.load); got != c.want {
			t.Errorf("%s: desired(%+v) = %d, want %d", c.name, c.load, got, c.want)
		}
	}
}

func TestDesiredProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 20).Draw(t, "max")
		ready := rapid.IntRange(0, most).Draw(t, "ready")
		leaving := rapid.IntRange(0, most-ready).Draw(t, "leaving")
		l := load{
			Ready: ready, Leaving: leaving, Max: most, Min: rapid.IntRange(0, most).Draw(t, "min"),
			Expired: rapid.IntRange(0, ready).Draw(t, "expired"), Concurrency: rapid.IntRange(1, 9).Draw(t, "concurrency"),
			Failing: rapid.Bool().Draw(t, "failing"), Blocked: rapid.Bool().Draw(t, "blocked"),
		}
		if l.Expired == 0 {
			l.Waiting = rapid.IntRange(0, 99).Draw(t, "waiting")
		}
		d := desired(l)
		if d < 0 || d+leaving > most {
			t.Fatalf("desired(%+v) = %d breaks the bounds", l, d)
		}
		if d < ready-l.Expired {
			t.Fatalf("desired(%+v) = %d would stop instances in use", l, d)
		}
		if l.Blocked && d > ready {
			t.Fatalf("desired(%+v) = %d starts while blocked", l, d)
		}
		if room := (d - ready) * l.Concurrency; d > max(ready, l.Min) && room-l.Concurrency >= l.Waiting {
			t.Fatalf("desired(%+v) = %d is more than the waiters need", l, d)
		}
	})
}

func TestBackoff(t *testing.T) {
	const least, most = 100 * time.Millisecond, 30 * time.Second
	now := time.Now()
	var o backoff
	for i, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000} {
		want *= time.Millisecond
		epoch := o.epoch
		o.failed(now, &api.Error{Code: api.CodeLoadFailed, Message: "bad"}, epoch, least, most)
		o.failed(now, &api.Error{Code: api.CodeLoadFailed, Message: "bad"}, epoch, least, most) // began with the first
		if d := o.until.Sub(now); d > want || d < want*3/4 {
			t.Errorf("wait %d is %s, want up to %s and not less than three quarters", i+1, d, want)
		}
		if !o.blocked(o.until.Add(-1)) || o.blocked(o.until) {
			t.Errorf("wait %d does not end when it should", i+1)
		}
	}
	if e := o.answer(now); e.Code != api.CodeLoadFailed || e.RetryAfter != o.until.Sub(now) {
		t.Errorf("answer %+v", e)
	}
	o.started()
	if o.blocked(now) || o.failures != 0 || o.err != nil {
		t.Errorf("after success: %+v", o)
	}
}
