package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

func TestEveryCodeHasAHint(t *testing.T) {
	seen := map[api.Code]bool{}
	for _, r := range api.Codes() {
		if seen[r.Code] {
			t.Errorf("%s has two rows", r.Code)
		}
		seen[r.Code] = true
		if r.Hint == "" || r.Reason == "" || r.Exit == 0 || r.Status < 400 || r.Status > 599 {
			t.Errorf("the row of %s is not complete: %+v", r.Code, r)
		}
	}
	if got := api.Code("no such code").Row().Code; got != api.CodeInternal {
		t.Errorf("an unknown code is %s", got)
	}
	// Every code a package can name is in the table.
	for _, c := range []api.Code{
		api.CodeInvalid, api.CodeUsage, api.CodeNotFound, api.CodeExists, api.CodeConflict, api.CodeGone, api.CodeUnauthorized, api.CodeForbidden,
		api.CodeTooLarge, api.CodeQueueFull, api.CodeQueueTimeout, api.CodeTimeout, api.CodeCanceled, api.CodeStartFailed, api.CodeLoadFailed,
		api.CodeBuildFailed, api.CodeInstanceLost, api.CodeNoRoute, api.CodeNotReady, api.CodeNoRuntime, api.CodeChecksum, api.CodeUnsafeArchive,
		api.CodeUnsupported, api.CodeHeld, api.CodePortTaken, api.CodeUnreachable, api.CodeDisk, api.CodeInternal,
	} {
		if !seen[c] {
			t.Errorf("%s has no row", c)
		}
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("disk on fire")
	e := api.Errorf(api.CodeNotFound, "no such thing: %w", cause)
	if !errors.Is(e, cause) || e.Error() != "no such thing: disk on fire" || e.Code.Row().Status != http.StatusNotFound {
		t.Errorf("got %+v", e)
	}
	if h := e.WithHint("try %s", "this"); h.Help() != "try this" || e.Hint != "" {
		t.Errorf("WithHint changed its receiver or lost the hint: %q %q", h.Help(), e.Hint)
	}
	if e.Help() == "" {
		t.Error("no hint from the table")
	}
	wrapped := fmt.Errorf("outer: %w", e)
	if api.AsError(wrapped) != e || !api.IsCode(wrapped, api.CodeNotFound) || api.IsCode(wrapped, api.CodeGone) {
		t.Error("the error is not found in its chain")
	}
	hidden := api.AsError(cause)
	if hidden.Code != api.CodeInternal || strings.Contains(hidden.Error(), "fire") || !errors.Is(hidden, cause) {
		t.Errorf("got %+v", hidden)
	}
	if api.AsError(nil) != nil {
		t.Error("nil is no error")
	}
}

func TestDuration(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration // -1: refused
		text string
	}{
		{`"90s"`, 90 * time.Second, "1m30s"}, {`"2m"`, 2 * time.Minute, "2m"}, {`"720h"`, 720 * time.Hour, "720h"}, {`30`, 30 * time.Second, "30s"},
		{`0.5`, 500 * time.Millisecond, "500ms"}, {`"0s"`, 0, "0s"}, {`"-1s"`, -1, ""}, {`-1`, -1, ""}, {`"soon"`, -1, ""}, {`true`, -1, ""}, {`1e300`, -1, ""},
	}
	for _, tt := range tests {
		var d api.Duration
		err := json.Unmarshal([]byte(tt.in), &d)
		if (err != nil) != (tt.want < 0) || err == nil && (d.Duration != tt.want || d.Text() != tt.text) {
			t.Errorf("%s: %v %q, %v", tt.in, d.Duration, d.Text(), err)
		}
	}
	var none *api.Duration
	if none.Or(time.Second) != time.Second || api.Seconds(3).Or(0) != 3*time.Second {
		t.Error("Or")
	}
}

