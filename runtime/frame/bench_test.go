package frame_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/hearth-run/hearth/runtime/frame"
)

// BenchmarkDo is a small call to an instance in the same process; its
// allocations include the instance's.
func BenchmarkDo(b *testing.B) {
	for _, n := range []int{1, 16, 64} {
		b.Run(map[int]string{1: "1", 16: "16", 64: "64"}[n], func(b *testing.B) {
			c := start(b, frame.RoleData, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }, frame.ServeOptions{}, frame.Options{})
			b.ReportAllocs()
			call := func(next func() bool) {
				rq := get("/hello?x=1")
				for next() {
					r, err := c.Do(b.Context(), rq)
					if err != nil {
						b.Error(err)
						return
					}
					if p, err := r.Next(); string(p) != "hello" {
						b.Errorf("%q %v", p, err)
						return
					}
					r.Close()
				}
			}
			if n == 1 {
				call(b.Loop)
				return
			}
			b.SetParallelism(n / 2)
			b.RunParallel(func(pb *testing.PB) { call(pb.Next) })
		})
	}
}
