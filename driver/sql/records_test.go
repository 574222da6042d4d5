package sql

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/record/recordtest"
)

func openRecords(t testing.TB, path string, opts Options) *Records {
	t.Helper()
	r, err := OpenRecords(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestRecords(t *testing.T) {
	recordtest.Run(t, func(t testing.TB) record.Store {
		return openRecords(t, filepath.Join(t.TempDir(), "records.db"), Options{})
	})
}

func TestRecordsBounds(t *testing.T) {
	recordtest.Bounds(t, 500, 100_000, func(t testing.TB) record.Store {
		return openRecords(t, filepath.Join(t.TempDir(), "records.db"), Options{Calls: 500, LineBytes: 100_000})
	})
}

// TestRecordsReopen holds that records and bounds survive a restart, and that
// ids are not given twice even when every row is gone.
func TestRecordsReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	opts := Options{LineBytes: 10_000}
	n := 0
	for range 4 {
		r := openRecords(t, path, opts)
		for range 50 {
			r.AddLine(engine.Line{Tenant: "shop", Text: fmt.Sprintf("%04d", n)})
			n++
		}
		r.AddCall(record.Call{Tenant: "shop", Status: n})
		if err := r.Close(); err != nil { // flushes
			t.Fatal(err)
		}
	}
	r := openRecords(t, path, opts)
	var kept int64
	next := -1
	for l, err := range r.Lines(t.Context(), record.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		var i int
		fmt.Sscan(strings.TrimLeft(l.Text, "0"), &i)
		if next >= 0 && i != next {
			t.Fatalf("line %d came after %d", i, next-1)
		}
		next = i + 1
		kept += record.Size(l)
	}
	if next != n || kept > opts.LineBytes || kept < opts.LineBytes*9/10 {
		t.Fatalf("%d bytes are kept, up to line %d of %d", kept, next-1, n)
	}
	calls, err := r.Calls(t.Context(), record.Query{})
	if err != nil || len(calls) != 4 || calls[0].Status != n {
		t.Fatalf("%v, %v", calls, err)
	}
}

// TestRecordsDrop holds that adding never waits for a writer that cannot go on,
// and that what was dropped is counted.
func TestRecordsDrop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	r := openRecords(t, path, Options{})
	other := openRecords(t, path, Options{})
	if _, err := other.file.write.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err) // holds the file: r's writer waits
	}
	const added = 4 * waitRows
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range added / 4 {
				r.AddCall(record.Call{Tenant: "shop"})
				r.AddLine(engine.Line{Text: strings.Repeat("x", 1000)})
			}
		})
	}
	wg.Wait()
	dropped := r.Dropped()
	if dropped < added || dropped >= 2*added {
		t.Fatalf("%d of %d were dropped", dropped, 2*added)
	}
	if _, err := other.file.write.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls, err := r.Calls(t.Context(), record.Query{Limit: 10 * added})
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, err := range r.Lines(t.Context(), record.Query{Limit: 10 * added}) {
		if err != nil {
			t.Fatal(err)
		}
		lines++
	}
	if got := int64(len(calls) + lines); got+r.Dropped() != 2*added {
		t.Fatalf("%d kept and %d dropped are not %d", got, r.Dropped(), 2*added)
	}
}

// TestRecordsDiskFull holds that a full disk costs records, nothing else.
func TestRecordsDiskFull(t *testing.T) {
	r := openRecords(t, filepath.Join(t.TempDir(), "records.db"), Options{})
	limit := func(pages int) {
		if _, err := r.file.write.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.Repeat("x", 10_000)
	add := func(n int) {
		for range n {
			r.AddLine(engine.Line{Text: text})
		}
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	add(10)
	limit(60)
	add(100)
	if r.Dropped() != 100 {
		t.Fatalf("%d dropped, want 100", r.Dropped())
	}
	limit(10_000)
	add(10)
	n := 0
	for _, err := range r.Lines(t.Context(), record.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 20 || r.Dropped() != 100 {
		t.Fatalf("%d lines, %d dropped", n, r.Dropped())
	}
}

// TestAddAllocates holds that adding to a buffer that was used before is free.
func TestAddAllocates(t *testing.T) {
	r := openRecords(t, filepath.Join(t.TempDir(), "records.db"), Options{})
	c := record.Call{Time: time.Now(), Request: "r", Tenant: "shop", Function: "f"}
	for range 2 { // both buffers
		for range batchRows {
			r.AddCall(c)
		}
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(batchRows/4, func() { r.AddCall(c) }); n > 0 {
		t.Fatalf("AddCall allocates %v times", n)
	}
}

// BenchmarkAddCall prints what the warm path pays for a record.
func BenchmarkAddCall(b *testing.B) {
	r := openRecords(b, filepath.Join(b.TempDir(), "records.db"), Options{})
	c := record.Call{Time: time.Now(), Request: "0123456789abcdef", Tenant: "shop", Function: "f", Revision: "f-1", Instance: "i", Method: "GET", Path: "/x", Status: 200}
	for n := 0; b.Loop(); n++ {
		if r.AddCall(c); n%batchRows == 0 {
			r.mu.Lock()
			r.calls = r.calls[:0] // what the writer costs is another number
			r.mu.Unlock()
		}
	}
	if r.Dropped() > 0 {
		b.Fatalf("%d were dropped: that is another number too", r.Dropped())
	}
}

// BenchmarkWriteCalls prints what writing a record costs beside the warm path.
func BenchmarkWriteCalls(b *testing.B) {
	r := openRecords(b, filepath.Join(b.TempDir(), "records.db"), Options{})
	c := record.Call{Time: time.Now(), Request: "0123456789abcdef", Tenant: "shop", Function: "f", Revision: "f-1", Instance: "i", Method: "GET", Path: "/x", Status: 200}
	for n := 0; b.Loop(); n++ {
		if r.AddCall(c); n%batchRows == 0 {
			r.Flush(b.Context())
		}
	}
	r.Flush(b.Context())
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
