package process

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// BenchmarkCold prints what a start from a filled pool costs, with its first
// answer; bench/ has the figures that count.
func BenchmarkCold(b *testing.B) {
	for _, c := range []struct{ rt, file, code string }{
		{"node", "index.js", "exports.handler = () => 'x'"},
		{"python", "main.py", "def main(event):\n    return 'x'\n"},
	} {
		b.Run(c.rt, func(b *testing.B) {
			e, artifact, _ := open(b, nil)
			s := spec(c.rt, artifact(map[string]string{c.file: c.code}))
			if err := e.Prepare(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			var times []time.Duration
			for b.Loop() {
				b.StopTimer()
				for e.Warm()[c.rt] == 0 {
					wait(b.Context(), time.Millisecond)
				}
				wait(b.Context(), 50*time.Millisecond)
				b.StartTimer()
				begin := time.Now()
				in, err := e.Start(b.Context(), s)
				if err != nil {
					b.Fatal(err)
				}
				started := time.Since(begin)
				answer(b, in, "x")
				times = append(times, time.Since(begin))
				b.StopTimer()
				if len(times) < 4 {
					b.Logf("start %v, with answer %v", started, times[len(times)-1])
				}
				in.Stop(b.Context())
				b.StartTimer()
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
		})
	}
}

func answer(t testing.TB, in engine.Instance, want string) {
	t.Helper()
	r, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://f/", nil)
	a, err := call(r.Context(), in, r)
	if err != nil {
		t.Fatalf("call: %v", err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil || !strings.Contains(string(body), want) {
		t.Fatalf("answer %d %q, %v; want %q", a.StatusCode, body, err, want)
	}
}

// BenchmarkBurst starts 100 instances at once.
func BenchmarkBurst(b *testing.B) {
	for _, c := range []struct{ rt, file, code string }{
		{"node", "index.js", "exports.handler = () => 'x'"},
		{"python", "main.py", "def main(event):\n    return 'x'\n"},
	} {
		b.Run(c.rt, func(b *testing.B) {
			e, artifact, _ := open(b, nil)
			var specs []engine.Spec
			for i := range 100 {
				s := spec(c.rt, artifact(map[string]string{c.file: c.code}))
				s.Revision = fmt.Sprintf("f-%d", i)
				if err := e.Prepare(b.Context(), s); err != nil {
					b.Fatal(err)
				}
				specs = append(specs, s)
			}
			for b.Loop() {
				b.StopTimer()
				for last, n := -1, 0; n < 20; {
					if w := e.Warm()[c.rt]; w != last {
						last, n = w, 0
					}
					n++
					wait(b.Context(), 50*time.Millisecond)
				}
				b.Logf("%d warm", e.Warm()[c.rt])
				b.StartTimer()
				var wg sync.WaitGroup
				ins := make([]engine.Instance, len(specs))
				for i, s := range specs {
					wg.Go(func() {
						in, err := e.Start(b.Context(), s)
						if err != nil {
							b.Error(err)
							return
						}
						answer(b, in, "x")
						ins[i] = in
					})
				}
				wg.Wait()
				b.StopTimer()
				for _, in := range ins {
					wg.Go(func() { in.Stop(b.Context()) })
				}
				wg.Wait()
				b.StartTimer()
			}
		})
	}
}
