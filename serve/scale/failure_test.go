package scale

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestLoadFailureIsBackedOff(t *testing.T) {
	const traceback = "no module named nowhere\n  at main, line 1"
	inBubble(t, Config{}, program(func(p *memory.Program) { p.Traceback = traceback }), func(h *house) {
		r := revision(1, 1, 0, 100)
		var calls []*call
		for range 20 {
			calls = append(calls, h.begin(r))
		}
		time.Sleep(10 * time.Millisecond)
		for _, c := range calls {
			if !c.over() {
				t.Fatal("a call waits for what cannot start")
			}
			e := api.AsError(c.err)
			if e.Code != api.CodeLoadFailed || e.Detail != traceback || e.RetryAfter <= 0 || e.RetryAfter > 100*time.Millisecond {
				t.Fatalf("%+v", e)
			}
		}
		if n := h.e.Starts(); n != 20 {
			t.Errorf("%d starts for 20 calls", n)
		}
		if d := time.Until(h.StatsOf(r).BackoffUntil); d > 100*time.Millisecond {
			t.Errorf("20 starts that failed together back off for %s, want one step", d)
		}

		// A hundred clients that never stop asking, for ten minutes.
		begin, before := time.Now(), h.e.Starts()
		for time.Since(begin) < 10*time.Minute {
			was := time.Now()
			_, err := h.Acquire(context.Background(), r)
			if !api.IsCode(err, api.CodeLoadFailed) {
				t.Fatalf("%v", err)
			}
			if d := time.Since(was); d > 5*time.Millisecond {
				t.Fatalf("a call waited %s for a known failure", d)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := h.e.Starts() - before; n < 20 || n > 40 {
			t.Errorf("%d starts in ten minutes, want one per back-off of up to 30s", n)
		}
		if st := h.StatsOf(r); st.LastError == nil || st.LastError.Code != api.CodeLoadFailed || !st.BackoffUntil.After(time.Now()) || st.Instances != 0 {
			t.Errorf("stats %+v", st)
		}
	})
}

func TestSuccessResetsBackoff(t *testing.T) {
	var fail atomic.Bool
	fail.Store(true)
	p := program(func(p *memory.Program) {
		p.Fail = func(engine.Spec) error {
			if fail.Load() {
				return errors.New("no such device")
			}
			return nil
		}
	})
	inBubble(t, Config{}, p, func(h *house) {
		r := revision(1, 1, 0, 10)
		for range 8 {
			_, err := h.Acquire(context.Background(), r)
			if !api.IsCode(err, api.CodeStartFailed) {
				t.Fatal(err)
			}
			time.Sleep(api.AsError(err).RetryAfter)
		}
		fail.Store(false)
		// While it is failing one start is tried, then as many as needed.
		var calls []*call
		for range 5 {
			calls = append(calls, h.begin(r))
		}
		if st := h.StatsOf(r); st.Starting != 1 {
			t.Errorf("%d starts are tried at once after failures", st.Starting)
		}
		time.Sleep(5 * time.Millisecond)
		synctest.Wait()
		if st := h.StatsOf(r); st.Starting != 4 || st.Busy != 1 || st.LastError != nil {
			t.Errorf("after success: %+v", st)
		}
		for _, c := range calls {
			c.end(t)
		}
	})
}

func TestSpecFailure(t *testing.T) {
	c := Config{Spec: func(context.Context, *api.Revision) (engine.Spec, error) {
		return engine.Spec{}, api.Errorf(api.CodeNotReady, "secret db does not exist").WithHint("create it")
	}}
	inBubble(t, c, program(nil), func(h *house) {
		_, err := h.Acquire(context.Background(), revision(1, 1, 0, 10))
		if e := api.AsError(err); e.Code != api.CodeNotReady || e.Hint != "create it" || e.RetryAfter == 0 {
			t.Errorf("%+v", e)
		}
	})
}

func TestLeastInstancesThatCannotStart(t *testing.T) {
	inBubble(t, Config{}, program(func(p *memory.Program) { p.StartError = errors.New("no such device") }), func(h *house) {
		h.Keep(revision(1, 1, 5, 10))
		time.Sleep(10 * time.Minute)
		if n := h.e.Starts(); n < 15 || n > 40 {
			t.Errorf("%d starts in ten minutes", n)
		}
	})
}

func TestCrashLoop(t *testing.T) {
	const live = 20 * time.Millisecond
	var crashing atomic.Bool
	crashing.Store(true)
	p := program(func(p *memory.Program) {
		p.Main = func(p *memory.Process) http.Handler {
			if crashing.Load() {
				time.AfterFunc(live, func() { p.Exit(1) })
			}
			return http.NotFoundHandler()
		}
	})
	inBubble(t, Config{}, p, func(h *house) {
		r := revision(1, 1, 2, 2)
		h.Keep(r)
		time.Sleep(10 * time.Minute)
		if n := h.e.Starts(); n > 60 {
			t.Errorf("%d starts of what lives for %s, in ten minutes", n, live)
		}
		for st := h.StatsOf(r); st.Instances+st.Starting > 0 || !st.BackoffUntil.After(time.Now()); st = h.StatsOf(r) { // a try under way, or due
			time.Sleep(live)
			synctest.Wait()
		}
		st := h.StatsOf(r)
		if st.LastError == nil || st.LastError.Code != api.CodeStartFailed {
			t.Fatalf("stats %+v", st)
		}
		_, err := h.Acquire(context.Background(), r)
		if !api.IsCode(err, api.CodeStartFailed) || api.AsError(err).RetryAfter <= 0 {
			t.Errorf("a call during a crash loop: %v", err)
		}
		if want := "instances of hello-1 end right after they start (the last one: exited with status 1)"; err != nil && err.Error() != want {
			t.Errorf("it says %q, want %q", err, want)
		}
		crashing.Store(false)
		time.Sleep(time.Minute)
		h.alive(2)
		if st := h.StatsOf(r); st.LastError != nil || !st.BackoffUntil.IsZero() {
			t.Errorf("stats after it lasted: %+v", st)
		}
	})
}

// An instance that is given up because calls take too long is no crash: the next
// one is started at once.
func TestAbandonedIsNoCrash(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 1)
		for i := range 10 {
			l, err := h.Acquire(context.Background(), r)
			if err != nil {
				t.Fatalf("call %d: %v", i+1, err)
			}
			l.Abandon()
			<-l.Instance.Done()
		}
		if st := h.StatsOf(r); st.LastError != nil || !st.BackoffUntil.IsZero() || h.e.Starts() != 10 {
			t.Errorf("%d starts, %+v", h.e.Starts(), st)
		}
	})
}

