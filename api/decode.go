package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// maxErrors bounds how many errors one text gets.
const maxErrors = 20

// Decode reads data, a JSON object of kind k, strictly: an unknown field, a
// field given twice, a wrong type, a value out of its bounds and a missing
// field are errors that name the field and its line. It returns the object only
// when there is none. It does not call k.Validate.
func Decode(k Kind, data []byte) (any, []FieldError) {
	if errs := CheckFields(k, data); len(errs) > 0 {
		return nil, errs
	}
	obj := k.New()
	if err := json.Unmarshal(data, obj); err != nil {
		return nil, []FieldError{{Message: err.Error()}}
	}
	return obj, nil
}

// CheckFields says what is wrong with data as a JSON object of kind k: its
// syntax, names, types, bounds and missing fields.
func CheckFields(k Kind, data []byte) []FieldError { return check(k, data, false) }

// CheckPartial is CheckFields for a text that need not be complete, such as a
// merge patch or an applied configuration.
func CheckPartial(k Kind, data []byte) []FieldError { return check(k, data, true) }

func check(k Kind, data []byte, partial bool) []FieldError {
	root, err := parseJSON(data)
	if err != nil {
		return []FieldError{*err}
	}
	c := checker{partial: partial}
	if root.kind != '{' {
		c.add("", root.line, "must be an object of kind "+k.Kind+", not "+root.words(), "")
		return c.errs
	}
	for _, m := range root.members {
		want := map[string]string{"apiVersion": k.APIVersion(), "kind": k.Kind}[m.key]
		if want != "" && m.value.kind == 's' && m.value.text != want {
			c.add(m.key, m.line, fmt.Sprintf("must be %s, not %q", want, m.value.text), "")
		}
	}
	c.object("", root, reflect.TypeOf(k.New()).Elem())
	return c.errs
}

// Nearest returns the word of those that is most like the given one, or "" when
// none is near enough to be meant.
func Nearest(word string, of []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, w := range of {
		d := distance(strings.ToLower(word), strings.ToLower(w))
		if d < least {
			best, least = w, d
		}
	}
	return best
}

// distance counts the edits (insert, delete, replace, swap of neighbours)
// between a and b.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

// checker collects what is wrong.
type checker struct {
	partial bool
	errs    []FieldError
}

func (c *checker) add(path string, line int, msg, hint string) {
	if len(c.errs) < maxErrors {
		c.errs = append(c.errs, FieldError{Path: path, Message: msg, Hint: hint, Line: line})
	}
}

// broke adds an error about a rule of the schema.
func (c *checker) broke(r Rule, path string, line int, msg, hint string) {
	before := len(c.errs)
	if c.add(path, line, msg, hint); len(c.errs) > before {
		c.errs[before].Rule = r
	}
}

