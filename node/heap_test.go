package node

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"testing"
)

// TestBallast holds the collector's goal up without using memory.
func TestBallast(t *testing.T) {
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
