package enginetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

func prepareIsIdempotent(t *testing.T, f *fixture) {
	errs := make([]error, 4)
	each(len(errs), func(i int) { errs[i] = f.e.Prepare(f.ctx(), f.Echo) })
	for _, err := range append(errs, f.e.Prepare(f.ctx(), f.Echo)) {
		if err != nil {
			t.Fatalf("Prepare: %v", err)
		}
	}
	f.alive(0)
	f.echoes(f.start(f.Echo))
	f.alive(1)
}

func startWithoutPrepare(t *testing.T, f *fixture) {
	in := f.start(f.Echo)
	f.echoes(in)
	f.echoes(in)
	if in.ID() == "" {
		t.Error("the instance has no ID")
	}
	if p, ok := in.(engine.Probed); ok {
		if now, _ := p.Ready(); !now {
			t.Error("it is started and not ready")
		}
	}
	switch in.Protocol() {
	case api.ProtocolHearth, api.ProtocolHTTP:
	default:
		t.Errorf("Protocol is %q, want %q or %q", in.Protocol(), api.ProtocolHearth, api.ProtocolHTTP)
	}
	select {
	case <-in.Done():
		t.Errorf("it ended by itself: %+v", in.Exit())
	default:
	}
}

func specReachesTheInstance(t *testing.T, f *fixture) {
	var ins []engine.Instance
	for i := range 2 {
		s := f.Echo
		s.Env = maps.Clone(s.Env)
		if s.Env == nil {
			s.Env = map[string]string{}
		}
		s.Env["HEARTH_SAMPLE"] = fmt.Sprintf("value %d = ü", i)
		ins = append(ins, f.start(s))
	}
	for i, in := range ins {
		want := fmt.Sprintf("value %d = ü", i)
		if got, err := f.call(f.ctx(), in, "?env=HEARTH_SAMPLE", ""); err != nil || got != want {
			t.Errorf("HEARTH_SAMPLE in instance %d is %q, %v; want %q", i, got, err, want)
		}
	}
}

func loadFailure(t *testing.T, f *fixture) {
	f.failsToLoad(f.Broken)
	f.echoes(f.start(f.Echo)) // others are not affected
}

func missingHandler(t *testing.T, f *fixture) {
	err := f.failsToLoad(f.Missing)
	_, name, _ := strings.Cut(f.Missing.Handler, ".")
	if name == "" {
		name = f.Missing.Handler
	}
	if text := err.Message + err.Detail; !strings.Contains(text, name) {
		t.Errorf("the error does not name the handler %q: %s", name, text)
	}
}

func (f *fixture) failsToLoad(s engine.Spec) *api.Error {
	f.t.Helper()
	in, err := f.e.Start(f.ctx(), s)
	var e *api.Error
	if in != nil || !errors.As(err, &e) || e.Code != api.CodeLoadFailed {
		f.t.Fatalf("Start = %v, %v; want an error of code %s", in, err, api.CodeLoadFailed)
	}
	if strings.TrimSpace(e.Message) == "" || strings.Contains(strings.TrimSpace(e.Message), "\n") {
		f.t.Errorf("message %q is not one line", e.Message)
	}
	if strings.TrimSpace(e.Detail) == "" {
		f.t.Error("the error has no Detail: the language's own words are lost")
	}
	f.alive(0)
	return e
}

func canceledStart(t *testing.T, f *fixture) {
	ctx, cancel := context.WithTimeout(f.ctx(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	in, err := f.e.Start(ctx, f.Slow)
	if in != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Start = %v, %v; want ctx's error", in, err)
	}
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("Start returned %s after ctx had ended", d)
	}
	f.alive(0)
	f.echoes(f.start(f.Echo))
}

func startWithEndedContext(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx())
	cancel()
	if in, err := f.e.Start(ctx, f.Echo); in != nil || !errors.Is(err, context.Canceled) {
		t.Fatalf("Start = %v, %v; want %v", in, err, context.Canceled)
	}
	f.alive(0)
}

func manyAtOnce(t *testing.T, f *fixture) {
	ins, errs := make([]engine.Instance, 6), make([]error, 6)
	each(len(ins), func(i int) { ins[i], errs[i] = f.e.Start(f.ctx(), f.Echo) })
	seen := map[string]bool{}
	for i, in := range ins {
		if errs[i] != nil {
			t.Fatalf("Start %d: %s", i, describe(errs[i]))
		}
		if seen[in.ID()] {
			t.Errorf("two instances are called %s", in.ID())
		}
		seen[in.ID()] = true
	}
	f.alive(len(ins))
	for _, in := range ins {
		f.echoes(in)
	}
	if err := ins[0].Stop(f.ctx()); err != nil {
		t.Fatal(err)
	}
	f.gone(ins[0])
	f.alive(len(ins) - 1)
	for _, in := range ins[1:] {
		f.echoes(in)
	}
}

func manyConnections(t *testing.T, f *fixture) {
	in := f.start(f.Echo)
	got, errs := make([]string, 8), make([]error, 8)
	body := func(i int) string { return strings.Repeat(fmt.Sprint(i), 200_000) }
	each(len(got), func(i int) { got[i], errs[i] = f.call(f.ctx(), in, "", body(i)) })
	for i := range got {
		if errs[i] != nil || got[i] != body(i) {
			t.Errorf("call %d: %d bytes, %v; want its own body", i, len(got[i]), errs[i])
		}
	}
}

