package drain

import (
	"context"
	"testing"
	"testing/synctest"
)

// Shutdown tells every connection, takes no more, and returns when the last is
// gone and not before.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[int]
		for i := range 3 {
			if !g.Add(i) {
				t.Fatal("a connection was not taken")
			}
		}
		told := map[int]int{}
		var ended [2]bool
		for i := range ended { // a second one waits as well
			go func() {
				if err := g.Shutdown(t.Context(), func(c int) { told[c]++ }); err != nil {
					t.Error(err)
				}
				ended[i] = true
			}()
			synctest.Wait()
		}
		if g.Add(4) || !g.Closing() {
			t.Error("a connection was taken at the end")
		}
		for i := range 3 {
			if told[i] != 2 {
				t.Errorf("connection %d was told %d times", i, told[i])
			}
			g.Remove(4) // was never in
			if synctest.Wait(); ended[0] || ended[1] {
				t.Fatalf("it ended with %d connections left", 3-i)
			}
			g.Remove(i)
		}
		if synctest.Wait(); !ended[0] || !ended[1] {
			t.Error("it did not end with the last connection")
		}
		if err := g.Shutdown(t.Context(), func(int) { t.Error("someone is there") }); err != nil {
			t.Error(err)
		}
	})
}

// A connection that stays does not hold Shutdown for longer than its context.
func TestShutdownInTime(t *testing.T) {
	var g Group[int]
	g.Add(1)
	ctx, cancel := context.WithCancel(t.Context())
	if err := g.Shutdown(ctx, func(int) { cancel() }); err != context.Canceled {
		t.Errorf("%v; want that its time is over", err)
	}
	n := 0
	if g.Close(func(int) { n++ }); n != 1 {
		t.Errorf("%d connections were ended, not 1", n)
	}
}
