package recordtest

import (
	"context"
	"iter"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
)

// follower pulls lines one by one.
type follower struct {
	t    testing.TB
	pull func() (engine.Line, error, bool)
}

func follow(t testing.TB, s record.Store, q record.Query) *follower {
	t.Helper()
	ctx, end := context.WithTimeout(context.Background(), patience)
	q.Follow = true
	pull, stop := iter.Pull2(s.Lines(ctx, q))
	t.Cleanup(func() { end(); stop() })
	return &follower{t, pull}
}

// want fails the test when the next line is not this.
func (f *follower) want(l engine.Line) {
	f.t.Helper()
	got, err, ok := f.pull()
	if !ok || err != nil {
		f.t.Fatalf("following ended before line %q: %v", l.Text, err)
	}
	same(f.t, got, l)
}

// testFollow has followers join at any moment of a stream of lines: each sees
// what it selects once and in order, from the past into the present.
func testFollow(t *testing.T, s record.Store) {
	const lines = 3000
	var wg sync.WaitGroup
	for i := range 12 {
		q := record.Query{Follow: true, Limit: lines}
		if i%3 == 1 {
			q.Tenant, q.Function = "blog", "f1"
		} else if i%3 == 2 {
			q.Instance = "i2"
		}
		var want []engine.Line
		for n := range lines {
			if q.SelectsLine(line(n)) {
				want = append(want, line(n))
			}
		}
		joined := make(chan struct{})
		wg.Go(func() {
			ctx, end := context.WithTimeout(context.Background(), patience)
			defer end()
			close(joined)
			n := 0
			for l, err := range s.Lines(ctx, q) {
				if err != nil || !reflect.DeepEqual(l, want[n]) {
					t.Errorf("follower %d, line %d: got %q, %v; want %q", i, n, l.Text, err, want[n].Text)
					return
				}
				if n++; n == len(want) {
					return
				}
			}
			t.Errorf("follower %d saw %d lines, want %d", i, n, len(want))
		})
		<-joined
		for n := i * lines / 12; n < (i+1)*lines/12; n++ {
			s.AddLine(line(n))
			if n%200 == 0 { // no driver needs to drop then
				flush(t, s)
			}
		}
	}
	flush(t, s)
	wg.Wait()
}

func testFollowFromPast(t *testing.T, s record.Store) {
	for i := range 10 {
		s.AddLine(line(i))
	}
	flush(t, s)
	f := follow(t, s, record.Query{Limit: 2})
	none := follow(t, s, record.Query{Since: base().Add(10 * time.Second), Limit: 5})
	f.want(line(8))
	f.want(line(9))
	s.AddLine(line(10))
	s.AddLine(line(11))
	s.AddLine(line(12)) // the limit is one of the past
	for i := 10; i < 13; i++ {
		f.want(line(i))
		none.want(line(i))
	}
}

// testFollowWakes holds that a line arrives without anybody flushing.
func testFollowWakes(t *testing.T, s record.Store) {
	f := follow(t, s, record.Query{})
	for i := range 3 {
		go s.AddLine(line(i))
		f.want(line(i))
	}
}

func testFollowEnds(t *testing.T, s record.Store) {
	s.AddLine(line(0))
	flush(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for l, err := range s.Lines(ctx, record.Query{Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		same(t, l, line(0))
		n++
		time.AfterFunc(time.Millisecond, cancel) // while it waits
	}
	if n != 1 {
		t.Fatalf("%d lines", n)
	}
	for range s.Lines(ctx, record.Query{Follow: true}) {
		t.Fatal("following with an ended context yielded")
	}
}
