package knative

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// fault is one thing wrong, in Knative's words.
type fault struct {
	message string
	paths   []string
	details string
	hint    string // what is allowed, with an example; ours
}

// faults collects what is wrong, and what is only doubtful.
type faults struct {
	errors   []fault
	warnings []fault
}

func (f *faults) add(message, hint string, paths ...string) {
	f.errors = append(f.errors, fault{message: message, hint: hint, paths: paths})
}

func (f *faults) warn(message string, paths ...string) {
	f.warnings = append(f.warnings, fault{message: message, paths: paths})
}

func (f *faults) missing(hint string, paths ...string) { f.add("missing field(s)", hint, paths...) }

func (f *faults) disallowed(hint string, paths ...string) {
	f.add("must not set the field(s)", hint, paths...)
}

func (f *faults) invalid(value any, path, hint string, details ...string) {
	f.add(fmt.Sprint("invalid value: ", value), hint, path)
	f.errors[len(f.errors)-1].details = strings.Join(details, ", ")
}

func (f *faults) outside(value, least, most any, path, hint string) {
	f.add(fmt.Sprintf("expected %v <= %v <= %v", least, value, most), hint, path)
}

// exactlyOne checks that one of several fields is set; got are those that are.
func (f *faults) exactlyOne(at string, got, of []string, hint string) {
	switch len(got) {
	case 0:
		f.add("expected exactly one, got neither", hint, under(at, of...)...)
	case 1:
	default:
		f.add("expected exactly one, got both", hint, under(at, got...)...)
	}
}

// under puts field names below a path.
func under(at string, fields ...string) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = join(at, f)
	}
	return out
}

func join(at, field string) string {
	if at == "" {
		return field
	}
	return at + "." + field
}

// err is the refusal as clients of Knative know it; nil when nothing is wrong.
// Equal messages are said once, with all their paths, in alphabetical order;
// what is allowed instead follows as hints.
func (f *faults) err() error {
	if len(f.errors) == 0 {
		return nil
	}
	lines := words(f.errors)
	for _, x := range f.errors {
		if h := "hint: " + x.hint; x.hint != "" && !slices.Contains(lines, h) {
			lines = append(lines, h) // after Knative's words; its clients show nothing else
		}
	}
	e := api.Errorf(api.CodeUsage, "validation failed: %s", strings.Join(lines, "\n"))
	for _, x := range f.errors {
		for _, p := range x.paths {
			msg := x.message
			if x.details != "" {
				msg += ": " + x.details
			}
			e.Fields = append(e.Fields, api.FieldError{Path: p, Message: msg, Hint: x.hint})
		}
	}
	for _, x := range f.errors {
		if x.hint != "" {
			e.Hint = x.hint
			break
		}
	}
	return e
}

// words writes faults as lines.
func words(list []fault) []string {
	var merged []fault
	for _, x := range list {
		x.paths = slices.Clone(x.paths)
		same := func(y fault) bool { return y.message == x.message && y.details == x.details }
		if i := slices.IndexFunc(merged, same); i >= 0 {
			merged[i].paths = append(merged[i].paths, x.paths...)
			continue
		}
		merged = append(merged, x)
	}
	slices.SortFunc(merged, func(a, b fault) int {
		return cmp.Or(strings.Compare(a.message, b.message), strings.Compare(a.details, b.details))
	})
	out := make([]string, len(merged))
	for i, x := range merged {
		slices.Sort(x.paths)
		out[i] = x.message + ": " + strings.Join(slices.Compact(x.paths), ", ")
		if x.details != "" {
			out[i] += "\n" + x.details
		}
	}
	return out
}
