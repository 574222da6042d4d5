package runtime

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hearth-run/hearth/api"
)

func lang(t *testing.T, name string) language {
	for _, l := range languages() {
		if l.name == name {
			return l
		}
	}
	t.Fatal(name)
	return language{}
}

func env(kv ...string) func(string) string {
	return func(k string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == k {
				return kv[i+1]
			}
		}
		return ""
	}
}

// fake writes an executable script and returns its folder.
func fake(t *testing.T, name, script string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// says is a program that answers as node or python would.
func says(t *testing.T, name, version string) string {
	return fake(t, name, `d=$(cd "$(dirname "$0")/.." && pwd -P); echo "{\"executable\":\"$0\",\"version\":\"`+version+`\",\"prefixes\":[\"$d\"]}"`)
}

// TestFindReal: what is found is no shim, and runs.
func TestFindReal(t *testing.T) {
	for name, arg := range map[string]string{"node": "--version", "python": "--version", "go": "version"} {
		i := Find(name)
		if i.Err != nil {
			if !api.IsCode(i.Err, api.CodeNoRuntime) {
				t.Error(i.Err)
			}
			continue
		}
		out, err := exec.Command(i.Path, arg).CombinedOutput()
		if err != nil || !strings.Contains(string(out), i.Version) {
			t.Errorf("%+v says %q, %v", i, out, err)
		}
		if real, err := filepath.EvalSymlinks(i.Path); err != nil || real != i.Path {
			t.Errorf("%s is a link to %s (%v)", i.Path, real, err)
		}
		b, err := os.ReadFile(i.Path)
		if err != nil || strings.HasPrefix(string(b[:2]), "#!") {
			t.Errorf("%s is a script (%v)", i.Path, err)
		}
		if !strings.HasPrefix(i.Path, "/usr/") && !slices.ContainsFunc(i.Prefixes, func(p string) bool { return strings.HasPrefix(i.Path, p+"/") }) {
			t.Errorf("%s is not below %v", i.Path, i.Prefixes)
		}
	}
}

func TestFindThroughShim(t *testing.T) {
	real := says(t, "python3", "3.12.1")
	shim := fake(t, "python3", `exec "`+real+`/bin/python3" "$@"`)
	i := lang(t, "python").find(context.Background(), env("PATH", shim+"/bin"), "apt-get")
	if i.Err != nil || i.Path != real+"/bin/python3" || i.Version != "3.12.1" || !slices.Equal(i.Prefixes, []string{real}) {
		t.Errorf("%+v", i)
	}
}

func TestFindPrefers(t *testing.T) {
	n20, n22, n16 := says(t, "node", "20.1.0"), says(t, "node", "22.3.0"), says(t, "node", "16.0.0")
	broken := fake(t, "node", "exit 3")
	tests := []struct {
		path []string
		want string
	}{
		{[]string{n20}, n20},
		{[]string{n20, n22}, n22},
		{[]string{n16, n20}, n20},
		{[]string{broken, n20}, n20},
		{[]string{n22, n20}, n22},
	}
	for _, tt := range tests {
		var path []string
		for _, p := range tt.path {
			path = append(path, p+"/bin")
		}
		i := lang(t, "node").find(context.Background(), env("PATH", strings.Join(path, ":")), "")
		if i.Err != nil || i.Path != tt.want+"/bin/node" {
			t.Errorf("%v: %+v", tt.path, i)
		}
	}
	i := lang(t, "node").find(context.Background(), env("PATH", n22+"/bin", "HEARTH_NODE", n20+"/bin/node"), "")
	if i.Path != n20+"/bin/node" {
		t.Errorf("HEARTH_NODE was not followed: %+v", i)
	}
}

func TestFindMissing(t *testing.T) {
	old := says(t, "python3", "3.8.18")
	tests := []struct{ name, path, tool, message, hint string }{
		{"node", "", "apt-get", "no node 18 or newer was found in PATH", "apt-get install -y nodejs npm"},
		{"python", old + "/bin", "dnf", old + "/bin/python3 is version 3.8.18", "dnf install -y python3 python3-pip"},
		{"go", "", "brew", "no go 1.22 or newer", "brew install go"},
		{"node", fake(t, "node", "exit 1") + "/bin", "", "does not work: exit status 1", "HEARTH_NODE"},
		{"node", fake(t, "node", "echo hi") + "/bin", "", `it answered "hi"`, "HEARTH_NODE"},
	}
	for _, tt := range tests {
		i := lang(t, tt.name).find(context.Background(), env("PATH", tt.path), tt.tool)
		if !api.IsCode(i.Err, api.CodeNoRuntime) || !strings.Contains(i.Err.Error(), tt.message) || !strings.Contains(api.AsError(i.Err).Help(), tt.hint) {
			t.Errorf("%v (%s), want %q (%s)", i.Err, api.AsError(i.Err).Help(), tt.message, tt.hint)
		}
	}
	if i := Find("cobol"); !api.IsCode(i.Err, api.CodeNoRuntime) {
		t.Error(i.Err)
	}
}

func TestOnce(t *testing.T) {
	var asked atomic.Int32
	missing := true
	find := Once(func(name string) Interpreter {
		asked.Add(1)
		if missing {
			return Interpreter{Err: api.Errorf(api.CodeNoRuntime, "none")}
		}
		return Interpreter{Name: name}
	})
	for range 2 {
		if find("node").Err == nil {
			t.Error("found")
		}
	}
	if asked.Load() != 2 {
		t.Error("a missing interpreter must be looked for again")
	}
	missing = false
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { find("node") })
	}
	wg.Wait()
	if asked.Load() != 3 || find("node").Name != "node" {
		t.Errorf("asked %d times", asked.Load())
	}
}
