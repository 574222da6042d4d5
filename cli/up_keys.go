package cli

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/core/record"
)

func keyLine(p painter) string {
	var words []string
	for _, k := range [][2]string{{"i", "invoke"}, {"l", "logs"}, {"r", "rebuild"}, {"?", "help"}, {"q", "quit"}} {
		words = append(words, p.bold(k[0])+" "+k[1])
	}
	return strings.Join(words, "   ")
}

// keys reads single key presses until ctx ends; quit is called for q. The
// function it returns puts the terminal back. Without a terminal there are none.
func (u *up) keys(ctx context.Context, quit func()) (restore func()) {
	a := u.a
	if !a.InTerminal || !a.ErrTerminal || a.Keys == nil {
		return func() {}
	}
	restore, err := a.Keys()
	if err != nil {
		return func() {}
	}
	pressed := make(chan byte)
	go func() { // ends with the process: a read of a terminal cannot be cancelled
		var b [1]byte
		for {
			n, err := a.In.Read(b[:])
			if n == 1 {
				select {
				case pressed <- b[0]:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	go u.pressed(ctx, pressed, quit)
	return restore
}

func (u *up) pressed(ctx context.Context, keys <-chan byte, quit func()) {
	stopLogs := func() {} // while following
	following := false
	defer func() { stopLogs() }()
	var busy sync.Mutex
	for {
		var k byte
		select {
		case <-ctx.Done():
			return
		case k = <-keys:
		}
		switch k {
		case 'q', 4: // Ctrl-D
			quit()
			return
		case '?', 'h':
			u.a.say("  %s", keyLine(u.a.paint))
			u.a.say("  i calls the function deployed last, with its sample.json where there is one")
		case 'i':
			go func() {
				busy.Lock()
				defer busy.Unlock()
				u.invokeLast(ctx)
			}()
		case 'r':
			go func() {
				busy.Lock()
				defer busy.Unlock()
				u.rebuild(ctx)
			}()
		case 'l':
			if following = !following; !following {
				stopLogs()
				u.a.say("  logs off")
				continue
			}
			u.a.say("  logs on; l again stops them")
			stopLogs = u.startLogs(ctx)
		}
	}
}

func (u *up) startLogs(ctx context.Context) (stop func()) {
	ctx, stop = context.WithCancel(ctx)
	go u.follow(ctx)
	return stop
}

func (u *up) follow(ctx context.Context) {
	for l, err := range u.c.Logs(ctx, record.Query{Follow: true, Limit: 20}) {
		if err != nil {
			u.a.say("  logs: %v", err)
			return
		}
		u.a.say("  %s %s %s %s", u.a.paint.dim(l.Time.Local().Format(time.TimeOnly)), u.a.paint.any(l.Instance, revisionText(l.Revision)), u.a.paint.dim("│"), l.Text)
	}
}

// last is the function deployed last: one of up's own, else the newest.
func (u *up) last(ctx context.Context) string {
	for i := len(u.targets) - 1; i >= 0; i-- {
		if n := u.targets[i].function(); n != "" {
			return n
		}
	}
	l, err := u.c.List(ctx, mustKind("function"), client.ListOptions{})
	if err != nil {
		return ""
	}
	name, newest := "", time.Time{}
	for _, o := range l.Items {
		if t := o.Meta.CreationTimestamp; t != nil && !t.Before(newest) {
			name, newest = o.Meta.Name, t.Time
		}
	}
	return name
}

func (u *up) invokeLast(ctx context.Context) {
	name := u.last(ctx)
	if name == "" {
		u.a.say("  nothing deployed yet: hearth deploy <file>")
		return
	}
	f := invokeFlags{path: "/"}
	call, err := u.a.call(name, f)
	if err != nil {
		return
	}
	if s, err := readSample(name, "sample", call, f); err == nil {
		call = s
	}
	began := time.Now()
	res, err := u.c.Invoke(ctx, name, call)
	if err != nil {
		u.a.say("  %s %v", u.a.paint.bad("✗"), err)
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 2000))
	if err != nil {
		u.a.say("  %s %v", u.a.paint.bad("✗"), err)
		return
	}
	u.a.say("  %s %s   %s\n  %s", res.Request.Method, name, u.a.verdict(res, time.Since(began)), indent(strings.TrimSpace(string(body)), "  "))
}

// rebuildWithin bounds how long the key r waits for a build.
const rebuildWithin = 10 * time.Minute

// rebuild builds up's own deployments again, or the function deployed last, and
// tells what came of it.
func (u *up) rebuild(ctx context.Context) {
	var names []string
	for _, d := range u.targets {
		if n := d.function(); n != "" {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		if n := u.last(ctx); n != "" {
			names = []string{n}
		}
	}
	for _, n := range names {
		stamp := time.Now().UTC().Format(time.RFC3339Nano)
		patch, err := marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{api.AnnotationRebuild: stamp}}})
		if err != nil {
			return
		}
		o, err := u.c.Patch(ctx, mustKind("function"), n, patch, client.WriteOptions{})
		if err == nil {
			u.a.say("  rebuilding %s", n)
			o, err = u.a.waitReady(ctx, u.c, o, nil, rebuildWithin)
		}
		if err != nil {
			if ctx.Err() == nil {
				u.tellFailure(&deployment{path: n}, u.a.paint.dim(time.Now().Format(time.TimeOnly)), asError(ctx, err))
			}
			continue
		}
		f, err := client.As[api.Function](o, nil)
		if err == nil {
			u.a.say("  %s rebuilt, %s serving", n, revisionText(f.Status.LatestReadyRevision))
		}
	}
}
