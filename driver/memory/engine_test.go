package memory_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/engine/enginetest"
	"github.com/hearth-run/hearth/driver/memory"
)

func programs() map[string]memory.Program {
	echo := func(p *memory.Process) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n := r.URL.Query().Get("env"); n != "" {
				io.WriteString(w, p.Spec().Env[n])
				return
			}
			b, _ := io.ReadAll(r.Body)
			p.Print("stdout", r.Header.Get("X-Request-Id"), "got\nit")
			w.Write(b)
		})
	}
	crash := func(p *memory.Process) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { p.Exit(3) })
	}
	oom := func(p *memory.Process) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { p.OOM() })
	}
	stuck := func(p *memory.Process) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	}
	return map[string]memory.Program{
		"main.echo":   {Main: echo},
		"main.broken": {Traceback: "no module named nowhere\n  at main, line 1"},
		"main.crash":  {Main: crash},
		"main.oom":    {Main: oom},
		"main.stuck":  {Main: stuck},
		"main.exits":  {Main: func(p *memory.Process) http.Handler { p.Exit(4); return nil }},
		"main.slow":   {Main: echo, LoadTime: 2 * time.Second},
		"main.short":  {Main: echo, LiveTime: time.Minute},
		"main.never":  {StartError: errors.New("no such device")},
		"sha256:echo": {Main: echo, PrepareTime: time.Second},
	}
}

func spec(handler string) engine.Spec {
	return engine.Spec{Tenant: "default", Function: "f", Revision: "f-1", Handler: handler, Artifact: "sha256:of-" + handler}
}

func TestEngineConformance(t *testing.T) {
	enginetest.Run(t, func(t testing.TB) (engine.Engine, enginetest.Samples) {
		e := memory.NewEngine(memory.EngineOptions{Programs: programs()})
		return e, enginetest.Samples{
			Echo: spec("main.echo"), Broken: spec("main.broken"), Missing: spec("main.nothing"),
			Crash: spec("main.crash"), Slow: spec("main.slow"), Alive: e.Alive,
		}
	})
}

func inBubble(t *testing.T, o memory.EngineOptions, f func(t *testing.T, e *memory.Engine)) {
	synctest.Test(t, func(t *testing.T) {
		o.Programs = programs()
		e := memory.NewEngine(o)
		f(t, e)
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := e.Alive(); n != 0 {
			t.Errorf("%d instances are alive after Close", n)
		}
	})
}

func mustStart(t *testing.T, e *memory.Engine, s engine.Spec) engine.Instance {
	t.Helper()
	in, err := e.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func post(t *testing.T, in engine.Instance, body string) (string, error) {
	t.Helper()
	c, err := in.Dial(t.Context())
	if err != nil {
		return "", err
	}
	defer c.Close()
	r, _ := http.NewRequest(http.MethodPost, "http://f/", strings.NewReader(body))
	r.Header.Set("X-Request-Id", "r1")
	if err := r.Write(c); err != nil {
		return "", err
	}
	a, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(a.Body)
	return string(b), err
}

func TestEngineTimes(t *testing.T) {
	inBubble(t, memory.EngineOptions{}, func(t *testing.T, e *memory.Engine) {
		took := func(want time.Duration, f func()) {
			t.Helper()
			begin := time.Now()
			f()
			if d := time.Since(begin); d != want {
				t.Errorf("took %s, want %s", d, want)
			}
		}
		s := spec("")
		s.Artifact = "sha256:echo"
		took(time.Second, func() { e.Prepare(t.Context(), s) })
		took(0, func() { e.Prepare(t.Context(), s) })
		took(0, func() { mustStart(t, e, s) })
		e.Forget(t.Context(), s.Artifact)
		if e.Prepared(s.Artifact) {
			t.Error("it is prepared after Forget")
		}
		took(time.Second, func() { mustStart(t, e, s) })
		slow := spec("main.slow")
		took(2*time.Second, func() { mustStart(t, e, slow) })
		slow.Runtime.StartTime = time.Second
		took(time.Second, func() {
			if _, err := e.Start(t.Context(), slow); !api.IsCode(err, api.CodeStartFailed) {
				t.Errorf("a start over its time: %v", err)
			}
		})
		short := mustStart(t, e, spec("main.short"))
		took(time.Minute, func() { <-short.Done() })
		if x := short.Exit(); x.Code != 1 {
			t.Errorf("exit %+v", x)
		}
	})
}

func TestEngineFailures(t *testing.T) {
	inBubble(t, memory.EngineOptions{}, func(t *testing.T, e *memory.Engine) {
		if _, err := e.Start(t.Context(), spec("main.never")); !api.IsCode(err, api.CodeStartFailed) {
			t.Errorf("Start: %v", err)
		}
		if _, err := e.Start(t.Context(), spec("main.exits")); !api.IsCode(err, api.CodeStartFailed) || e.Alive() != 0 {
			t.Errorf("Start of what ends while it loads: %v", err)
		}
		s := spec("main.oom")
		s.Limits.MemoryBytes = 128 << 20
		in := mustStart(t, e, s)
		if _, err := post(t, in, ""); err == nil {
			t.Error("a call that ran out of memory was answered")
		}
		<-in.Done()
		if x := in.Exit(); !x.OOM || x.Signal != "SIGKILL" || x.Reason != "killed: out of memory (limit 128Mi)" {
			t.Errorf("exit %+v", x)
		}
		in = mustStart(t, e, spec("main.echo"))
		if !e.Kill(in.ID(), engine.Exit{Code: 9, Reason: "exited with status 9"}) || e.Kill(in.ID(), engine.Exit{}) {
			t.Error("Kill must work once")
		}
		if x := in.Exit(); x.Code != 9 {
			t.Errorf("exit %+v", x)
		}
	})
}

func TestEngineStopWaitsForCalls(t *testing.T) {
	inBubble(t, memory.EngineOptions{Grace: 5 * time.Second}, func(t *testing.T, e *memory.Engine) {
		in := mustStart(t, e, spec("main.stuck"))
		if _, err := in.Dial(t.Context()); err != nil { // a connection without a call does not delay Stop
			t.Fatal(err)
		}
		go post(t, in, "")
		synctest.Wait()
		begin := time.Now()
		if err := in.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if d := time.Since(begin); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("Stop took %s, want the grace of 5s", d)
		}
		if x := in.Exit(); x.Signal != "SIGKILL" {
			t.Errorf("exit %+v", x)
		}
		synctest.Wait()
	})
}

func TestEngineLines(t *testing.T) {
	var lines []engine.Line
	inBubble(t, memory.EngineOptions{Sink: func(l engine.Line) { lines = append(lines, l) }}, func(t *testing.T, e *memory.Engine) {
		in := mustStart(t, e, spec("main.echo"))
		if got, err := post(t, in, "x"); got != "x" || err != nil {
			t.Fatal(got, err)
		}
		if len(lines) != 2 || lines[0].Text != "got" || lines[1].Text != "it" || lines[0].Request != "r1" ||
			lines[0].Instance != in.ID() || lines[0].Stream != "stdout" || lines[0].Revision != "f-1" {
			t.Errorf("lines %+v", lines)
		}
	})
}
