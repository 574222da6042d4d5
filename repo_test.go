// Package hearth_test holds tests about the repository itself: the direction of
// imports, package comments, go.mod, file length, mutable state.
package hearth_test

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/hearth-run/hearth"

// rules is the layer rule: a package below folder may import of this module only
// packages below the allowed folders (and below its own). reason is printed with
// every violation.
var rules = []struct {
	folder  string
	allowed []string
	reason  string
}{
	{"api", nil, "the nouns stand alone, so that every layer and every client can share them"},
	{"core", []string{"api"}, "contracts know the nouns and nothing that implements or uses them"},
	{"manifest", []string{"api"}, "text becomes documents of nouns; who stores or sends them is not its business"},
	{"runtime", []string{"api"}, "what runs beside user code must not depend on who calls it"},
	{"sandbox", []string{"api", "core"}, "a box knows no functions and no images; every driver that starts processes uses it"},
	{"serve", []string{"api", "core", "runtime"}, "the data plane must run without the control plane and with any driver (promise 6)"},
	{"control", []string{"api", "core", "manifest"}, "the control plane meets the data plane in the store only; runtimes and drivers are plugged by node"},
	{"dialect", []string{"api", "core", "manifest"}, "a dialect is a pure translation"},
	{"source", []string{"api", "core"}, "a source knows events and streams, not who consumes them"},
	{"driver", []string{"api", "core", "runtime", "sandbox"}, "a driver serves a contract; nobody but node may know which one is used"},
	{"client", []string{"api", "core", "manifest"}, "a client speaks the API and links none of the server"},
	{"node", []string{"api", "core", "manifest", "runtime", "serve", "control", "dialect", "source", "driver", "client", "sandbox"}, "assembly is the one place that sees all parts"},
	{"cli", []string{"api", "core", "manifest", "runtime", "client", "node"}, "commands talk to the API like everyone else; only up assembles, through node"},
	{"cmd", []string{"cli", "node", "sandbox", "runtime"}, "main is ten lines; the sandbox's first stage and the static runtime's program must run before anything else"},
	{"e2e", []string{"api", "client", "node", "core"}, "a user has the binary and the API"},
	{"bench", []string{"api", "client", "cli", "node", "serve", "runtime", "core", "manifest", "driver", "sandbox"}, "measurements may look at every part"},
}

// siblings are the folders whose direct children must not import each other.
var siblings = map[string]string{
	"serve":   "parts of the data plane meet in small interfaces that node plugs",
	"control": "parts of the control plane meet in the store or in interfaces that node plugs",
	"driver":  "a driver is one technology; what two share belongs to core",
	"core":    "",
}

// coreShares lists the imports between contracts that are part of their meaning.
var coreShares = map[string]string{
	"core/record": "core/engine", // a line is what an engine emits
}

type source struct {
	path string // slash-separated, relative
	file *ast.File
	fset *token.FileSet
}

func sources(t *testing.T, mode parser.Mode) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); p != "." && (strings.HasPrefix(n, ".") || n == "testdata" || n == "node_modules" || n == "templates") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, p, nil, mode)
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(p), f, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d Go files found; the walk is broken", len(all))
	}
	return all
}

func below(pkg, folder string) bool { return pkg == folder || strings.HasPrefix(pkg, folder+"/") }

func TestLayers(t *testing.T) {
	for _, s := range sources(t, parser.ImportsOnly) {
		pkg := filepath.ToSlash(filepath.Dir(s.path))
		test := strings.HasSuffix(s.path, "_test.go")
		for _, imp := range s.file.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			first, _, _ := strings.Cut(path, "/")
			own, internal := strings.CutPrefix(path, module+"/")
			if below(pkg, "api") && !test && strings.Contains(first, ".") && !internal {
				t.Errorf("%s imports %s: api is standard library only", s.path, path)
			}
			if !internal || pkg == "." {
				continue
			}
			if test {
				continue // tests may start real peers of any layer
			}
			for _, r := range rules {
				if !below(pkg, r.folder) || below(own, r.folder) {
					continue
				}
				if !allowed(own, r.allowed) {
					t.Errorf("%s imports %s\n\t%s may import only %v: %s", s.path, own, r.folder, r.allowed, r.reason)
				}
			}
			for folder, reason := range siblings {
				if !below(pkg, folder) || !below(own, folder) {
					continue
				}
				a, b := child(pkg, folder), child(own, folder)
				if a == b || coreShares[folder+"/"+a] == folder+"/"+b {
					continue
				}
				t.Errorf("%s imports its sibling %s: %s", s.path, own, reason)
			}
		}
	}
}

func allowed(pkg string, folders []string) bool {
	for _, f := range folders {
		if below(pkg, f) {
			return true
		}
	}
	return false
}

