// Package recordtest holds the conformance suite of core/record: every sentence
// of the contract as a test.
package recordtest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
)

// patience bounds every wait of the suite; a correct driver never needs it.
const patience = 2 * time.Minute

// Run checks that what open returns keeps the contract. open must return a new,
// empty store that keeps at least 2 000 calls and 1 MiB of lines; the suite
// closes it.
func Run(t *testing.T, open func(t testing.TB) record.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, record.Store)
	}{
		{"Calls", testCalls},
		{"CallsSelect", testCallsSelect},
		{"Lines", testLines},
		{"LinesSelect", testLinesSelect},
		{"Limits", testLimits},
		{"Follow", testFollow},
		{"FollowFromPast", testFollowFromPast},
		{"FollowWakes", testFollowWakes},
		{"FollowEnds", testFollowEnds},
		{"Canceled", testCanceled},
		{"Close", testClose},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { s.Close() })
			c.run(t, s)
		})
	}
}

// Bounds checks that what open returns forgets the oldest, and only those. The
// store must be new and empty and keep calls calls and lineBytes bytes of
// lines; it may keep a tenth less.
func Bounds(t *testing.T, calls int, lineBytes int64, open func(t testing.TB) record.Store) {
	t.Helper()
	s := open(t)
	defer s.Close()
	for i := range 3 * calls {
		s.AddCall(record.Call{Time: base(), Function: "f", Status: i})
		if i%100 == 0 {
			flush(t, s)
		}
	}
	flush(t, s)
	got, err := s.Calls(t.Context(), record.Query{Limit: 10 * calls})
	if err != nil || len(got) > calls || len(got) < calls*9/10 {
		t.Fatalf("%d calls are kept, %v; want about %d", len(got), err, calls)
	}
	for i, c := range got {
		if c.Status != 3*calls-1-i {
			t.Fatalf("number %d of the newest is %d", i, c.Status)
		}
	}
	var added []engine.Line
	var size int64
	for i := 0; size < 3*lineBytes; i++ {
		l := line(i)
		l.Text += strings.Repeat("x", i%100)
		s.AddLine(l)
		added = append(added, l)
		size += record.Size(l)
		if i%100 == 0 {
			flush(t, s)
		}
	}
	flush(t, s)
	kept := collect(t, s, record.Query{Limit: len(added)})
	size = 0
	for i, l := range kept {
		size += record.Size(l)
		same(t, l, added[len(added)-len(kept)+i])
	}
	if size > lineBytes || size < lineBytes*9/10 {
		t.Fatalf("%d bytes of lines are kept, want about %d", size, lineBytes)
	}
}

// base is a time with every digit a driver could lose.
func base() time.Time { return time.Date(2026, 11, 21, 14, 20, 13, 123_456_789, time.UTC) }

func flush(t testing.TB, s record.Store) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// call is call number n.
func call(n int) record.Call {
	return record.Call{
		Time: base().Add(time.Duration(n) * time.Second), Request: fmt.Sprint("request-", n), Tenant: []string{"shop", "blog"}[n%2],
		Function: fmt.Sprint("f", n%3), Revision: fmt.Sprint("f-", n%4), Instance: fmt.Sprint("i", n%5), Route: "shop/r", Method: "GET",
		Path: "/ä/" + fmt.Sprint(n), Status: 200 + n%4*100, Duration: time.Duration(n) * 1001, Queued: time.Duration(n), Cold: n%7 == 0,
		In: int64(n), Out: int64(n) << 33, Code: "timeout", Trace: "0af7651916cd43dd8448eb211c80319c",
	}
}

// line is line number n.
func line(n int) engine.Line {
	return engine.Line{
		Time: base().Add(time.Duration(n) * time.Second), Tenant: []string{"shop", "blog"}[n%2], Function: fmt.Sprint("f", n%3),
		Revision: fmt.Sprint("f-", n%4), Instance: fmt.Sprint("i", n%5), Request: fmt.Sprint("request-", n%6), Stream: []string{"stdout", "stderr"}[n%2],
		Text: fmt.Sprint(n),
	}
}

// same fails the test when the two records differ.
func same[T any](t testing.TB, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
}

