package main

import (
	"fmt"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/serve/gateway/table"
)

// routing is section e: the gateway's table is asked directly. Three routes per
// host, each with a variable; the look-ups jump about, so that a large table is
// not in the processor's cache.
func (b *bench) routing() error {
	for _, n := range []int{10, 100, 1000, 10_000, 100_000} {
		hosts, paths := make([]string, n), make([]string, n)
		change := (*table.Table[int])(nil).Begin()
		for i := range n {
			hosts[i], paths[i] = fmt.Sprintf("h%d.example.com", i/3), fmt.Sprintf("/v1/items%d/12345", i%3)
			e := &table.Entry[int]{ID: fmt.Sprintf("ns/r%d", i), Spec: &api.RouteSpec{Host: hosts[i], Path: fmt.Sprintf("/v1/items%d/{id}", i%3)}, Value: i}
			if err := change.Put(e); err != nil {
				return err
			}
		}
		t := change.End()
		calls := 2_000_000
		if b.quick {
			calls = 200_000
		}
		var all []float64
		for range b.rounds {
			var m table.Match[int]
			begin := time.Now()
			for i := range calls {
				k := i * 7919 % n
				if !t.Find(hosts[k], paths[k], "GET", &m) || m.Entry.Value != k {
					return fmt.Errorf("route %d of %d was not found", k, n)
				}
			}
			all = append(all, float64(time.Since(begin).Nanoseconds())/float64(calls))
			if b.ctx.Err() != nil {
				return b.ctx.Err()
			}
		}
		ns := median(all)
		r := row{what: fmt.Sprintf("%d routes", n), hearth: fmt.Sprintf("%.0f ns", ns)}
		r.atMost(ns, 1000)
		r.target += " ns"
		b.report.add(r)
	}
	return nil
}
