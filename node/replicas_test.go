package node

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/hearth-run/hearth/core/engine"
	mem "github.com/hearth-run/hearth/driver/memory"
)

func TestCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*mem.Process
		e := mem.NewEngine(mem.EngineOptions{Programs: map[string]mem.Program{"f": {Main: func(p *mem.Process) http.Handler {
			all = append(all, p)
			return http.NotFoundHandler()
		}}}})
		changes := 0
		c := newCounted(e, func(namespace, revision string) {
			if namespace != "shop" || revision != "f-1" {
				t.Errorf("%s/%s changed", namespace, revision)
			}
			changes++
		})
		want := func(ready, wanted, told int) {
			t.Helper()
			synctest.Wait()
			if r, w := c.of("shop", "f-1"); r != ready || w != wanted || changes != told {
				t.Errorf("%d of %d, told %d times; want %d of %d, told %d times", r, w, changes, ready, wanted, told)
			}
		}
		s := engine.Spec{Tenant: "shop", Revision: "f-1", Handler: "f"}
		var ins []engine.Instance
		for range 2 {
			in, err := c.Start(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			ins = append(ins, in)
		}
		want(2, 2, 4)
		all[0].SetReady(false)
		want(1, 2, 5)
		all[0].SetReady(true)
		want(2, 2, 6)
		all[1].SetReady(false)
		want(1, 2, 7)
		all[1].Exit(1) // while it is not ready
		want(1, 1, 8)
		ins[0].Stop(context.Background())
		want(0, 0, 9)
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}
