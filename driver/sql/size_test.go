package sql

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/hearth-run/hearth/core/store"
)

// resident returns this process's resident memory in bytes, after giving back
// what can be given.
func resident(t testing.TB) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("this host does not tell the memory of a process in /proc")
	}
	var total, pages int64
	fmt.Sscan(string(text), &total, &pages)
	return pages * int64(os.Getpagesize())
}

// TestMemory holds that values do not stay in memory: 20 MB of them, written,
// watched and read one by one, leave a few MB behind.
func TestMemory(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"), Options{})
	before := resident(t)
	const records = 10_000
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := w; i < records; i += 20 {
				if _, err := s.Apply(context.Background(), thing(fmt.Sprint(i)), []byte(strings.Repeat("x", 2000)), store.New); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	n := 0
	for _, err := range s.Watch(t.Context(), store.Query{}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == records {
			break
		}
	}
	wg.Wait()
	for i := range records {
		if _, err := s.Get(t.Context(), thing(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	grown := resident(t) - before
	t.Logf("%d records of 2 kB cost %d KiB of memory", records, grown>>10)
	if limit := int64(12 << 20); grown > limit && !raceEnabled() {
		t.Fatalf("%d records of 2 kB cost %d KiB of memory, more than %d", records, grown>>10, limit>>10)
	}
	runtime.KeepAlive(s)
}

// raceEnabled reports whether this test was built with the race detector, whose
// shadow memory is not ours.
func raceEnabled() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return true
		}
	}
	return false
}
