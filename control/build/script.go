package build

import (
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// scripts transpiles and checks the JavaScript and TypeScript files below a
// folder. Each TypeScript, TSX or JSX file becomes a JavaScript file beside it,
// with a source map in it; imports of files of the source are written with the
// name of what they became, so that all of TypeScript's ways to name a file
// work. Plain JavaScript is checked and left as it is.
//
// Modules stay CommonJS unless package.json says "type": "module" or a file
// awaits at its top level or uses import.meta; then they become ES modules.
type scripts struct {
	dir    string
	module bool // package.json has "type": "module"
}

func (s *scripts) run() ([]place, error) {
	plain, typed, err := s.files()
	if err != nil {
		return nil, err
	}
	if bad := s.check(plain); len(bad) > 0 || len(typed) == 0 {
		return bad, nil
	}
	esm, ext := s.module, ".js"
	result := s.transpile(typed, esm, ext)
	if !esm && needsModule(result) {
		esm, ext = true, ".mjs"
		result = s.transpile(typed, esm, ext)
	}
	if len(result.Errors) > 0 {
		return s.places(result.Errors), nil
	}
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, f := range result.OutputFiles {
		rel, err := filepath.Rel(s.dir, f.Path)
		if err != nil {
			return nil, err
		}
		if err := root.WriteFile(rel, f.Contents, 0o644); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// files lists what is JavaScript and what must become it. Declarations, and
// what is below node_modules, are neither.
func (s *scripts) files() (plain, typed []string, err error) {
	err = filepath.WalkDir(s.dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if name == "node_modules" || name == ".hearth" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(s.dir, p)
		if err != nil {
			return err
		}
		switch {
		case strings.HasSuffix(name, ".d.ts"), strings.HasSuffix(name, ".d.mts"), strings.HasSuffix(name, ".d.cts"):
		case isTyped(name):
			typed = append(typed, filepath.ToSlash(rel))
		case path.Ext(name) == ".js", path.Ext(name) == ".mjs", path.Ext(name) == ".cjs":
			plain = append(plain, filepath.ToSlash(rel))
		}
		return nil
	})
	return plain, typed, err
}

func isTyped(name string) bool {
	switch path.Ext(name) {
	case ".ts", ".tsx", ".mts", ".cts", ".jsx":
		return true
	}
	return false
}

func (s *scripts) check(plain []string) (bad []place) {
	for _, f := range plain {
		text, err := os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(f)))
		if err != nil || len(text) > 4<<20 {
			continue // data in the shape of a script: node will say
		}
		r := api.Transform(string(text), api.TransformOptions{Loader: api.LoaderJS, Sourcefile: f, LogLevel: api.LogLevelSilent})
		bad = append(bad, s.places(r.Errors)...)
	}
	return bad
}

func (s *scripts) transpile(files []string, esm bool, ext string) api.BuildResult {
	format := api.FormatCommonJS
	if esm {
		format = api.FormatESModule
	}
	entries := make([]api.EntryPoint, len(files))
	for i, f := range files {
		entries[i] = api.EntryPoint{InputPath: "./" + f, OutputPath: strings.TrimSuffix(f, path.Ext(f))}
	}
	return api.Build(api.BuildOptions{
		EntryPointsAdvanced: entries,
		AbsWorkingDir:       s.dir,
		Outdir:              s.dir,
		OutExtension:        map[string]string{".js": ext},
		Bundle:              true, // for the plugin: everything imported stays outside
		Write:               false,
		AllowOverwrite:      true,
		Format:              format,
		Platform:            api.PlatformNode,
		Target:              api.ES2022,
		Sourcemap:           api.SourceMapInline,
		SourcesContent:      api.SourcesContentExclude,
		Charset:             api.CharsetUTF8,
		LogLevel:            api.LogLevelSilent,
		LogLimit:            maxPlaces,
		TsconfigRaw:         tsconfig(s.dir),
		Plugins:             []api.Plugin{{Name: "names", Setup: func(b api.PluginBuild) { s.rename(b, ext) }}},
	})
}

// own marks a resolution that rename asked for itself.
type own struct{}

