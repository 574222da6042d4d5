package lines_test

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/sandbox/lines"
)

// TestReader writes to both streams: every line comes without its end, a long
// one is cut, and the last needs no end.
func TestReader(t *testing.T) {
	long := strings.Repeat("x", lines.Max)
	want := map[string][]string{"stdout": {"a", "", "b", long, "c", long}, "stderr": {"no end"}}
	type said struct{ stream, text string }
	all := make(chan said, 100)
	r := lines.NewReader(func(stream string, line []byte) { all <- said{stream, string(line)} })
	stdout, stderr, err := r.Pipes()
	if err != nil {
		t.Fatal(err)
	}
	write(t, stdout, "a\r\n\nb\n"+long+long+"yz\nc\n"+long)
	write(t, stderr, "no end")
	got := map[string][]string{}
	for range 7 {
		l := <-all
		got[l.stream] = append(got[l.stream], l.text)
	}
	r.Drain()
	if len(all) > 0 {
		t.Errorf("and another line: %.60q", (<-all).text)
	}
	for stream := range want {
		if !slices.Equal(got[stream], want[stream]) {
			t.Errorf("%s: %d lines %.60q", stream, len(got[stream]), got[stream])
		}
	}
}

func write(t *testing.T, f *os.File, text string) {
	t.Helper()
	if _, err := io.WriteString(f, text); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestDrainGivesUp has a pipe that nobody closes.
func TestDrainGivesUp(t *testing.T) {
	r := lines.NewReader(func(string, []byte) {})
	stdout, stderr, err := r.Pipes()
	if err != nil {
		t.Fatal(err)
	}
	r.Drain()
	stdout.Close()
	stderr.Close()
}
