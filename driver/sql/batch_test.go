package sql

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hearth-run/hearth/core/record"
)

// FuzzBatch: what was appended is read again, and damage is an error and no
// panic.
func FuzzBatch(f *testing.F) {
	f.Add("r", "t", int64(1), int64(2), true, []byte{1, 2, 3})
	f.Add("", "", int64(-1), int64(0), false, []byte(nil))
	f.Fuzz(func(t *testing.T, request, path string, n, m int64, cold bool, damage []byte) {
		want := []record.Call{
			{Time: moment(n), Request: request, Path: path, Status: int(int32(n)), Duration: time.Duration(m), Cold: cold, In: n, Out: m},
			{Request: request, Tenant: path, Trace: request},
			{Request: path, Tenant: path, Code: request, Queued: time.Duration(n)},
		}
		b := appendCalls(nil, want)
		got, err := parseCalls(b)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Fatal(err, d)
		}
		if _, err := parseCalls(b[:len(b)-1]); err == nil {
			t.Fatal("a batch cut short was taken")
		}
		parseCalls(damage)
	})
}