// rename answers imports: a file of the source keeps its place under the name
// it has after transpiling, everything else is left for node.
func (s *scripts) rename(b api.PluginBuild, ext string) {
	b.OnResolve(api.OnResolveOptions{Filter: ".*"}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
		if a.Kind == api.ResolveEntryPoint {
			return api.OnResolveResult{}, nil
		}
		if _, again := a.PluginData.(own); again {
			return api.OnResolveResult{}, nil
		}
		outside := api.OnResolveResult{Path: a.Path, External: true}
		r := b.Resolve(a.Path, api.ResolveOptions{
			Importer: a.Importer, ResolveDir: a.ResolveDir, Kind: a.Kind, PluginName: "names", PluginData: own{},
		})
		if len(r.Errors) > 0 || r.External || r.Namespace != "file" {
			return outside, nil // built in, installed later, or an error node will name
		}
		rel, err := filepath.Rel(s.dir, r.Path)
		if err != nil || strings.HasPrefix(rel, "..") || strings.Contains(filepath.ToSlash(rel), "node_modules/") {
			return outside, nil
		}
		from, err := filepath.Rel(a.ResolveDir, r.Path)
		if err != nil {
			return outside, nil
		}
		to := filepath.ToSlash(from)
		if isTyped(to) {
			to = strings.TrimSuffix(to, path.Ext(to)) + ext
		}
		if !strings.HasPrefix(to, ".") {
			to = "./" + to
		}
		return api.OnResolveResult{Path: to, External: true}, nil
	})
}

// needsModule reports whether files use what CommonJS does not have.
func needsModule(r api.BuildResult) bool {
	return slices.ContainsFunc(r.Errors, func(m api.Message) bool { return strings.Contains(m.Text, "Top-level await") }) ||
		slices.ContainsFunc(r.Warnings, func(m api.Message) bool { return m.ID == "empty-import-meta" })
}

// places turns esbuild's messages into ours.
func (s *scripts) places(errs []api.Message) (out []place) {
	for _, e := range errs {
		p := place{file: "source", message: sentence(e.Text)}
		if l := e.Location; l != nil {
			p.file, p.line, p.text = filepath.ToSlash(l.File), l.Line, strings.TrimRight(l.LineText, "\r\n")
			p.col = column(p.text, l.Column)
		}
		out = append(out, p)
	}
	return out
}

// sentence brings a message of esbuild into our form: no capital, and what was
// found rather than which kind of token the parser was after.
func sentence(s string) string {
	if found, ok := strings.CutPrefix(s, "Expected identifier but found "); ok {
		return "unexpected " + found
	}
	if s == "" {
		return "cannot be parsed"
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// inlineScript is the ending inline text for node gets: .js, .mjs for an ES
// module, .ts or .tsx. Of text that is nothing of these, the reading that gets
// furthest is taken, so that its error is the one a person expects.
func inlineScript(text string) string {
	best, furthest := ".js", -1
	for _, try := range []struct {
		ext    string
		loader api.Loader
	}{{".js", api.LoaderJS}, {".ts", api.LoaderTS}, {".tsx", api.LoaderTSX}} {
		r := api.Transform(text, api.TransformOptions{Loader: try.loader, LogLevel: api.LogLevelSilent})
		if len(r.Errors) == 0 {
			if try.ext == ".js" && isModule(text) {
				return ".mjs"
			}
			return try.ext
		}
		if l := r.Errors[0].Location; l != nil && l.Line*10_000+l.Column > furthest {
			best, furthest = try.ext, l.Line*10_000+l.Column
		}
	}
	return best
}

// isModule reports whether text uses the syntax of ES modules.
func isModule(text string) bool {
	r := api.Build(api.BuildOptions{
		Stdin: &api.StdinOptions{Contents: text, Loader: api.LoaderJS, Sourcefile: "index.js"}, Bundle: true, Write: false, Metafile: true,
		Format: api.FormatESModule, Platform: api.PlatformNode, LogLevel: api.LogLevelSilent,
		Plugins: []api.Plugin{{Name: "outside", Setup: func(b api.PluginBuild) {
			b.OnResolve(api.OnResolveOptions{Filter: ".*"}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
				return api.OnResolveResult{Path: a.Path, External: true}, nil
			})
		}}},
	})
	var meta struct {
		Inputs map[string]struct {
			Format string `json:"format"`
		} `json:"inputs"`
	}
	if json.Unmarshal([]byte(r.Metafile), &meta) != nil {
		return false
	}
	for _, in := range meta.Inputs {
		return in.Format == "esm"
	}
	return false
}