func dialWithEndedContext(t *testing.T, f *fixture) {
	in := f.start(f.Echo)
	ctx, cancel := context.WithCancel(f.ctx())
	cancel()
	if c, err := in.Dial(ctx); err == nil {
		c.Close() // a connection at hand may be given all the same
	}
	f.echoes(in)
}

func crash(t *testing.T, f *fixture) {
	other := f.start(f.Echo)
	in := f.start(f.Crash)
	if got, err := f.call(f.ctx(), in, "", "x"); err == nil {
		t.Errorf("the call was answered with %q", got)
	}
	x := f.gone(in)
	if x.Code == 0 && x.Signal == "" {
		t.Errorf("Exit is %+v; want the status it ended with", x)
	}
	if x.Reason == "stopped" {
		t.Errorf("Reason is %q though nobody stopped it", x.Reason)
	}
	if err := in.Stop(f.ctx()); err != nil {
		t.Errorf("Stop of an instance that has ended: %v", err)
	}
	f.alive(1)
	f.echoes(other)
}

func stopTwice(t *testing.T, f *fixture) {
	in := f.start(f.Echo)
	f.echoes(in)
	errs := make([]error, 3)
	each(len(errs), func(i int) {
		errs[i] = in.Stop(f.ctx())
		select {
		case <-in.Done():
		default:
			t.Error("Stop returned before Done was closed")
		}
	})
	for _, err := range append(errs, in.Stop(f.ctx())) {
		if err != nil {
			t.Errorf("Stop: %v", err)
		}
	}
	first := f.gone(in)
	if again := in.Exit(); again != first {
		t.Errorf("Exit changed from %+v to %+v", first, again)
	}
	f.alive(0)
}

func stopWithEndedContext(t *testing.T, f *fixture) {
	in := f.start(f.Echo)
	ctx, cancel := context.WithCancel(f.ctx())
	cancel()
	_ = in.Stop(ctx) // it may say that it had to kill
	select {
	case <-in.Done():
	default:
		t.Error("Stop returned before Done was closed")
	}
	f.gone(in)
	f.alive(0)
}

func forget(t *testing.T, f *fixture) {
	if err := f.e.Forget(f.ctx(), f.Echo.Artifact); err != nil {
		t.Errorf("Forget of what was never prepared: %v", err)
	}
	if err := f.e.Prepare(f.ctx(), f.Echo); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.e.Forget(f.ctx(), f.Echo.Artifact); err != nil {
			t.Errorf("Forget: %v", err)
		}
	}
	f.echoes(f.start(f.Echo))
}

func usage(t *testing.T, f *fixture) {
	in := f.start(f.Echo)
	m, ok := in.(engine.Measured)
	if !ok {
		return // nobody has to
	}
	first, err := m.Usage()
	if api.IsCode(err, api.CodeUnsupported) {
		t.Skip(err)
	}
	if err != nil || first.MemoryBytes <= 0 || first.Processes <= 0 {
		t.Fatalf("Usage = %+v, %v; want the use of an instance that runs", first, err)
	}
	// An idle instance has next to no processor time, so that what it does for
	// calls shows however coarse the account is.
	last := first
	for n := 0; last.CPU <= first.CPU; n++ {
		if f.ctx().Err() != nil || n == 20_000 {
			t.Fatalf("after %d calls its processor time is still %s", n, last.CPU)
		}
		f.echoes(in)
		next, err := m.Usage()
		if err != nil || next.CPU < last.CPU {
			t.Fatalf("Usage = %+v, %v; it was %+v", next, err, last)
		}
		last = next
	}
	if err := in.Stop(f.ctx()); err != nil {
		t.Fatal(err)
	}
	if u, err := m.Usage(); !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("Usage after the end = %+v, %v; want an error of code %s", u, err, api.CodeNotFound)
	}
}

func findings(t *testing.T, f *fixture) {
	for _, x := range f.e.Findings() {
		if x.Check == "" || !x.OK && x.Detail == "" {
			t.Errorf("%+v says nothing", x)
		}
		if x.OK && x.Fix != "" {
			t.Errorf("%+v is well and has a fix", x)
		}
	}
}

func closeStopsAll(t *testing.T, f *fixture) {
	ins := []engine.Instance{f.start(f.Echo), f.start(f.Echo), f.start(f.Crash)}
	f.echoes(ins[0])
	if err := f.e.Close(f.ctx()); err != nil {
		t.Fatalf("Close: %v", err)
	}
	for _, in := range ins {
		select {
		case <-in.Done():
		default:
			t.Errorf("instance %s runs after Close", in.ID())
		}
		f.gone(in)
	}
	f.alive(0)
	if in, err := f.e.Start(f.ctx(), f.Echo); err == nil {
		t.Errorf("Start after Close gave %s", in.ID())
	}
}

func closeDuringStart(t *testing.T, f *fixture) {
	type result struct {
		in  engine.Instance
		err error
	}
	got := make(chan result, 1)
	go func() {
		in, err := f.e.Start(f.ctx(), f.Slow)
		got <- result{in, err}
	}()
	f.echoes(f.start(f.Echo)) // the other start is most likely under way now
	if err := f.e.Close(f.ctx()); err != nil {
		t.Fatalf("Close: %v", err)
	}
	r := <-got
	if r.err == nil {
		f.gone(r.in)
	}
	f.alive(0)
}
