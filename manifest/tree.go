package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Bounds of one text. They are far above what people write and far below what
// would hurt: an alias that multiplies itself stops here.
const (
	maxText  = 16 << 20 // bytes
	maxNodes = 100_000  // values after aliases were put in place
	maxDepth = 200
)

// mistake is one thing wrong at a position of the text.
type mistake struct {
	line, column int
	path         string
	message      string
	hint         string
}

func (m *mistake) Error() string { return m.message }

// parse cuts text into the trees of its documents. Empty documents are left
// out.
func parse(text []byte) ([]*yaml.Node, *mistake) {
	if len(text) > maxText {
		return nil, &mistake{message: fmt.Sprintf("is larger than %d MiB", maxText>>20), hint: "upload code as an archive instead of writing it into the manifest"}
	}
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) > 0 && t[0] == '{' {
		if nodes, ok := parseJSON(text); ok {
			return nodes, nil
		}
	}
	var out []*yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		n := new(yaml.Node)
		err := dec.Decode(n)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, yamlMistake(text, err)
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			n = n.Content[0]
		}
		if n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
			continue
		}
		out = append(out, n)
	}
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(?s:(.*))$`)

// yamlMistake makes a position of the parser's words. The parser gives a line;
// the column is where that line's text begins, or the tab that must not be
// there.
func yamlMistake(text []byte, err error) *mistake {
	p := yamlLine.FindStringSubmatch(err.Error())
	m := &mistake{message: "is not YAML: " + p[2]}
	m.line, _ = strconv.Atoi(p[1])
	for _, grammar := range []string{"key", "node content", "'-' indicator", "',' or ']'", "',' or '}'", "<document start>"} {
		if strings.HasPrefix(p[2], "did not find expected "+grammar) {
			m.line++ // the parser counts these from 0
		}
	}
	lines := bytes.Split(text, []byte("\n"))
	if m.line < 1 || m.line > len(lines) {
		m.line = min(max(m.line, 1), len(lines))
	}
	line := lines[m.line-1]
	if indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]; bytes.ContainsRune(indent, '\t') {
		m.column = bytes.IndexByte(indent, '\t') + 1
		m.hint = "indent with spaces, not with tabs"
	} else {
		m.column = len(indent) + 1
		m.hint = "look at the indentation, brackets and quotes there and just before"
	}
	return m
}

// parseJSON builds the same trees from JSON, whose strings YAML would partly
// refuse. It reports false for what is no JSON.
func parseJSON(text []byte) ([]*yaml.Node, bool) {
	lines := []int{0}
	for i, b := range text {
		if b == '\n' {
			lines = append(lines, i+1)
		}
	}
	at := 0 // index into lines of the last position; tokens come in order
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	position := func(n *yaml.Node) *yaml.Node {
		off := int(dec.InputOffset())
		for at+1 < len(lines) && lines[at+1] <= off {
			at++
		}
		n.Line, n.Column = at+1, off-lines[at]+1
		return n
	}
	var value func(depth int) (*yaml.Node, error)
	value = func(depth int) (*yaml.Node, error) {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		if depth > maxDepth {
			return nil, errors.New("too deep")
		}
		switch v := t.(type) {
		case json.Delim:
			n := position(&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"})
			if v == '[' {
				n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
			}
			for dec.More() {
				c, err := value(depth + 1)
				if err != nil {
					return nil, err
				}
				n.Content = append(n.Content, c)
			}
			_, err := dec.Token()
			return n, err
		case string:
			return position(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v}), nil
		case json.Number:
			tag := "!!int"
			if strings.ContainsAny(v.String(), ".eE") {
				tag = "!!float"
			}
			return position(&yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: v.String()}), nil
		case bool:
			return position(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}), nil
		}
		return position(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}), nil
	}
	var out []*yaml.Node
	for {
		n, err := value(0)
		if errors.Is(err, io.EOF) && n == nil {
			return out, len(out) > 0
		}
		if err != nil || n == nil {
			return nil, false
		}
		out = append(out, n)
	}
}