func TestQuantity(t *testing.T) {
	tests := []struct {
		in    string
		milli int64 // -1: refused
	}{
		{`"128Mi"`, 128 << 20 * 1000}, {`"1G"`, 1e12}, {`"500m"`, 500}, {`"2"`, 2000}, {`0.5`, 500}, {`"1.5Ki"`, 1536000}, {`"0"`, 0}, {`""`, 0},
		{`"lots"`, -1}, {`"-1"`, -1}, {`"1e30"`, -1}, {`"NaN"`, -1}, {`"5X"`, -1}, {`true`, -1}, {`"Inf"`, -1},
	}
	for _, tt := range tests {
		var q api.Quantity
		err := json.Unmarshal([]byte(tt.in), &q)
		if (err != nil) != (tt.milli < 0) {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if m, _ := q.Milli(); err == nil && m != tt.milli {
			t.Errorf("%s: %d, want %d", tt.in, m, tt.milli)
		}
	}
	if got := api.Quantity("1Ki").Bytes(7); got != 1024 {
		t.Errorf("1Ki is %d bytes", got)
	}
	if got := api.Quantity("").Bytes(7); got != 7 {
		t.Errorf("the default is %d", got)
	}
}

func TestTime(t *testing.T) {
	var v api.Time
	if err := json.Unmarshal([]byte(`"2026-01-02T15:04:05.999Z"`), &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(api.NewTime(v.Time))
	if err != nil || string(b) != `"2026-01-02T15:04:05Z"` {
		t.Errorf("%s %v", b, err)
	}
	if err := json.Unmarshal([]byte(`"yesterday"`), &v); err == nil {
		t.Error("accepted yesterday")
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "hello-1": true, "0": true, strings.Repeat("a", 63): true, strings.Repeat("a", 64): false,
		"": false, "-a": false, "a-": false, "A": false, "a.b": false, "a_b": false, "a/b": false, "ü": false, "a\x00": false,
	} {
		if why := api.CheckName(name); (why == "") != ok {
			t.Errorf("%q: %q", name, why)
		}
	}
	for name, ok := range map[string]bool{"a.b": true, "a..b": false, ".a": false, strings.Repeat("a.", 130) + "a": false} {
		if why := api.CheckSubdomain(name); (why == "") != ok {
			t.Errorf("%q: %q", name, why)
		}
	}
}

func TestSafePath(t *testing.T) {
	for p, ok := range map[string]bool{
		"a.js": true, "src/a.js": true, "a/../b": true, "..": false, "../a": false, "a/../../b": false, "/a": false, "": false, ".": false, "a\\b": false, "a\x00": false,
	} {
		if api.SafePath(p) != ok {
			t.Errorf("%q: %v", p, !ok)
		}
	}
}

func TestCheckMeta(t *testing.T) {
	fn, cm := kind(t, api.Functions), kind(t, api.ConfigMaps)
	tests := []struct {
		k    api.Kind
		m    api.Meta
		want string
	}{
		{fn, api.Meta{Name: "a"}, ""},
		{fn, api.Meta{GenerateName: "a-"}, ""},
		{fn, api.Meta{}, "metadata.name"},
		{fn, api.Meta{Name: "a.b"}, "metadata.name"},
		{cm, api.Meta{Name: "a.b"}, ""},
		{fn, api.Meta{Name: "a", Namespace: "B"}, "metadata.namespace"},
		{fn, api.Meta{Name: "a", Labels: map[string]string{"app.example.com/name": "x_Y.1"}}, ""},
		{fn, api.Meta{Name: "a", Labels: map[string]string{"a b": "x"}}, "metadata.labels"},
		{fn, api.Meta{Name: "a", Labels: map[string]string{"a": "-x"}}, "metadata.labels.a"},
		{fn, api.Meta{Name: "a", Labels: map[string]string{"a": strings.Repeat("x", 64)}}, "metadata.labels.a"},
	}
	for i, tt := range tests {
		got := ""
		for _, e := range api.CheckMeta(tt.k, tt.m) {
			got += e.Path
		}
		if got != tt.want {
			t.Errorf("%d: %q, want %q", i, got, tt.want)
		}
	}
}

func TestKinds(t *testing.T) {
	seen := map[string]string{}
	for _, k := range api.Kinds() {
		for _, n := range append([]string{k.Plural, k.Singular, strings.ToLower(k.Kind)}, k.Short...) {
			if other, ok := seen[n]; ok && other != k.Kind {
				t.Errorf("%q means %s and %s", n, k.Kind, other)
			}
			seen[n] = k.Kind
			if f, ok := api.FindKind(n); !ok || f.Kind != k.Kind {
				t.Errorf("FindKind(%q) = %s", n, f.Kind)
			}
		}
		if f, ok := api.KindOf(k.APIVersion(), k.Kind); !ok || f.Resource() != k.Resource() {
			t.Errorf("KindOf(%s, %s) = %v", k.APIVersion(), k.Kind, f.Kind)
		}
		if k.Doc == "" {
			t.Errorf("%s has no sentence", k.Kind)
		}
	}
	if _, ok := api.FindKind("pods"); ok {
		t.Error("there are no pods")
	}
}

func TestConditions(t *testing.T) {
	t0 := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var cs api.Conditions
	cs = cs.Set(api.Condition{Type: api.ConditionReady, Status: api.False}, t0)
	same := cs.Set(api.Condition{Type: api.ConditionReady, Status: api.False, Reason: "New"}, t0.Add(time.Hour))
	if c, _ := same.Get(api.ConditionReady); !c.LastTransitionTime.Equal(t0) || c.Reason != "New" {
		t.Errorf("the time moved without the status: %+v", c)
	}
	up := same.Set(api.Condition{Type: api.ConditionReady, Status: api.True}, t0.Add(time.Hour))
	if c, _ := up.Get(api.ConditionReady); !c.LastTransitionTime.Equal(t0.Add(time.Hour)) || !up.Ready() || len(up) != 1 {
		t.Errorf("got %+v", up)
	}
	if cs.Ready() {
		t.Error("Set changed its receiver")
	}
}
