package manifest

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hearth-run/hearth/api"
)

// Document is one resource as it was written.
type Document struct {
	File string // where it was read; "stdin" for standard input
	Line int    // line on which it begins
	Kind api.Kind
	// Name and Namespace are those of its metadata; Namespace may be empty.
	Name, Namespace string
	// JSON is the document, not yet decoded into the kind's Go type.
	JSON []byte

	positions map[string]Position
	base      string // path of the document within its text; set for items of a list
}

// Position returns where the field with the given path stands, or the nearest
// field around it that is written: for a missing field that is its parent.
func (d Document) Position(path string) Position {
	if d.base != "" {
		path = strings.TrimSuffix(d.base+"."+path, ".")
	}
	for {
		if p, ok := d.positions[path]; ok {
			return p
		}
		i := max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['))
		if i < 0 {
			return Position{Line: d.Line, Column: 1}
		}
		path = path[:i]
	}
}

// String is kind/name, as commands write it.
func (d Document) String() string { return d.Kind.Singular + "/" + d.Name }

// head is what every document must have.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct{ Name, Namespace, GenerateName string }
	Items      []json.RawMessage `json:"items"`
}

// documents makes the documents of one tree: one, or the items of a list.
func (s Set) documents(file string, n *yaml.Node) ([]Document, []Problem) {
	if n.Kind != yaml.MappingNode {
		return nil, []Problem{{File: file, Line: n.Line, Column: n.Column, Message: "is not a resource: it needs apiVersion, kind and metadata"}}
	}
	data, positions, m := toJSON(n)
	if m != nil {
		return nil, []Problem{m.problem(file)}
	}
	d := Document{File: file, Line: n.Line, JSON: data, positions: positions}
	var h head
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, []Problem{d.shape(data)}
	}
	if h.Kind == "List" || strings.HasSuffix(h.Kind, "List") && h.Items != nil {
		var out []Document
		var problems []Problem
		for i, item := range h.Items {
			c := d
			c.JSON, c.base = item, fmt.Sprintf("items[%d]", i)
			c.Line = d.positions[c.base].Line
			ps := c.identify(s)
			problems = append(problems, ps...)
			if len(ps) == 0 {
				out = append(out, c)
			}
		}
		return out, problems
	}
	if ps := d.identify(s); len(ps) > 0 {
		return nil, ps
	}
	return []Document{d}, nil
}

// identify finds the kind and the name, then checks the fields.
func (d *Document) identify(s Set) []Problem {
	var h head
	if err := json.Unmarshal(d.JSON, &h); err != nil {
		return []Problem{d.shape(d.JSON)}
	}
	var ok bool
	if d.Kind, ok = api.KindIn(s, h.APIVersion, h.Kind); !ok {
		return []Problem{d.unknownKind(s, h)}
	}
	d.Name, d.Namespace = h.Metadata.Name, h.Metadata.Namespace
	var out []Problem
	for _, f := range check(d.Kind, d.JSON) {
		p := d.Position(f.Path)
		out = append(out, Problem{File: d.File, Line: p.Line, Column: p.Column, Object: d.String(), Path: f.Path, Message: f.Message, Hint: f.Hint})
	}
	return out
}

// shape says which of the fields every document has is of the wrong type.
func (d Document) shape(data []byte) Problem {
	var loose map[string]any
	path, want := "", "a map"
	if json.Unmarshal(data, &loose) == nil {
		for _, f := range []string{"apiVersion", "kind"} {
			if v, ok := loose[f]; ok && path == "" {
				if _, text := v.(string); !text {
					path, want = f, "a word"
				}
			}
		}
		if meta, ok := loose["metadata"].(map[string]any); path == "" && ok {
			path, want = "metadata", "a map of words"
			for _, f := range []string{"name", "namespace", "generateName"} {
				if v, there := meta[f]; there && path == "metadata" {
					if _, text := v.(string); !text {
						path, want = "metadata."+f, "a word"
					}
				}
			}
		} else if path == "" {
			path = "metadata"
			if _, list := loose["metadata"]; !list {
				path, want = "items", "a list"
			}
		}
	}
	p := d.Position(path)
	hint := ""
	if want == "a word" {
		hint = "put it in quotes"
	}
	return Problem{File: d.File, Line: p.Line, Column: p.Column, Path: path, Message: "must be " + want, Hint: hint}
}

func (d Document) unknownKind(s Set, h head) Problem {
	at := d.Position("kind")
	p := Problem{File: d.File, Line: at.Line, Column: at.Column, Path: "kind"}
	if h.Kind == "" {
		p.Message, p.Hint = "is needed", "such as kind: Function"
		return p
	}
	var names []string
	for _, k := range s {
		names = append(names, k.Kind)
		if k.Kind == h.Kind {
			at = d.Position("apiVersion")
			p.Line, p.Column, p.Path = at.Line, at.Column, "apiVersion"
			p.Message, p.Hint = fmt.Sprintf("%q has no kind %s", h.APIVersion, h.Kind), fmt.Sprintf("write apiVersion: %s", k.APIVersion())
			if h.APIVersion == "" {
				p.Message = "is needed"
			}
			return p
		}
	}
	p.Message = fmt.Sprintf("%q is not a kind Hearth knows", h.Kind)
	if n := api.Nearest(h.Kind, names); n != "" {
		p.Hint = fmt.Sprintf("did you mean %s?", n)
	} else {
		p.Hint = "the kinds are " + strings.Join(names, ", ")
	}
	return p
}
