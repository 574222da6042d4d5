package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

func TestRollout(t *testing.T) {
	s := up(t)
	version := func(n int) string {
		return "runtime: node\nconcurrency: 4\nrevisions: {keep: 3}\n" + inline(fmt.Sprintf("export default () => 'v%d'", n))
	}

	t.Run("under load", func(t *testing.T) {
		s := s.in(t)
		s.deploy("app", version(0))
		l := s.load("app", 4, func(body string) bool { return strings.HasPrefix(body, "v") })
		for i := 1; i <= 10; i++ {
			switch i {
			case 4: // does not build
				f := s.settle("app", "runtime: node\n"+inline("export default () => 'x',,"))
				built, _ := f.Status.Conditions.Get(api.ConditionBuilt)
				if built.Status != api.False || !strings.Contains(built.Message, ":1:") || built.Hint == "" || !f.Status.Conditions.Ready() || f.Status.LatestReadyRevision != "app-4" {
					t.Errorf("a source that does not build: %+v", f.Status)
				}
			case 7: // does not load
				f := s.settle("app", "runtime: node\n"+inline("import x from './missing.js'\nexport default () => x"))
				updated, _ := f.Status.Conditions.Get(api.ConditionUpdated)
				if updated.Status != api.False || !strings.Contains(updated.Message, "missing") || updated.Hint == "" || !f.Status.Conditions.Ready() {
					t.Errorf("a source that does not load: %+v", f.Status)
				}
			default:
				s.deploy("app", version(i))
				if got := s.must("app", "/"); got != fmt.Sprintf("v%d", i) {
					t.Errorf("after the deployment of v%d: %s", i, got)
				}
				eventually(t, patience, "the callers see it", func() bool { return l.saw(fmt.Sprintf("v%d", i)) })
			}
		}
		before := l.count()
		eventually(t, patience, "the load goes on", func() bool { return l.count() > before+20 })
		l.stop(t)
		if len(l.seen) < 8 {
			t.Errorf("the callers saw the versions %v only", l.seen)
		}
		eventually(t, patience, "old revisions are removed by count", func() bool {
			return len(s.revisions("app")) <= 4
		})
	})

	t.Run("rollback", func(t *testing.T) {
		s := s.in(t)
		one := s.deploy("back", version(1))
		two := s.deploy("back", version(2))
		begin := time.Now()
		again := s.deploy("back", version(1))
		t.Logf("rolled back in %s", time.Since(begin))
		if got := s.must("back", "/"); got != "v1" {
			t.Errorf("after rolling back: %s", got)
		}
		revs := s.revisions("back")
		art := func(name string) string { return revs[name].Spec.Artifact }
		if a, b := art(one.Status.LatestReadyRevision), art(again.Status.LatestReadyRevision); a == "" || a != b {
			t.Errorf("the artifact of %s is %q, of the first %q", again.Status.LatestReadyRevision, b, a)
		}
		if art(two.Status.LatestReadyRevision) == art(one.Status.LatestReadyRevision) {
			t.Error("two contents have one artifact")
		}
		// What the API shows as serving is what the next call meets, every time.
		for i := range 40 {
			n := 2 - i%2
			s.deploy("back", version(n))
			if got := s.must("back", "/"); got != fmt.Sprint("v", n) {
				t.Fatalf("deployment %d: %s answers, %d is shown", i, got, n)
			}
		}
	})

	t.Run("weights", func(t *testing.T) {
		s := s.in(t)
		a := s.deploy("split", version(1)).Status.LatestReadyRevision
		b := s.deploy("split", version(2)).Status.LatestReadyRevision
		route := fmt.Sprintf("host: split.example\nprefix: /\ntargets: [{revision: %s, weight: 90}, {revision: %s, weight: 10}]\n", a, b)
		if err := s.apply("Route", "split", spec(route)); err != nil {
			t.Fatal(err)
		}
		until(s, kind("Route"), "default", "split", func(r *api.Route) bool { return r.Status.Conditions.Ready() })
		seen := map[string]int{}
		web := s.web()
		for range 200 {
			a := s.do(web, "GET", "split.example|", "/", "")
			seen[a.body]++
		}
		if seen["v1"] != 180 || seen["v2"] != 20 {
			t.Errorf("200 calls by 90:10 went %v", seen)
		}
	})

	t.Run("conflict", func(t *testing.T) {
		s := s.in(t)
		s.deploy("left", version(1))
		for _, n := range []string{"first", "second"} {
			if err := s.apply("Route", n, spec("host: same.example\npath: /x\ntargets: [{function: left}]\n")); err != nil {
				t.Fatal(err)
			}
			if n == "first" {
				until(s, kind("Route"), "default", n, func(r *api.Route) bool { return r.Status.Conditions.Ready() })
			}
		}
		r := until(s, kind("Route"), "default", "second", func(r *api.Route) bool {
			c, _ := r.Status.Conditions.Get(api.ConditionAdmitted)
			return c.Status == api.False
		})
		c, _ := r.Status.Conditions.Get(api.ConditionAdmitted)
		if !strings.Contains(c.Message, "first") {
			t.Errorf("the route that lost: %+v", c)
		}
		if first, err := client.As[api.Route](s.c.Get(t.Context(), kind("Route"), "first")); err != nil || !first.Status.Conditions.Ready() {
			t.Errorf("the route that won: %+v %v", first, err)
		}
		if got := s.do(s.web(), "GET", "same.example|", "/x", ""); got.body != "v1" {
			t.Errorf("the route answers %s", got)
		}
	})
}

// revisions are a function's, by name.
func (s *server) revisions(function string) map[string]*api.Revision {
	l, err := s.c.List(s.t.Context(), kind("Revision"), client.ListOptions{Labels: api.LabelFunction + "=" + function})
	if err != nil {
		s.t.Fatal(err)
	}
	all := map[string]*api.Revision{}
	for _, o := range l.Items {
		if all[o.Meta.Name], err = client.As[api.Revision](o, nil); err != nil {
			s.t.Fatal(err)
		}
	}
	return all
}

func TestHotReload(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "hello.js")
	write := func(code string) {
		if err := os.WriteFile(file, []byte(code), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("export default () => 'one'")
	s := up(t, file)
	serves := func(want string) {
		t.Helper()
		eventually(t, patience, "hello answers "+want, func() bool { return s.get("hello", "/").body == want })
	}
	serves("one")
	l := s.load("hello", 1, nil)
	begin := time.Now()
	write("export default () => 'two'")
	serves("two")
	t.Logf("save to serving in %s", time.Since(begin))
	write("export default () => ,")
	eventually(t, patience, "the terminal shows why", func() bool { return strings.Contains(s.err.String(), "hello: build failed: hello.js:1:") })
	serves("two")
	write("export default () => 'three'")
	serves("three")
	l.stop(t)
}
