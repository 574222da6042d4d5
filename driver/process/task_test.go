package process

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// TestTasksShareACache: tasks started at once may all write to one cache, from
// their first line to their last.
func TestTasksShareACache(t *testing.T) {
	e, _, _ := open(t, nil)
	cache := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 6 {
		dir := t.TempDir()
		wg.Go(func() {
			var out bytes.Buffer
			status, err := e.RunTask(context.Background(), Task{
				Dir: dir, Cache: cache, Network: "none", Env: map[string]string{"PATH": "/usr/bin:/bin", "CACHE": cache},
				Command: []string{"/bin/sh", "-ec", `for i in 1 2 3 4 5 6 7 8 9 10; do mkdir "$CACHE/d"; echo x >"$CACHE/d/f"; rm -r "$CACHE/d"; done`},
			}, &out)
			if err != nil || status != 0 {
				t.Errorf("status %d, %v:\n%s", status, err, out.String())
			}
		})
	}
	wg.Wait()
}

// TestTurnsEndWithTheContext: waiting for a folder ends with the context.
func TestTurnsEndWithTheContext(t *testing.T) {
	var u turns
	done, err := u.take(context.Background(), "a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := u.take(ctx, "a"); err != context.Canceled {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	other, err := u.take(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	done()
	if done, err = u.take(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	done()
}
