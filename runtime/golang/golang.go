// Package golang makes a program out of a Go function's source.
//
// A folder with package main and a main function is a program already. A
// package with an exported handler gets a main that serves it with net/http on
// the inherited socket or $PORT and drains on SIGTERM. Nothing is ever a Go
// plugin: function and server are one program. Compiling it is control/build's
// work.
package golang

import (
	"bytes"
	_ "embed"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// DefaultHandler is the name looked for when none is given.
const DefaultHandler = "Handler"

// mainFile is the name of the generated file.
const mainFile = "hearth_main.go"

//go:embed main.go.txt
var mainText string

// Wrap returns the files to add to (or replace in) the source tree src, so that
// the package in its top folder is a program. handler is the name of a function
// or variable of that package, empty for Handler; what stands before a dot is
// ignored. A program's tree needs no file but go.mod, where it has none.
//
// A handler is a func(http.ResponseWriter, *http.Request), the same with a
// context.Context in front, a func() http.Handler, or a variable that holds an
// http.Handler or one of these. Errors are *api.Error with code
// api.CodeBuildFailed.
func Wrap(src fs.FS, handler string) (map[string][]byte, error) {
	p, err := read(src)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	if _, err := fs.Stat(src, "go.mod"); err != nil {
		files["go.mod"] = []byte("module function\n\ngo 1.22\n")
	}
	name := handler[strings.LastIndexByte(handler, '.')+1:]
	if p.name == "main" && p.hasMain {
		if name != "" && name != "main" {
			return nil, api.Errorf(api.CodeBuildFailed, "handler %s is given, but the source is a program with its own main function", handler).
				WithHint("leave spec.handler empty, or remove func main")
		}
		return files, nil
	}
	if name == "" {
		name = DefaultHandler
	}
	if err := p.check(name); err != nil {
		return nil, err
	}
	if p.name != "main" {
		// One folder holds one package, so the function's becomes main.
		for _, f := range append(p.files, p.tests...) {
			files[f.name] = f.asMain()
		}
	}
	files[mainFile] = []byte(strings.ReplaceAll(mainText, "HANDLER", name))
	return files, nil
}

// source is the package in the top folder, without its tests and without files
// that other systems build.
type source struct {
	fset    *token.FileSet
	name    string
	files   []file
	tests   []file
	hasMain bool
}

type file struct {
	name   string
	text   []byte
	syntax *ast.File
	fset   *token.FileSet
}

func read(src fs.FS) (*source, error) {
	entries, err := fs.ReadDir(src, ".")
	if err != nil {
		return nil, api.Errorf(api.CodeBuildFailed, "the source cannot be read: %w", err)
	}
	b := build.Default
	b.CgoEnabled = false
	b.JoinPath = path.Join
	b.OpenFile = func(name string) (io.ReadCloser, error) { return src.Open(path.Clean(name)) }
	p := &source{fset: token.NewFileSet()}
	for _, e := range entries {
		n := e.Name()
		if e.IsDir() || !strings.HasSuffix(n, ".go") || n == mainFile {
			continue
		}
		if ok, err := b.MatchFile(".", n); err == nil && !ok {
			continue
		}
		text, err := fs.ReadFile(src, n)
		if err != nil {
			return nil, api.Errorf(api.CodeBuildFailed, "%s cannot be read: %w", n, err)
		}
		if strings.HasSuffix(n, "_test.go") {
			// Not built, but the go command looks at its package clause.
			if syntax, err := parser.ParseFile(p.fset, n, text, parser.PackageClauseOnly); err == nil {
				p.tests = append(p.tests, file{n, text, syntax, p.fset})
			}
			continue
		}
		syntax, err := parser.ParseFile(p.fset, n, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, &api.Error{Code: api.CodeBuildFailed, Message: err.Error(), Detail: err.Error(), Cause: err}
		}
		if p.name == "" {
			p.name = syntax.Name.Name
		} else if p.name != syntax.Name.Name {
			return nil, api.Errorf(api.CodeBuildFailed, "%s is package %s, but %s is package %s: one folder holds one package", p.files[0].name, p.name, n, syntax.Name.Name)
		}
		p.files = append(p.files, file{n, text, syntax, p.fset})
		for _, d := range syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "main" {
				p.hasMain = true
			}
		}
	}
	if len(p.files) == 0 {
		return nil, api.Errorf(api.CodeBuildFailed, "no Go file is in the source's top folder").
			WithHint("put package main, or a package with func Handler(http.ResponseWriter, *http.Request), there")
	}
	return p, nil
}

// asMain is the file with its package clause changed; every line stays where it
// is, so that the compiler's messages fit the source.
func (f file) asMain() []byte {
	at := f.fset.Position(f.syntax.Name.Pos()).Offset
	end := at + len(f.syntax.Name.Name)
	name := "main"
	if strings.HasSuffix(f.syntax.Name.Name, "_test") {
		name = "main_test"
	}
	return bytes.Join([][]byte{f.text[:at], []byte(name), f.text[end:]}, nil)
}

// check says what is wrong with the handler called name, as far as syntax tells.
func (p *source) check(name string) error {
	var exported []string
	for _, f := range p.files {
		for _, d := range f.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil {
					continue
				}
				if d.Name.Name == name {
					return p.checkFunc(d)
				}
				if d.Name.IsExported() {
					exported = append(exported, d.Name.Name)
				}
			case *ast.GenDecl:
				if d.Tok != token.VAR {
					continue
				}
				for _, s := range d.Specs {
					for _, n := range s.(*ast.ValueSpec).Names {
						if n.Name == name {
							return nil
						}
						if n.IsExported() {
							exported = append(exported, n.Name)
						}
					}
				}
			}
		}
	}
	slices.Sort(exported)
	there := "nothing exported"
	if len(exported) > 0 {
		there = strings.Join(exported, ", ")
	}
	return api.Errorf(api.CodeBuildFailed, "package %s has neither a main function nor a handler %s; it has %s", p.name, name, there).
		WithHint("write func %s(w http.ResponseWriter, r *http.Request), or name another in spec.handler", name)
}

func (p *source) checkFunc(d *ast.FuncDecl) error {
	in, out := d.Type.Params.NumFields(), d.Type.Results.NumFields()
	if d.Type.TypeParams == nil && (out == 0 && (in == 2 || in == 3) || in == 0 && out == 1) {
		return nil
	}
	pos := p.fset.Position(d.Pos())
	return api.Errorf(api.CodeBuildFailed, "%s:%d: func %s cannot be served", pos.Filename, pos.Line, d.Name.Name).
		WithHint("a handler is func(http.ResponseWriter, *http.Request), the same with a context.Context in front, or func() http.Handler")
}
