package sandbox

import (
	"encoding/json"
	"fmt"
)

// Plan is the list of steps that turn a process into a sandboxed one, as
// specified by PLAN.md. It is immutable once made and safe to send as JSON.
type Plan []Op

// Op is one step: a name, then strings and integers.
type Op []any

func (p *Plan) add(name string, args ...any) { *p = append(*p, append(Op{name}, args...)) }

// Name is the name of the operation; empty for a malformed one.
func (o Op) Name() string {
	if len(o) == 0 {
		return ""
	}
	s, _ := o[0].(string)
	return s
}

// str returns argument i as text; n as a number. Numbers come as float64 from
// JSON and as int from the host itself.
func (o Op) str(i int) string {
	if i+1 >= len(o) {
		return ""
	}
	s, _ := o[i+1].(string)
	return s
}

func (o Op) num(i int) int {
	if i+1 >= len(o) {
		return 0
	}
	switch v := o[i+1].(type) {
	case int:
		return v
	case float64:
		return int(v)
	}
	return 0
}

// check tells whether the arguments fit a signature of one letter each: s for
// text, n for a number; a last letter followed by "*" repeats.
func (o Op) check(sig string) error {
	args := o[1:]
	for i := 0; i < len(sig); i++ {
		if i+1 < len(sig) && sig[i+1] == '*' {
			for _, a := range args {
				if !fits(sig[i], a) {
					return fmt.Errorf("argument %v does not fit", a)
				}
			}
			return nil
		}
		if len(args) == 0 {
			return fmt.Errorf("has too few arguments")
		}
		if !fits(sig[i], args[0]) {
			return fmt.Errorf("argument %v does not fit", args[0])
		}
		args = args[1:]
	}
	if len(args) > 0 {
		return fmt.Errorf("has %d arguments too many", len(args))
	}
	return nil
}

func fits(kind byte, a any) bool {
	switch v := a.(type) {
	case string:
		return kind == 's'
	case int:
		return kind == 'n'
	case float64:
		return kind == 'n' && v == float64(int(v))
	}
	return false
}

// UnmarshalJSON accepts a list and refuses anything that is no list of lists of
// text and whole numbers, each beginning with a name.
func (p *Plan) UnmarshalJSON(b []byte) error {
	var raw [][]any
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	*p = nil
	for i, r := range raw {
		o := Op(r)
		if o.Name() == "" {
			return fmt.Errorf("step %d has no name", i)
		}
		for _, a := range o[1:] {
			if !fits('s', a) && !fits('n', a) {
				return fmt.Errorf("step %d %s: argument %v is neither text nor a whole number", i, o.Name(), a)
			}
		}
		*p = append(*p, o)
	}
	return nil
}