// A call that kills its instance each time must not start one per call.
func TestCrashOnFirstCall(t *testing.T) {
	inBubble(t, Config{}, program(nil), func(h *house) {
		r := revision(1, 1, 0, 10)
		begin := time.Now()
		for time.Since(begin) < 10*time.Minute {
			l, err := h.Acquire(context.Background(), r)
			if err == nil {
				h.e.Kill(l.Instance.ID(), engine.Exit{Code: 1, Reason: "exited with status 1"})
				l.Release(true)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := h.e.Starts(); n > 50 {
			t.Errorf("%d starts in ten minutes", n)
		}
	})
}

func TestStartsAreBoundedAndFair(t *testing.T) {
	inBubble(t, Config{Starts: 4}, program(func(p *memory.Program) { p.LoadTime = time.Second }), func(h *house) {
		greedy, modest := revision(1, 1, 0, 100), revision(2, 1, 0, 100)
		var calls []*call
		for range 20 {
			calls = append(calls, h.begin(greedy))
		}
		h.alive(2) // half of the places
		one := h.begin(modest)
		h.alive(3)
		time.Sleep(time.Second)
		if !one.over() {
			t.Error("the start of one revision waits behind twenty of another")
		}
		for range 9 {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		for _, c := range calls {
			c.end(t)
		}
		one.end(t)
		h.alive(21)
	})
}

func TestStartsNobodyNeedsAnyMore(t *testing.T) {
	inBubble(t, Config{Starts: 2}, program(func(p *memory.Program) { p.LoadTime = time.Second }), func(h *house) {
		r := revision(1, 1, 0, 100)
		var calls []*call
		for range 20 {
			calls = append(calls, h.begin(r))
		}
		for _, c := range calls[1:] {
			c.cancel()
		}
		calls[0].end(t)
		time.Sleep(time.Minute)
		h.alive(1)
		if n := h.e.Starts(); n != 1 {
			t.Errorf("%d starts for one call that stayed", n)
		}
	})
}

// Starts that wait for their turn must not keep calls from a known failure.
func TestFailureDoesNotWaitForATurn(t *testing.T) {
	p := program(func(p *memory.Program) { p.Traceback = "bad" })
	p["main.slow"] = program(func(p *memory.Program) { p.LoadTime = 20 * time.Second })["main.f"]
	inBubble(t, Config{Starts: 2}, p, func(h *house) {
		bad, slow, slower := revision(1, 1, 0, 9), revision(2, 1, 0, 9), revision(3, 1, 0, 9)
		slow.Spec.Handler, slower.Spec.Handler = "main.slow", "main.slow"
		s1 := h.begin(slow)
		calls := []*call{h.begin(bad), h.begin(bad), h.begin(bad)}
		s2 := h.begin(slower) // takes the place of bad's first start
		time.Sleep(5 * time.Millisecond)
		for _, c := range calls {
			if !c.over() || !api.IsCode(c.err, api.CodeLoadFailed) {
				t.Errorf("a call got %v", c.err)
			}
		}
		if st := h.StatsOf(bad); st.Starting != 0 {
			t.Errorf("stats %+v", st)
		}
		s1.end(t)
		s2.end(t)
	})
}
