package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestProgress: who waits goes on as soon as the table is where he wants it, and
// in any case soon.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p progress
		waited := func(ctx context.Context, revision int64) time.Duration {
			begun := time.Now()
			p.reach(ctx, revision)
			return time.Since(begun)
		}
		p.move(3)
		if d := waited(t.Context(), 3); d != 0 {
			t.Errorf("for what is there: %s", d)
		}
		if d := waited(t.Context(), 9); d != catchUpTime {
			t.Errorf("for what never comes: %s", d)
		}
		gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if d := waited(gone, 9); d != time.Millisecond {
			t.Errorf("for a caller who leaves: %s", d)
		}
		for i := int64(4); i <= 6; i++ {
			time.AfterFunc(time.Duration(i)*10*time.Millisecond, func() { p.move(i) })
		}
		early := make(chan time.Duration)
		go func() { early <- waited(t.Context(), 4) }()
		if d := waited(t.Context(), 6); d != 60*time.Millisecond {
			t.Errorf("for the third of three moves: %s", d)
		}
		if d := <-early; d != 40*time.Millisecond {
			t.Errorf("for the first of them: %s", d)
		}
	})
}
