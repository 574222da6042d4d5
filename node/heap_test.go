package node

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestBallast holds the collector's goal up without using memory. It is looked
// at where it is made, in a young process: memory that was in use before has to
// be cleared.
func TestBallast(t *testing.T) {
	if os.Getenv("HEARTH_TEST_YOUNG") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestBallast$", "-test.v")
		cmd.Env = append(os.Environ(), "HEARTH_TEST_YOUNG=1")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestBallast") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	runtime.GC()
	before := resident(t)
	b := ballast()
	runtime.GC()
	s := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(s)
	if goal := s[0].Value.Uint64(); goal < 2*ballastSize {
		t.Errorf("the collector's goal is %d bytes, less than %d", goal, 2*ballastSize)
	}
	if more := resident(t) - before; more > ballastSize/2 {
		t.Errorf("the ballast takes %d bytes of memory", more)
	}
	runtime.KeepAlive(b)
}

// TestRest: garbage goes once after load, and not while there is some.
func TestRest(t *testing.T) {
	const mib = 1 << 20
	r, total := rest{}, uint64(0)
	for i, step := range []struct {
		allocated uint64
		due       bool
	}{
		{10 * mib, false}, // starting
		{1 * mib, false},  // quiet, but there is little to gain
		{100 * mib, false},
		{3 * mib, false},
		{2 * mib, true},
		{1 * mib, false}, // not again for nothing
		{1 * mib, false},
		{14 * mib, false},
		{0, true},
	} {
		total += step.allocated
		if got := r.due(total); got != step.due {
			t.Errorf("step %d, %d MiB allocated: %v", i, step.allocated/mib, got)
		}
	}
}

// TestTidy gives memory back without being asked again.
func TestTidy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { tidy(ctx); close(done) }()
		for range 64 { // 64 MiB of garbage, and a heap that has grown for it
			garbage = make([]byte, 1<<20)
		}
		garbage = nil
		s := []metrics.Sample{{Name: "/gc/cycles/forced:gc-cycles"}}
		metrics.Read(s)
		before := s[0].Value.Uint64()
		time.Sleep(3 * restEvery)
		synctest.Wait()
		if metrics.Read(s); s[0].Value.Uint64() == before {
			t.Error("nothing was given back")
		}
		cancel()
		<-done
	})
}

var garbage []byte // keeps the compiler from seeing that nobody reads it

// resident is the resident memory of this process in bytes; 0 where the host
// does not say.
func resident(t *testing.T) int {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
