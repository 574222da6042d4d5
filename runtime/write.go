package runtime

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// Write puts the loaders into dir, which is made if missing: Files, and for Node
// all of its parts once more in one file, which starts sooner.
func Write(dir string) error {
	err := fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(p))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		b, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
	if err != nil {
		return err
	}
	text, err := bundle()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "node", "bundle.js"), []byte(text), 0o644)
}

// bundle is a function expression that, called with the require of start.cjs
// and its folder, returns a require that has the loader's parts.
func bundle() (string, error) {
	parts, err := fs.Glob(files, "node/*.cjs")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("(function (outer, __dirname) {\nconst files = {\n")
	for _, p := range parts {
		name := path.Base(p)
		if name == "start.cjs" || name == "import.cjs" { // these have to be files
			continue
		}
		text, err := fs.ReadFile(files, p)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%q: function (module, exports, require) {\n%s},\n", name, text)
	}
	b.WriteString(`};
const made = {};
function require(name) {
  const key = name.slice(2);
  if (!name.startsWith('./') || files[key] === undefined) return outer(name);
  if (made[key] === undefined) {
    const module = made[key] = { exports: {} };
    files[key](module, module.exports, require);
  }
  return made[key].exports;
}
require.cache = outer.cache;
require.main = outer.main;
return require;
})
`)
	return ascii(b.String()), nil
}

// ascii writes other characters as JavaScript's escapes, which are fine in
// strings and comments: V8 keeps and reads text of single bytes best.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\u{%x}`, r)
		}
	}
	return b.String()
}

// CompileNode keeps, beside the loader that Write put into dir, what the Node of
// i makes of it, so that instances of that Node need not compile it. It runs no
// user code. Another Node does without.
func CompileNode(ctx context.Context, i Interpreter, dir string) error {
	if i.Err != nil {
		return i.Err
	}
	to := filepath.Join(dir, "node", "bundle.cache")
	cmd := exec.CommandContext(ctx, i.Path, filepath.Join(dir, "node", "start.cjs"))
	cmd.Env = []string{"HEARTH_COMPILE=" + to + ".new", "PATH=/usr/local/bin:/usr/bin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the loader: %w: %s", err, out)
	}
	return os.Rename(to+".new", to)
}
