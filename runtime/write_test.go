package runtime_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/runtime"
)

// TestCompileNode: Node accepts what was compiled for it, and a loader without
// it, with a damaged one or in parts answers all the same.
func TestCompileNode(t *testing.T) {
	node := interpreter(t, "node")
	dir := unpack(t)
	at := func(name string) string { return filepath.Join(dir, "node", name) }
	answers := func(what string, env ...string) {
		t.Helper()
		b, _ := runtime.ByName("node")
		i := startCommand(t, append(append([]string{"env"}, env...), b.Command(node, dir)...))
		for _, handler := range []string{"shapes.context", "stream.echo"} {
			if f := i.control.load(t, spec(t, "node", handler, 1)); f != nil {
				t.Fatalf("%s, %s: %s: %s\n%s", what, handler, f.Stage, f.Message, f.Traceback)
			}
			if c, _ := dial(t, i.socket, "data").do(t, jsonBody()); c.status >= 500 {
				t.Errorf("%s, %s: status %d", what, handler, c.status)
			}
			i = startCommand(t, append(append([]string{"env"}, env...), b.Command(node, dir)...))
		}
	}
	answers("not compiled")
	if err := runtime.CompileNode(t.Context(), node, dir); err != nil {
		t.Fatal(err)
	}
	check := exec.Command(node.Path, "-e", `
		const fs = require('fs'), [, source, cache] = process.argv;
		const s = new (require('vm').Script)(fs.readFileSync(source, 'latin1'), { filename: source, cachedData: fs.readFileSync(cache) });
		console.log(s.cachedDataRejected);`, at("bundle.js"), at("bundle.cache"))
	if out, err := check.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "false" {
		t.Errorf("is the cache rejected? %s%v", out, err)
	}
	answers("compiled")
	answers("compiled and urgent", "HEARTH_URGENT=1")
	if err := os.WriteFile(at("bundle.cache"), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	answers("damaged")
	if err := os.Remove(at("bundle.js")); err != nil {
		t.Fatal(err)
	}
	answers("in parts")
}

// TestNodeFindsItself: the file with the handler is where Node itself would say
// it is, whichever way it was loaded, and has a parent as a module that is not
// the program.
func TestNodeFindsItself(t *testing.T) {
	real := t.TempDir()
	real, err := filepath.EvalSymlinks(real)
	if err != nil {
		t.Fatal(err)
	}
	code := "exports.handler = () => [__filename, require('./other.js'), !!module.parent, require.main === module, require.cache[__filename] === module, module.loaded].join(' ')\n"
	linked := filepath.Join(t.TempDir(), "linked")
	for _, err := range []error{
		os.WriteFile(filepath.Join(real, "index.js"), []byte(code), 0o644),
		os.WriteFile(filepath.Join(real, "other.js"), []byte("module.exports = 'other'\n"), 0o644),
		os.Symlink("index.js", filepath.Join(real, "link.js")),
		os.Symlink(real, linked),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := filepath.Join(real, "index.js") + " other true false true true"
	for _, tt := range []struct{ folder, handler string }{{real, ""}, {real, "link"}, {linked, ""}} {
		i := start(t, "node")
		if f := i.control.load(t, loadSpec{Code: tt.folder, Handler: tt.handler, Concurrency: 1}); f != nil {
			t.Fatalf("%+v: %+v", tt, f)
		}
		if _, body := dial(t, i.socket, "data").do(t, request{target: "/"}); body != want {
			t.Errorf("%+v: %q, want %q", tt, body, want)
		}
	}
}

// TestPythonEnds: what user code has registered for the end is done.
func TestPythonEnds(t *testing.T) {
	code := `import atexit, threading
done = threading.Event()
def late():
    done.wait()
    print("thread")
def last():
    print("last")
atexit.register(last)
threading.Thread(target=late).start()
def main(event):
    done.set()
    return "x"
`
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.py"), []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	i := start(t, "python")
	if f := i.control.load(t, loadSpec{Code: dir, Concurrency: 1}); f != nil {
		t.Fatalf("%+v", f)
	}
	dial(t, i.socket, "data").do(t, request{target: "/"})
	i.control.send(packet{typ: tDrain})
	for _, want := range []string{"thread", "last"} {
		if l := i.control.log(t); l.text != want {
			t.Errorf("logged %q, want %q", l.text, want)
		}
	}
	if status := i.exit(t); status != 0 {
		t.Errorf("status %d", status)
	}
}