// outside adds an error about a value that is not allowed.
func (c *checker) outside(r Rule, path string, n node, allowed, msg, hint string) {
	before := len(c.errs)
	c.broke(r, path, n.line, msg, hint)
	if len(c.errs) > before {
		e := &c.errs[before]
		e.Value, e.Allowed = n.text, allowed
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (c *checker) twice(path string, n node) {
	seen := make(map[string]bool, len(n.members))
	for _, m := range n.members {
		if seen[m.key] {
			c.broke(RuleTwice, join(path, m.key), m.line, "is given twice", "remove one of them")
		}
		seen[m.key] = true
	}
}

func (c *checker) object(path string, n node, t reflect.Type) {
	fields := fieldsOf(t)
	c.twice(path, n)
	given := map[string]bool{}
	for _, m := range n.members {
		f, ok := findField(fields, m.key)
		if !ok {
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = f.name
			}
			hint := "the fields here are " + strings.Join(names[:min(len(names), 12)], ", ")
			if len(names) > 12 {
				hint += ", …"
			}
			if near := Nearest(m.key, names); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			c.broke(RuleUnknown, join(path, m.key), m.line, "unknown field", hint)
			continue
		}
		given[m.key] = m.value.kind != '0'
		c.value(join(path, m.key), m.value, f.typ)
		c.bounds(join(path, m.key), m.value, f)
	}
	if c.partial {
		return
	}
	for _, f := range fields {
		if f.required && !given[f.name] {
			c.broke(RuleNeeded, join(path, f.name), n.line, "is needed", f.needed())
		}
	}
}

func findField(fields []field, name string) (field, bool) {
	for _, f := range fields {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

func (c *checker) bounds(path string, n node, f field) {
	switch n.kind {
	case 's':
		enum := f.enum()
		if enum == nil || n.text == "" || slices.Contains(enum, n.text) {
			return
		}
		hint := "such as " + enum[len(enum)-1]
		if near := Nearest(n.text, enum); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		list := strings.Join(enum, ", ")
		c.outside(RuleEnum, path, n, list, fmt.Sprintf("%q is none of %s", n.text, list), hint)
	case 'n':
		v, err := strconv.ParseInt(n.text, 10, 64)
		if err != nil {
			return
		}
		if least := f.min(); least != nil && v < *least {
			c.outside(RuleBounds, path, n, f.bounds(), fmt.Sprintf("%d is less than %d", v, *least), f.within())
		}
		if most := f.max(); most != nil && v > *most {
			c.outside(RuleBounds, path, n, f.bounds(), fmt.Sprintf("%d is more than %d", v, *most), f.within())
		}
	}
}

func (c *checker) value(path string, n node, t reflect.Type) {
	t = deref(t)
	k := classOf(t)
	if n.kind == '0' {
		return // null means absent
	}
	wrong := func() { c.broke(RuleType, path, n.line, "must be "+k.words()+", not "+n.words(), k.example()) }
	switch k {
	case classAny:
		c.anything(path, n)
	case classObject:
		if n.kind != '{' {
			wrong()
			return
		}
		c.object(path, n, t)
	case classMap:
		if n.kind != '{' {
			wrong()
			return
		}
		c.twice(path, n)
		for _, m := range n.members {
			c.value(join(path, m.key), m.value, t.Elem())
		}
	case classList:
		if n.kind != '[' {
			wrong()
			return
		}
		for i, item := range n.items {
			p := fmt.Sprintf("%s[%d]", path, i)
			if item.kind == '0' {
				of := classOf(deref(t.Elem()))
				c.add(p, item.line, "must be "+of.words()+", not null", of.example())
				continue
			}
			c.value(p, item, t.Elem())
		}
	default:
		if !c.scalar(n, k, t) {
			wrong()
		}
	}
}

// scalar reports whether n is a value of class k.
func (c *checker) scalar(n node, k class, t reflect.Type) bool {
	switch k {
	case classString:
		return n.kind == 's'
	case classBool:
		return n.kind == 'b'
	case classInt:
		_, err := strconv.ParseInt(n.text, 10, t.Bits())
		return n.kind == 'n' && err == nil
	case classNumber:
		return n.kind == 'n'
	case classBytes:
		_, err := base64.StdEncoding.DecodeString(n.text)
		return n.kind == 's' && err == nil
	case classTime:
		var v Time
		return n.kind == 's' && v.UnmarshalJSON(n.raw()) == nil
	case classDuration:
		var v Duration
		return (n.kind == 's' || n.kind == 'n') && v.UnmarshalJSON(n.raw()) == nil
	case classQuantity:
		var v Quantity
		return (n.kind == 's' || n.kind == 'n') && v.UnmarshalJSON(n.raw()) == nil
	case classIntOrName:
		var v IntOrName
		return (n.kind == 's' || n.kind == 'n') && v.UnmarshalJSON(n.raw()) == nil
	}
	return true
}

func (c *checker) anything(path string, n node) {
	c.twice(path, n)
	for _, m := range n.members {
		c.anything(join(path, m.key), m.value)
	}
	for i, item := range n.items {
		c.anything(fmt.Sprintf("%s[%d]", path, i), item)
	}
}
