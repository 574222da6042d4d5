package manifest

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// Read takes the documents out of one text, in their order. file is only used
// in messages. The error names every mistake of the text; the documents without
// one are returned beside it.
func Read(file string, text []byte) ([]Document, error) {
	docs, problems := Set(api.Kinds()).read(file, text)
	return docs, Fail(problems)
}

func (s Set) read(file string, text []byte) (docs []Document, problems []Problem) {
	nodes, m := parse(text)
	for _, n := range nodes {
		ds, ps := s.documents(file, n)
		docs, problems = append(docs, ds...), append(problems, ps...)
	}
	if m != nil {
		problems = append(problems, m.problem(file))
	}
	return docs, problems
}

// Set are the kinds of the documents that are read, native ones first.
type Set []api.Kind

// Load is Set.Load for the native kinds.
func Load(paths []string, stdin io.Reader) ([]Document, error) {
	return Set(api.Kinds()).Load(paths, stdin)
}

// Load reads manifests from files, folders (all .yaml, .yml and .json below
// them in order of their paths; hidden ones and JSON that is no resource, such
// as package.json, are left out) and, for "-", from stdin. The error names every mistake in all of them, and an object that is
// given twice.
func (s Set) Load(paths []string, stdin io.Reader) ([]Document, error) {
	var docs []Document
	var problems []Problem
	for _, p := range paths {
		files, err := expand(p)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			text, name, err := readFile(f, stdin)
			if err != nil {
				return nil, err
			}
			if f != p && filepath.Ext(f) == ".json" && !resource(text) {
				continue
			}
			ds, ps := s.read(name, text)
			docs, problems = append(docs, ds...), append(problems, ps...)
		}
	}
	type id struct{ resource, namespace, name string }
	first := map[id]Document{}
	for _, d := range docs {
		key := id{d.Kind.Resource(), d.Namespace, d.Name}
		if other, ok := first[key]; ok && d.Name != "" {
			at, old := d.Position("metadata.name"), other.Position("metadata.name")
			problems = append(problems, Problem{File: d.File, Line: at.Line, Column: at.Column, Object: d.String(),
				Message: d.String() + " is given twice; first in " + Problem{File: other.File, Line: old.Line}.place()})
			continue
		}
		first[key] = d
	}
	if err := Fail(problems); err != nil {
		return nil, err
	}
	return docs, nil
}

// resource reports whether a JSON text found in a folder may be meant as a
// resource: malformed JSON is, so that it is reported.
func resource(text []byte) bool {
	var h struct{ APIVersion, Kind any }
	return json.Unmarshal(text, &h) != nil || h.APIVersion != nil || h.Kind != nil
}

func (p Problem) place() string { return strings.TrimSuffix(p.String(), ": ") }

// expand lists the files a path stands for.
func expand(path string) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p != path && strings.HasPrefix(d.Name(), "."), d.IsDir() && d.Name() == "node_modules":
			if d.IsDir() {
				return fs.SkipDir
			}
		case !d.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(p)):
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		return nil, fileError(path, err)
	}
	if len(files) == 0 {
		return nil, api.Errorf(api.CodeNotFound, "no manifests in %s", path).WithHint("they end in .yaml, .yml or .json")
	}
	return files, nil
}

func readFile(path string, stdin io.Reader) (text []byte, name string, err error) {
	if path == "-" {
		if stdin == nil {
			stdin = strings.NewReader("")
		}
		text, err = io.ReadAll(io.LimitReader(stdin, maxText+1))
		if err != nil {
			err = api.Errorf(api.CodeInvalid, "cannot read standard input: %w", err)
		}
		return text, "stdin", err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, path, fileError(path, err)
	}
	defer f.Close()
	text, err = io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		err = fileError(path, err)
	}
	return text, path, err
}

func fileError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return api.Errorf(api.CodeNotFound, "cannot read %s: there is no such file", path).WithHint("ls shows what is here")
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return api.Errorf(api.CodeInvalid, "cannot read %s: %v", path, err).WithHint("ls -l %s shows who may read it", path)
}
