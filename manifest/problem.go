package manifest

import (
	"fmt"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// Problem is one thing wrong in a manifest.
type Problem struct {
	File         string
	Line, Column int    // from 1; 0 unknown
	Object       string // kind/name, where known
	Path         string // spec.limits.memory; may be empty
	Message      string
	Hint         string // may be empty
}

// String is the problem in one line: file:line:column: path: message.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	b.WriteString(": ")
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

func (m *mistake) problem(file string) Problem {
	return Problem{File: file, Line: m.line, Column: m.column, Path: m.path, Message: m.message, Hint: m.hint}
}

// Fail makes the error for a list of problems, or nil for none: the first
// problem is its message, all of them are its Fields and, where there is more
// than one, its Detail.
func Fail(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	first := problems[0]
	e := api.Errorf(api.CodeInvalid, "%s", first)
	if e.Hint = first.Hint; e.Hint == "" {
		e.Hint = "hearth help manifests shows how one is written"
	}
	for _, p := range problems {
		e.Fields = append(e.Fields, api.FieldError{Path: p.Path, Message: p.Message, Hint: p.Hint, Line: p.Line})
	}
	if len(problems) > 1 {
		e.Message = fmt.Sprintf("%d mistakes in the manifests", len(problems))
		e.Hint = "correct them and repeat; nothing was changed"
		var b strings.Builder
		for _, p := range problems {
			b.WriteString(p.String())
			if p.Hint != "" {
				b.WriteString(" (" + p.Hint + ")")
			}
			b.WriteByte('\n')
		}
		e.Detail = strings.TrimSuffix(b.String(), "\n")
	}
	return e
}