// child is the first path element of pkg below folder.
func child(pkg, folder string) string {
	rest := strings.TrimPrefix(pkg, folder+"/")
	c, _, _ := strings.Cut(rest, "/")
	return c
}

func TestEveryPackageHasOneComment(t *testing.T) {
	type pkg struct {
		comments []string
		files    int
	}
	pkgs := map[string]*pkg{}
	for _, s := range sources(t, parser.ParseComments|parser.PackageClauseOnly) {
		if strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		dir := filepath.Dir(s.path)
		if pkgs[dir] == nil {
			pkgs[dir] = &pkg{}
		}
		pkgs[dir].files++
		if s.file.Doc != nil && strings.TrimSpace(s.file.Doc.Text()) != "" {
			pkgs[dir].comments = append(pkgs[dir].comments, s.path)
		}
	}
	for dir, p := range pkgs {
		if len(p.comments) != 1 {
			t.Errorf("package in %s has %d package comments %v; exactly one says what it is for", dir, len(p.comments), p.comments)
		}
	}
}

func TestGoMod(t *testing.T) {
	f, err := os.Open("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	first := true
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if first && line != "module "+module {
			t.Errorf("go.mod starts with %q, want module %s", line, module)
		}
		first = false
		if strings.HasPrefix(line, "replace") {
			t.Errorf("go.mod has a replace directive: %q; a build from a clean cache would differ from ours", line)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	const most = 600
	for _, s := range sources(t, parser.PackageClauseOnly) {
		b, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n"); n > most {
			t.Errorf("%s has %d lines, more than %d: split it by meaning", s.path, n, most)
		}
	}
}

// TestNoMutablePackageState allows package-level variables only where nothing
// can change them in use: compiled patterns, error values, embedded files,
// interface guards, tables that are never written to.
func TestNoMutablePackageState(t *testing.T) {
	for _, s := range sources(t, parser.ParseComments) {
		if strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		changed := assigned(s.file)
		for _, d := range s.file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function: order must be visible in the assembly", s.path)
			}
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				v := spec.(*ast.ValueSpec)
				for _, n := range v.Names {
					if n.Name == "_" || strings.Contains(comment(g, v), "go:embed") {
						continue
					}
					if len(v.Values) == 0 {
						t.Errorf("%s: package variable %s has no value, so something must write it", s.fset.Position(n.Pos()), n.Name)
					}
					if changed[n.Name] {
						t.Errorf("%s: package variable %s is assigned to in this file", s.fset.Position(n.Pos()), n.Name)
					}
				}
			}
		}
	}
}

func comment(g *ast.GenDecl, v *ast.ValueSpec) string {
	var b strings.Builder
	for _, c := range []*ast.CommentGroup{g.Doc, v.Doc} {
		if c != nil {
			for _, l := range c.List {
				b.WriteString(l.Text)
			}
		}
	}
	return b.String()
}

// assigned finds package variables of f that a function of f writes to. A name
// that the function declares itself is taken for its own.
func assigned(f *ast.File) map[string]bool {
	top := map[string]bool{}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
			for _, spec := range g.Specs {
				for _, n := range spec.(*ast.ValueSpec).Names {
					top[n.Name] = true
				}
			}
		}
	}
	found := map[string]bool{}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			own := declared(fn)
			ast.Inspect(fn, func(n ast.Node) bool {
				for _, name := range written(n) {
					if top[name] && !own[name] {
						found[name] = true
					}
				}
				return true
			})
		}
	}
	return found
}

// declared are the names fn declares: parameters, results and locals.
func declared(fn *ast.FuncDecl) map[string]bool {
	own := map[string]bool{}
	add := func(names ...ast.Expr) {
		for _, e := range names {
			if n, ok := e.(*ast.Ident); ok {
				own[n.Name] = true
			}
		}
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.Field:
			for _, name := range x.Names {
				add(name)
			}
		case *ast.ValueSpec:
			for _, name := range x.Names {
				add(name)
			}
		case *ast.AssignStmt:
			if x.Tok == token.DEFINE {
				add(x.Lhs...)
			}
		case *ast.RangeStmt:
			if x.Tok == token.DEFINE {
				add(x.Key, x.Value)
			}
		}
		return true
	})
	return own
}

// written are the names at the root of what a statement assigns to.
func written(n ast.Node) (names []string) {
	var targets []ast.Expr
	switch x := n.(type) {
	case *ast.AssignStmt:
		if x.Tok != token.DEFINE {
			targets = x.Lhs
		}
	case *ast.IncDecStmt:
		targets = []ast.Expr{x.X}
	}
	for _, e := range targets {
		for {
			if i, ok := e.(*ast.IndexExpr); ok {
				e = i.X
				continue
			}
			if s, ok := e.(*ast.SelectorExpr); ok {
				e = s.X
				continue
			}
			break
		}
		if id, ok := e.(*ast.Ident); ok {
			names = append(names, id.Name)
		}
	}
	return names
}