// collect returns the lines of a query that does not follow.
func collect(t testing.TB, s record.Store, q record.Query) []engine.Line {
	t.Helper()
	var lines []engine.Line
	for l, err := range s.Lines(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

func testCalls(t *testing.T, s record.Store) {
	if got, err := s.Calls(t.Context(), record.Query{}); err != nil || len(got) != 0 {
		t.Fatalf("an empty store has %v, %v", got, err)
	}
	for i := range 20 {
		s.AddCall(call(i))
	}
	s.AddCall(record.Call{Time: base()}) // all else empty
	flush(t, s)
	got, err := s.Calls(t.Context(), record.Query{})
	if err != nil || len(got) != 21 {
		t.Fatalf("%d calls, %v", len(got), err)
	}
	same(t, got[0], record.Call{Time: base()})
	for i := range 20 {
		same(t, got[i+1], call(19-i))
	}
}

// queries select by each field, and by several.
func queries() []record.Query {
	return []record.Query{
		{}, {Tenant: "shop"}, {Function: "f1"}, {Revision: "f-2"}, {Instance: "i3"}, {Request: "request-4"}, {Tenant: "none"}, {Request: "'; --"},
		{Since: base().Add(5 * time.Second)}, {Since: base().Add(5*time.Second + 1)}, {Since: base().Add(time.Hour)},
		{Tenant: "blog", Function: "f2"}, {Tenant: "shop", Function: "f1", Revision: "f-0", Instance: "i1"},
		{Tenant: "blog", Since: base().Add(9 * time.Second), Limit: 3}, {Limit: 1}, {Limit: 59}, {Limit: 60}, {Limit: 61}, {Errors: true},
		{Errors: true, Tenant: "blog", Limit: 2},
	}
}

func testCallsSelect(t *testing.T, s record.Store) {
	for i := range 60 {
		s.AddCall(call(i))
	}
	flush(t, s)
	for _, q := range queries() {
		var want []record.Call
		for i := 59; i >= 0 && len(want) < q.Most(); i-- {
			if q.SelectsCall(call(i)) {
				want = append(want, call(i))
			}
		}
		got, err := s.Calls(t.Context(), q)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%+v: %d calls, %v; want %d", q, len(got), err, len(want))
		}
		for i := range want {
			same(t, got[i], want[i])
		}
	}
}

func testLines(t *testing.T, s record.Store) {
	if got := collect(t, s, record.Query{}); len(got) != 0 {
		t.Fatalf("an empty store has %v", got)
	}
	want := []engine.Line{line(1), {Time: base()}, line(0), line(2)}
	for _, text := range []string{"", " ", "ä€𝄞", "a\x00b", "\xff\xfe", "'; --", strings.Repeat("x", 16<<10)} {
		l := line(3)
		l.Text = text
		want = append(want, l)
	}
	for _, l := range want {
		s.AddLine(l)
	}
	flush(t, s)
	got := collect(t, s, record.Query{})
	if len(got) != len(want) {
		t.Fatalf("%d lines, want %d", len(got), len(want))
	}
	for i := range want {
		same(t, got[i], want[i])
	}
	for range s.Lines(t.Context(), record.Query{}) {
		break // a consumer may stop
	}
}

func testLinesSelect(t *testing.T, s record.Store) {
	for i := range 60 {
		s.AddLine(line(i))
	}
	flush(t, s)
	for _, q := range queries() {
		var want []engine.Line
		for i := range 60 {
			if q.SelectsLine(line(i)) {
				want = append(want, line(i))
			}
		}
		want = want[max(0, len(want)-q.Most()):]
		got := collect(t, s, q)
		if len(got) != len(want) {
			t.Fatalf("%+v: %d lines, want %d", q, len(got), len(want))
		}
		for i := range want {
			same(t, got[i], want[i])
		}
	}
}

func testLimits(t *testing.T, s record.Store) {
	for i := range record.LimitDefault + 300 {
		s.AddCall(call(i))
		s.AddLine(line(i))
		if i%100 == 0 {
			flush(t, s)
		}
	}
	flush(t, s)
	calls, err := s.Calls(t.Context(), record.Query{})
	if err != nil || len(calls) != record.LimitDefault {
		t.Fatalf("%d calls without a limit, %v", len(calls), err)
	}
	lines := collect(t, s, record.Query{})
	if len(lines) != record.LimitDefault {
		t.Fatalf("%d lines without a limit", len(lines))
	}
	same(t, lines[0], line(300))
	if n := len(collect(t, s, record.Query{Limit: 10_000})); n != record.LimitDefault+300 {
		t.Fatalf("%d lines with a large limit", n)
	}
}

func testCanceled(t *testing.T, s record.Store) {
	s.AddCall(call(0))
	s.AddLine(line(0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Calls(ctx, record.Query{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Calls: %v", err)
	}
	if err := s.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Flush: %v", err)
	}
}

func testClose(t *testing.T, s record.Store) {
	f := follow(t, s, record.Query{})
	s.AddLine(line(0))
	f.want(line(0))
	ended := make(chan string, 1)
	go func() {
		l, err, ok := f.pull()
		ended <- fmt.Sprintf("%q, %v, %t", l.Text, err, ok)
	}()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-ended; got != `"", <nil>, false` {
		t.Fatalf("following a closed store brought %s", got)
	}
	s.AddCall(call(0)) // no panic, no block
	s.AddLine(line(0))
	if _, err := s.Calls(t.Context(), record.Query{}); !api.IsCode(err, api.CodeNotReady) {
		t.Errorf("Calls of a closed store: %v", err)
	}
	n := 0
	for _, err := range s.Lines(t.Context(), record.Query{}) {
		if n++; !api.IsCode(err, api.CodeNotReady) {
			t.Errorf("Lines of a closed store: %v", err)
		}
	}
	if n != 1 {
		t.Errorf("Lines of a closed store yielded %d times, want one error", n)
	}
}
