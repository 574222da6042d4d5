package golang_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime/golang"
)

const (
	imports = "import \"net/http\"\n"
	answer  = "func Handler(w http.ResponseWriter, r *http.Request) { w.Write([]byte(\"served \" + r.URL.Path)) }\n"
)

func tree(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for n, s := range files {
		m[n] = &fstest.MapFile{Data: []byte(s)}
	}
	return m
}

// TestServe builds what Wrap makes and calls it over an inherited socket.
func TestServe(t *testing.T) {
	tests := map[string]struct {
		files   map[string]string
		handler string
	}{
		"function package": {map[string]string{
			"hello.go":      "// Package hello greets.\npackage hello // a comment\n\n" + imports + answer,
			"other.go":      "package hello\n\nvar http2, os = 1, 2 // names of packages\n",
			"hello_test.go": "package hello_test\n",
			"tool.go":       "//go:build ignore\n\npackage tool\n",
		}, ""},
		"package main without main": {map[string]string{"a.go": "package main\n" + imports + answer}, "main.Handler"},
		"variable": {map[string]string{
			"go.mod": "module example.com/x\n\ngo 1.22\n",
			"a.go":   "package x\n" + imports + "var Mux http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(\"served \" + r.URL.Path)) })\n",
		}, "Mux"},
		"with context and sub-package": {map[string]string{
			"go.mod":     "module example.com/x\n\ngo 1.22\n",
			"a.go":       "package x\nimport (\n\"context\"\n\"net/http\"\n\"example.com/x/sub\"\n)\nfunc Handler(ctx context.Context, w http.ResponseWriter, r *http.Request) { sub.Say(w, r) }\n",
			"sub/sub.go": "package sub\nimport \"net/http\"\nfunc Say(w http.ResponseWriter, r *http.Request) { w.Write([]byte(\"served \" + r.URL.Path)) }\n",
		}, ""},
		"constructor": {map[string]string{"a.go": "package x\n" + imports + "func Handler() http.Handler { return http.HandlerFunc(h) }\nfunc h(w http.ResponseWriter, r *http.Request) { w.Write([]byte(\"served \" + r.URL.Path)) }\n"}, ""},
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, tree(tt.files)); err != nil {
				t.Fatal(err)
			}
			files, err := golang.Wrap(os.DirFS(dir), tt.handler)
			if err != nil {
				t.Fatal(err)
			}
			for n, b := range files {
				if err := os.WriteFile(filepath.Join(dir, n), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			exe := filepath.Join(t.TempDir(), "handler")
			build := exec.Command("go", "build", "-o", exe, ".")
			build.Dir = dir
			build.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0", "GOPROXY=off", "XDG_CACHE_HOME="+cache)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			serve(t, exe)
		})
	}
}

func serve(t *testing.T, exe string) {
	dir, err := os.MkdirTemp("", "hearth")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	cmd := exec.Command(exe)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = append(os.Environ(), "HEARTH_LISTEN_FD=3")
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	defer cmd.Process.Kill()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	res, err := client.Get("http://fn/a")
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("%v\n%s", err, &errs)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); string(b) != "served /a" {
		t.Errorf("%q", b)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, &errs)
	}
}

func TestWrapLeavesPrograms(t *testing.T) {
	files, err := golang.Wrap(tree(map[string]string{"main.go": "package main\n" + imports + answer + "func main() {}\n", "go.mod": "module x\n"}), "")
	if err != nil || len(files) != 0 {
		t.Errorf("%v %v", files, err)
	}
	files, err = golang.Wrap(tree(map[string]string{"main.go": "package main\nfunc main() {}\n"}), "")
	if err != nil || len(files) != 1 || files["go.mod"] == nil {
		t.Errorf("%v %v", files, err)
	}
}

func TestWrapErrors(t *testing.T) {
	tests := map[string]struct {
		files   map[string]string
		handler string
		message string
	}{
		"nothing":       {map[string]string{"readme": ""}, "", "no Go file"},
		"no handler":    {map[string]string{"a.go": "package x\nfunc Greet() {}\nvar Count int\n"}, "", "no"},
		"other name":    {map[string]string{"a.go": "package x\nfunc Greet() {}\nvar Count int\n"}, "Hello", "neither a main function nor a handler Hello; it has Count, Greet"},
		"signature":     {map[string]string{"a.go": "package x\n\nfunc Handler(s string) string { return s }\n"}, "", "a.go:3: func Handler cannot be served"},
		"syntax":        {map[string]string{"a.go": "package x\nfunc {\n"}, "", "a.go:2:6: expected"},
		"two packages":  {map[string]string{"a.go": "package x\n", "b.go": "package y\n"}, "", "a.go is package x, but b.go is package y"},
		"main and name": {map[string]string{"a.go": "package main\nfunc main() {}\n"}, "Greet", "its own main function"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := golang.Wrap(tree(tt.files), tt.handler)
			if !api.IsCode(err, api.CodeBuildFailed) || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("%v, want %q", err, tt.message)
			}
		})
	}
}
