package server

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// operation is one step of a JSON patch (RFC 6902).
type operation struct {
	op         string
	path, from []string
	value      any
}

// Bounds of a JSON patch: steps, values copied by all its steps, and items of a
// list that is added to.
const (
	maxItems      = 100_000
	maxOperations = 10_000
	maxCopied     = 200_000
)

func parseJSONPatch(data []byte) ([]operation, error) {
	bad := func(i int, why string) error {
		return badRequest(`such as [{"op":"replace","path":"/spec/handler","value":"main.run"}]`, "JSON patch, operation %d: %s", i, why)
	}
	v, err := parse(data)
	if err != nil {
		return nil, err
	}
	l, ok := v.([]any)
	if !ok || len(l) > maxOperations {
		return nil, bad(0, "the patch must be a list of at most "+strconv.Itoa(maxOperations)+" operations")
	}
	ops := make([]operation, len(l))
	for i, e := range l {
		m, ok := e.(object)
		if !ok {
			return nil, bad(i, "is not an object")
		}
		o := operation{op: text(m, "op"), value: m["value"]}
		_, hasValue := m["value"]
		switch o.op {
		case "add", "replace", "test":
			if !hasValue {
				return nil, bad(i, "needs a value")
			}
		case "move", "copy":
			from, ok := m["from"].(string)
			if o.from, err = pointer(from); err != nil || !ok {
				return nil, bad(i, "from is no JSON pointer")
			}
		case "remove":
		default:
			return nil, bad(i, "op "+strconv.Quote(o.op)+" is none of add, remove, replace, move, copy, test")
		}
		path, ok := m["path"].(string)
		if o.path, err = pointer(path); err != nil || !ok {
			return nil, bad(i, "path is no JSON pointer")
		}
		ops[i] = o
	}
	return ops, nil
}

// pointer splits a JSON pointer (RFC 6901).
func pointer(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	if s[0] != '/' {
		return nil, strconv.ErrSyntax
	}
	segs := strings.Split(s[1:], "/")
	for i, seg := range segs {
		segs[i] = strings.ReplaceAll(strings.ReplaceAll(seg, "~1", "/"), "~0", "~")
	}
	return segs, nil
}

func applyJSONPatch(o object, ops []operation) (object, error) {
	var doc any = o
	copied := 0
	for i, op := range ops {
		at := "/" + strings.Join(op.path, "/")
		err := func() (err error) {
			switch op.op {
			case "add":
				doc, err = edit(doc, op.path, clone(op.value), "add")
			case "remove":
				doc, err = edit(doc, op.path, nil, "remove")
			case "replace":
				doc, err = edit(doc, op.path, clone(op.value), "replace")
			case "test":
				v, err := pick(doc, op.path)
				if err != nil || !reflect.DeepEqual(v, op.value) {
					return &fail{err: api.Errorf(api.CodeInvalid, "JSON patch, operation %d: the value at %s is not the tested one", i, at).
						WithHint("read the object again")}
				}
			case "move", "copy":
				v, err := pick(doc, op.from)
				if err != nil {
					return err
				}
				if op.op == "move" {
					if len(op.path) > len(op.from) && reflect.DeepEqual(op.path[:len(op.from)], op.from) {
						return errPointer("a value cannot be moved into itself")
					}
					if doc, err = edit(doc, op.from, nil, "remove"); err != nil {
						return err
					}
				} else if copied += count(v, maxCopied-copied); copied >= maxCopied {
					return errPointer("copies too much")
				}
				doc, err = edit(doc, op.path, clone(v), "add")
				return err
			}
			return err
		}()
		if e, ok := err.(errPointer); ok {
			return nil, &fail{err: api.Errorf(api.CodeInvalid, "JSON patch, operation %d (%s %s): %s", i, op.op, at, string(e)).WithHint("the paths are those of the object as it is read")}
		}
		if err != nil {
			return nil, err
		}
	}
	m, ok := doc.(object)
	if !ok {
		return nil, &fail{err: api.Errorf(api.CodeInvalid, "the patch leaves no object")}
	}
	return m, nil
}

type errPointer string

func (e errPointer) Error() string { return string(e) }

// count is the number of values in v, at most limit.
func count(v any, limit int) int {
	n := 1
	switch t := v.(type) {
	case object:
		for _, e := range t {
			if n >= limit {
				break
			}
			n += count(e, limit-n)
		}
	case []any:
		for _, e := range t {
			if n >= limit {
				break
			}
			n += count(e, limit-n)
		}
	case string:
		n += len(t) / 16
	}
	return n
}

func pick(doc any, path []string) (any, error) {
	for _, seg := range path {
		switch t := doc.(type) {
		case object:
			v, ok := t[seg]
			if !ok {
				return nil, errPointer("there is no " + strconv.Quote(seg))
			}
			doc = v
		case []any:
			i, err := index(seg, len(t)-1)
			if err != nil {
				return nil, err
			}
			doc = t[i]
		default:
			return nil, errPointer("there is nothing below " + strconv.Quote(seg))
		}
	}
	return doc, nil
}

func index(seg string, most int) (int, error) {
	i, err := strconv.Atoi(seg)
	if err != nil || i < 0 || i > most || len(seg) > 1 && seg[0] == '0' || seg[0] == '+' {
		return 0, errPointer(strconv.Quote(seg) + " is no position in the list")
	}
	return i, nil
}

// edit does one change at path and returns the changed doc.
func edit(doc any, path []string, v any, how string) (any, error) {
	if len(path) == 0 {
		return v, nil
	}
	seg := path[0]
	switch t := doc.(type) {
	case object:
		old, ok := t[seg]
		if len(path) > 1 || how != "add" {
			if !ok {
				return nil, errPointer("there is no " + strconv.Quote(seg))
			}
		}
		if len(path) == 1 && how == "remove" {
			delete(t, seg)
			return t, nil
		}
		n, err := edit(old, path[1:], v, how)
		if err != nil {
			return nil, err
		}
		t[seg] = n
		return t, nil
	case []any:
		if len(path) == 1 && how == "add" {
			i := len(t)
			if seg != "-" {
				var err error
				if i, err = index(seg, len(t)); err != nil {
					return nil, err
				}
			}
			if len(t) > maxItems {
				return nil, errPointer("the list is too long")
			}
			t = append(t, nil)
			copy(t[i+1:], t[i:])
			t[i] = v
			return t, nil
		}
		i, err := index(seg, len(t)-1)
		if err != nil {
			return nil, err
		}
		if len(path) == 1 && how == "remove" {
			return append(t[:i:i], t[i+1:]...), nil
		}
		if t[i], err = edit(t[i], path[1:], v, how); err != nil {
			return nil, err
		}
		return t, nil
	}
	return nil, errPointer("there is nothing below " + strconv.Quote(seg))
}
