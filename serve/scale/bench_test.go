package scale

import (
	"context"
	"fmt"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
)

func warm(tb testing.TB, n, concurrency int) (*Scaler, []*api.Revision) {
	e := memory.NewEngine(memory.EngineOptions{Programs: program(nil)})
	s := New(Config{Engine: e, Spec: specOf})
	tb.Cleanup(func() {
		s.Close(context.Background())
		e.Close(context.Background())
	})
	revs := make([]*api.Revision, n)
	for i := range revs {
		revs[i] = revision(i, concurrency, 0, 100)
		l, err := s.Acquire(context.Background(), revs[i])
		if err != nil {
			tb.Fatal(err)
		}
		l.Release(false)
	}
	return s, revs
}

func TestWarmPathDoesNotAllocate(t *testing.T) {
	s, revs := warm(t, 1, 1)
	for _, c := range []struct{ policy string }{{api.PolicyHearth}, {api.PolicyKnative}} {
		for _, concurrency := range []int{1, 10, api.Unlimited} {
			r := revision(10, concurrency, 0, 10)
			r.Metadata.UID = fmt.Sprint(c.policy, concurrency)
			r.Spec.Scale.Auto = &api.Autoscale{Policy: c.policy}
			revs = append(revs, r)
		}
	}
	ctx := context.Background()
	for _, r := range revs {
		call := func() {
			l, err := s.Acquire(ctx, r)
			if err != nil {
				t.Fatal(err)
			}
			l.Release(false)
		}
		call() // starts it
		if n := testing.AllocsPerRun(1000, call); n != 0 {
			t.Errorf("%s: %v allocations per call", r.Metadata.UID, n)
		}
	}
}

func BenchmarkWarm(b *testing.B) {
	for _, n := range []int{1, 1000} {
		s, revs := warm(b, n, 100)
		ctx := context.Background()
		b.Run(fmt.Sprintf("revisions=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for i := 0; p.Next(); i++ {
					l, err := s.Acquire(ctx, revs[i%n])
					if err != nil {
						b.Error(err)
						return
					}
					l.Release(false)
				}
			})
		})
	}
}

func BenchmarkWarmOneByOne(b *testing.B) {
	s, revs := warm(b, 1, 1)
	ctx := context.Background()
	b.ReportAllocs()
	var l engine.Lease
	for b.Loop() {
		l, _ = s.Acquire(ctx, revs[0])
		l.Release(false)
	}
}
