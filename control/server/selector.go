package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// requirement is one condition of a selector.
type requirement struct {
	key    string
	op     string // =, !=, in, notin, exists, absent
	values []string
}

func (q requirement) holds(v string, present bool) bool {
	switch q.op {
	case "=", "in":
		return present && slices.Contains(q.values, v)
	case "!=", "notin":
		return !present || !slices.Contains(q.values, v)
	case "exists":
		return present
	default:
		return !present
	}
}

// selector decides which objects a list or watch is about.
type selector struct {
	labels []requirement
	fields []requirement
	name   string // metadata.name=… among the fields
}

// fixed reports whether an object's membership never changes.
func (s selector) fixed() bool {
	for _, f := range s.fields {
		if f.key != "metadata.name" && f.key != "metadata.namespace" {
			return false
		}
	}
	return len(s.labels) == 0
}

func (s selector) selects(o object) bool {
	if len(s.labels) > 0 {
		labels := labelsOf(o)
		for _, q := range s.labels {
			v, ok := labels[q.key]
			if !q.holds(v, ok) {
				return false
			}
		}
	}
	for _, q := range s.fields {
		// An absent field equals the empty text, as clients expect.
		if !q.holds(cell(lookup(o, q.key)), true) {
			return false
		}
	}
	return true
}

func (s *Server) parseSelector(r *http.Request, t target) (selector, error) {
	var sel selector
	q := r.URL.Query()
	var err error
	if sel.labels, err = parseLabels(q.Get("labelSelector")); err != nil {
		return sel, badRequest("such as app=shop,tier in (web,api),!old", "labelSelector: %v", err)
	}
	if sel.fields, err = parseFields(q.Get("fieldSelector")); err != nil {
		return sel, badRequest("such as metadata.name=hello", "fieldSelector: %v", err)
	}
	for _, f := range sel.fields {
		if !s.selectable(t.kind, f.key) {
			return sel, badRequest("kubectl explain "+t.kind.Singular+" lists the fields", "fieldSelector: %s has no single value %q", t.kind.Singular, f.key)
		}
		if f.key == "metadata.name" && f.op == "=" {
			sel.name = f.values[0]
		}
	}
	if t.name != "" {
		sel.fields = append(sel.fields, requirement{key: "metadata.name", op: "=", values: []string{t.name}})
		sel.name = t.name
	}
	return sel, nil
}

// selectable reports whether path is a field of the kind with one plain value.
// Values of Secrets cannot be asked for.
func (s *Server) selectable(k api.Kind, path string) bool {
	if k.Resource() == api.Secrets && !strings.HasPrefix(path, "metadata.") && path != "type" {
		return false
	}
	if strings.HasPrefix(path, "metadata.managedFields") {
		return false
	}
	node := s.schema[k.Resource()]()
	for seg := range strings.SplitSeq(path, ".") {
		name, bracket, _ := strings.Cut(seg, "[")
		props, _ := node["properties"].(object)
		next, ok := props[name].(object)
		if !ok {
			if next, ok = node["additionalProperties"].(object); !ok {
				return false
			}
		}
		if bracket != "" {
			if next, ok = next["items"].(object); !ok {
				return false
			}
		}
		node = next
	}
	return node["properties"] == nil && node["items"] == nil && node["additionalProperties"] == nil && node["type"] != nil
}

func parseFields(s string) ([]requirement, error) {
	var out []requirement
	for _, term := range splitEscaped(s) {
		i := strings.IndexAny(term, "=!")
		if i <= 0 {
			return nil, fmt.Errorf("%q is not field=value", term)
		}
		q := requirement{key: strings.TrimSpace(term[:i]), op: "="}
		rest := term[i:]
		switch {
		case strings.HasPrefix(rest, "!="):
			q.op, rest = "!=", rest[2:]
		case strings.HasPrefix(rest, "=="):
			rest = rest[2:]
		case strings.HasPrefix(rest, "="):
			rest = rest[1:]
		default:
			return nil, fmt.Errorf("%q is not field=value", term)
		}
		q.values = []string{strings.NewReplacer(`\\`, `\`, `\,`, `,`, `\=`, `=`).Replace(rest)}
		out = append(out, q)
	}
	return out, nil
}

// splitEscaped splits at commas that no backslash stands before.
func splitEscaped(s string) []string {
	var out []string
	var cur strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			cur.WriteString(s[i : i+2])
			i++
		case s[i] == ',':
			out = append(out, cur.String())
			cur.Reset()
		default:
			cur.WriteByte(s[i])
		}
	}
	out = append(out, cur.String())
	return slices.DeleteFunc(out, func(t string) bool { return strings.TrimSpace(t) == "" })
}

func parseLabels(s string) ([]requirement, error) {
	var out []requirement
	for s = strings.TrimSpace(s); s != ""; {
		// A term ends at a comma outside parentheses.
		end, depth := len(s), 0
		for i := range len(s) {
			switch s[i] {
			case '(':
				depth++
			case ')':
				depth--
			}
			if s[i] == ',' && depth == 0 {
				end = i
				break
			}
		}
		q, err := parseLabel(strings.TrimSpace(s[:end]))
		if err != nil {
			return nil, err
		}
		out = append(out, q)
		s = strings.TrimSpace(s[min(end+1, len(s)):])
	}
	return out, nil
}

func parseLabel(term string) (requirement, error) {
	bad := fmt.Errorf("%q is not understood", term)
	if key, ok := strings.CutPrefix(term, "!"); ok {
		key = strings.TrimSpace(key)
		if !labelWord(key) {
			return requirement{}, bad
		}
		return requirement{key: key, op: "absent"}, nil
	}
	if i := strings.IndexAny(term, "=!"); i >= 0 && !strings.Contains(term, "(") {
		key, rest := strings.TrimSpace(term[:i]), term[i:]
		q := requirement{key: key, op: "="}
		switch {
		case strings.HasPrefix(rest, "!="):
			q.op, rest = "!=", rest[2:]
		case strings.HasPrefix(rest, "=="):
			rest = rest[2:]
		case strings.HasPrefix(rest, "="):
			rest = rest[1:]
		default:
			return q, bad
		}
		rest = strings.TrimSpace(rest)
		if !labelWord(key) || rest != "" && !labelWord(rest) {
			return q, bad
		}
		q.values = []string{rest}
		return q, nil
	}
	if head, list, ok := strings.Cut(term, "("); ok {
		words := strings.Fields(head)
		list, closed := strings.CutSuffix(list, ")")
		if len(words) != 2 || !closed || words[1] != "in" && words[1] != "notin" || !labelWord(words[0]) {
			return requirement{}, bad
		}
		q := requirement{key: words[0], op: words[1]}
		for v := range strings.SplitSeq(list, ",") {
			v = strings.TrimSpace(v)
			if v != "" && !labelWord(v) {
				return q, bad
			}
			q.values = append(q.values, v)
		}
		return q, nil
	}
	if !labelWord(term) {
		return requirement{}, bad
	}
	return requirement{key: term, op: "exists"}, nil
}

// labelWord reports whether s consists of what label keys and values may have.
func labelWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '/') {
			return false
		}
	}
	return s != ""
}
