package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

func TestChanges(t *testing.T) {
	before := `{"metadata":{"name":"f","resourceVersion":"1","labels":{"a":"1"}},"spec":{"timeout":"30s","env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],
		"source":{"inline":"one\ntwo\nthree"}},"status":{"url":"x"}}`
	after := `{"metadata":{"name":"f","resourceVersion":"2","generation":7},"spec":{"timeout":"1m","env":[{"name":"B","value":"2"}],"scale":{"max":3},
		"source":{"inline":"one\n2\nthree\nfour"}},"status":{"url":"y"}}`
	var b strings.Builder
	for _, c := range changes([]byte(before), []byte(after)) {
		renderChange(&b, painter{}, c)
	}
	want := `    metadata.labels.a: 1 → (none)
    spec.env[A].name: A → (none)
    spec.env[A].value: 1 → (none)
    spec.scale.max: (none) → 3
    spec.source.inline:
      - two
      + 2
      + four
    spec.timeout: 30s → 1m
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	if !sameObject([]byte(before), []byte(before)) {
		t.Error("an object differs from itself")
	}
}

func TestDiffLines(t *testing.T) {
	if got := diffLines([]string{"a", "b", "c"}, []string{"x", "y", "z"}, 4); len(got) != 5 || got[4] != "… and more" {
		t.Errorf("%q", got)
	}
}

func TestCell(t *testing.T) {
	var v any
	if err := json.Unmarshal([]byte(`{"a":{"b":"x\ny","n":3,"l":[1]},"status":{"conditions":[{"type":"Built","status":"False"},{"type":"Ready","status":"True"}]}}`), &v); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"a.b": "x", "a.n": "3", "a.l": "[1]", "a.z": "", "a.b.c": "", "status.conditions[Ready].status": "True", "status.conditions[No].status": "", "status.x[Ready]": ""} {
		if got := cell(v, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

// function makes an object with a status.
func function(t *testing.T, generation int64, s api.FunctionStatus) client.Object {
	t.Helper()
	f := api.Function{Metadata: api.Meta{Name: "f", Generation: generation}, Status: s}
	data, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return client.Object{Kind: mustKind("function"), Meta: f.Metadata, JSON: data}
}

func TestSettled(t *testing.T) {
	cond := func(kv ...string) (out api.Conditions) {
		for i := 0; i < len(kv); i += 4 {
			out = append(out, api.Condition{Type: kv[i], Status: kv[i+1], Reason: kv[i+2], Message: kv[i+3], Hint: "do it"})
		}
		return out
	}
	for _, c := range []struct {
		name  string
		s     api.FunctionStatus
		done  bool
		waits string
		code  api.Code
		text  string
	}{
		{"not seen yet", api.FunctionStatus{ObservedGeneration: 1, Conditions: cond("Ready", "True", "", "")}, false, "the server to look at f", "", ""},
		{"nothing said yet", api.FunctionStatus{ObservedGeneration: 2}, false, "f to be ready", "", ""},
		{"building", api.FunctionStatus{ObservedGeneration: 2, Conditions: cond("Built", "Unknown", "Installing", "npm install\nx", "Updated", "Unknown", "", "")}, false, "building f: npm install", "", ""},
		{"starting", api.FunctionStatus{ObservedGeneration: 2, Conditions: cond("Built", "True", "", "", "Updated", "Unknown", "", "checking")}, false, "starting f: checking", "", ""},
		{"an image", api.FunctionStatus{ObservedGeneration: 2, Conditions: cond("Built", "True", "", "", "Updated", "Unknown", "Starting", "waiting for port 8080; it listens on port 3000")}, false, "starting f: waiting for port 8080; it listens on port 3000", "", ""},
		{"serving", api.FunctionStatus{ObservedGeneration: 2, Conditions: cond("Built", "True", "", "", "Updated", "True", "", "", "Ready", "True", "", "")}, true, "", "", ""},
		{"build failed, old one serves", api.FunctionStatus{ObservedGeneration: 2, Build: &api.BuildInfo{Message: "f.js:1:2: no\n 1 │ x\n   │ ^"},
			Conditions: cond("Built", "False", "BuildFailed", "f.js:1:2: no", "Updated", "False", "BuildFailed", "", "Ready", "True", "", "")}, true, "", api.CodeBuildFailed, "f: build failed: f.js:1:2: no"},
		{"does not load", api.FunctionStatus{ObservedGeneration: 2, Conditions: cond("Built", "True", "", "", "Updated", "False", "LoadFailed", "E: x\ntraceback", "Ready", "True", "", "")}, true, "", api.CodeLoadFailed, "f: its code does not load: E: x"},
		{"no interpreter", api.FunctionStatus{ObservedGeneration: 2, Conditions: cond("Updated", "False", "RuntimeMissing", "no node here")}, true, "", api.CodeNoRuntime, "f: cannot run here: no node here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			done, waits, err := settled(function(t, 2, c.s), 2)
			if done != c.done || waits != c.waits {
				t.Errorf("done %v, waits for %q", done, waits)
			}
			if c.code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			e := api.AsError(err)
			if e.Code != c.code || e.Message != c.text || e.Hint != "do it" {
				t.Errorf("%+v", e)
			}
		})
	}
}

// shared is a buffer that a test reads while a command still writes.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// take returns what was written since the last take.
func (s *shared) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.b.Reset()
	return s.b.String()
}

// TestProgress holds when progress speaks up: not in the first 300 ms, then
// what it does, after 5 s what it waits for.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b shared
		a := &app{Streams: Streams{Err: &b}}
		p := a.progress("building f")
		for _, c := range []struct {
			after time.Duration
			want  string
		}{{250 * time.Millisecond, "^$"}, {time.Second, "^building f …\n$"}, {5 * time.Second, "^waiting: building f, since [0-9:]{8}\n$"}, {5 * time.Second, "^$"}} {
			time.Sleep(c.after)
			synctest.Wait()
			if got := b.take(); !regexp.MustCompile(c.want).MatchString(got) {
				t.Errorf("%v later: %q, want %s", c.after, got, c.want)
			}
		}
		p.done()
		p.done() // twice is no harm

		p = a.progress("quick")
		p.done()
		q := &app{Streams: Streams{Err: &b}, quiet: true}
		p = q.progress("quiet")
		time.Sleep(10 * time.Second)
		p.done()
		if got := b.take(); got != "" {
			t.Errorf("quick or --quiet: %q", got)
		}
	})
}

func TestPaint(t *testing.T) {
	on := painter{on: true}
	if got := on.bad("error:"); !strings.Contains(got, "\x1b[") || !strings.Contains(got, "error:") {
		t.Errorf("%q", got)
	}
	if got := (painter{}).bad("error:"); got != "error:" {
		t.Errorf("%q", got)
	}
	for _, c := range []struct {
		terminal bool
		vars     map[string]string
		want     bool
	}{{true, nil, true}, {false, nil, false}, {true, map[string]string{"NO_COLOR": "1"}, false}, {true, map[string]string{"TERM": "dumb"}, false}} {
		if colour(c.terminal, c.vars) != c.want {
			t.Errorf("%+v", c)
		}
	}
	for d, want := range map[time.Duration]string{0: "0.0 ms", 5 * time.Millisecond: "5 ms", 240 * time.Millisecond: "0.2 s", 18 * time.Second: "18 s", 5 * time.Minute: "5m"} {
		if got := short(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

// TestKeys presses the keys of hearth up that need no server.
func TestKeys(t *testing.T) {
	var b bytes.Buffer
	u := &up{a: &app{Streams: Streams{Err: &b}}}
	keys := make(chan byte, 2)
	keys <- '?'
	keys <- 'q'
	quit := false
	u.pressed(context.Background(), keys, func() { quit = true })
	if !quit || !strings.Contains(b.String(), "i invoke   l logs   r rebuild   ? help   q quit") {
		t.Errorf("quit %v, %q", quit, b.String())
	}
}

func TestDescribeInstances(t *testing.T) {
	for _, c := range []struct {
		list []scaled
		want string
	}{
		{nil, ""},
		{[]scaled{{Revision: "f-1", Error: "it does not start"}}, ""},
		{[]scaled{{Revision: "f-1", Instances: 2}}, "\ninstances:\n  f@1              2 for calls\n"},
		{[]scaled{{Revision: "f-1", Instances: 3, Resting: 1, Starting: 2, Busy: 1, Queued: 4}, {Revision: "f-2", Starting: 1}},
			"\ninstances:\n  f@1              2 for calls, 1 not ready now, 2 starting, 1 call in flight, 4 calls waiting\n  f@2              0 for calls, 1 starting\n"},
		{[]scaled{{Revision: "f-1", Instances: 1, Metric: "cpu", Used: 0.4312, Target: 0.5}}, "\ninstances:\n  f@1              1 for calls, each uses 0.43 processors of the 0.5 meant\n"},
		{[]scaled{{Revision: "f-1", Instances: 1, Metric: "memory", Used: 70 << 20, Target: 64 << 20}}, "\ninstances:\n  f@1              1 for calls, each uses 70 MiB of the 64 meant\n"},
	} {
		var b strings.Builder
		if describeInstances(&b, c.list); b.String() != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c.list, b.String(), c.want)
		}
	}
	if why := stuck([]scaled{{Revision: "f-1", Instances: 1, Error: "a"}, {Revision: "f-2", Error: "b\nc"}}, "f-2"); why != "b" {
		t.Errorf("stuck: %q", why)
	}
}
