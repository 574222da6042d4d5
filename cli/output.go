package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/itchyny/gojq"
	"sigs.k8s.io/yaml"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/node"
)

// checkOutput refuses outputs there are not.
func (a *app) checkOutput() error {
	formats := []string{"json", "yaml", "name", "wide"}
	if a.output != "" && !slices.Contains(formats, a.output) {
		e := usage("there is no output %q", a.output).WithHint("one of %s", strings.Join(formats, ", "))
		if n := api.Nearest(a.output, formats); n != "" {
			e = e.WithHint("did you mean -o %s?", n)
		}
		return e
	}
	if a.jq != "" {
		if _, err := gojq.Parse(a.jq); err != nil {
			return usage("--jq is not a jq expression: %v", err).WithHint("such as --jq .metadata.name")
		}
		if a.output != "" && a.output != "json" {
			return usage("--jq makes JSON; it does not go with -o %s", a.output).WithHint("leave -o out")
		}
	}
	return nil
}

// machine reports whether the output is for programs.
func (a *app) machine() bool { return a.jq != "" || a.output == "json" || a.output == "yaml" }

// show prints JSON data in the output that was asked for: JSON, YAML or through
// jq. It is only called when machine holds.
func (a *app) show(data []byte) error {
	if a.jq != "" {
		return a.showJQ(data)
	}
	if a.output == "yaml" {
		y, err := yaml.JSONToYAML(data)
		if err != nil {
			return err
		}
		return a.data(string(y))
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		return err
	}
	return a.data(b.String() + "\n")
}

// showValue is show for a Go value.
func (a *app) showValue(v any) error {
	data, err := marshal(v)
	if err != nil {
		return err
	}
	return a.show(data)
}

// marshal is json.Marshal that leaves <, > and & readable.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

func (a *app) showJQ(data []byte) error {
	q, err := gojq.Parse(a.jq)
	if err != nil {
		return err
	}
	var in any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&in); err != nil {
		return err
	}
	iter := q.Run(in)
	for {
		v, ok := iter.Next()
		if !ok {
			return nil
		}
		if err, ok := v.(error); ok {
			var halt *gojq.HaltError
			if errors.As(err, &halt) && halt.Value() == nil {
				return nil
			}
			return usage("--jq: %v", err).WithHint("-o json shows what the expression gets")
		}
		text, isText := v.(string)
		if !isText {
			b, err := gojq.Marshal(v)
			if err != nil {
				return err
			}
			text = string(b)
		}
		if err := a.data(text + "\n"); err != nil {
			return err
		}
	}
}

// clean drops from an object what only the server uses, so that what is printed
// can be applied again.
func clean(data []byte) []byte {
	var m map[string]json.RawMessage
	var meta map[string]json.RawMessage
	if json.Unmarshal(data, &m) != nil || json.Unmarshal(m["metadata"], &meta) != nil {
		return data
	}
	delete(meta, "managedFields")
	m["metadata"], _ = marshal(meta)
	out, err := marshalOrdered(m)
	if err != nil {
		return data
	}
	return out
}

// marshalOrdered writes the members people look for first, first.
func marshalOrdered(m map[string]json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	rank := func(k string) int {
		if i := slices.Index([]string{"apiVersion", "kind", "metadata", "type", "spec", "data", "status"}, k); i >= 0 {
			return i
		}
		return 5
	}
	slices.SortFunc(keys, func(x, y string) int {
		if rank(x) != rank(y) {
			return rank(x) - rank(y)
		}
		return strings.Compare(x, y)
	})
	for i, k := range keys {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := marshal(k)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s:%s", key, m[k])
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// showObjects prints objects for programs or by name. A list of more than one
// is a List in JSON and several documents in YAML.
func (a *app) showObjects(objs []client.Object, single bool) error {
	if a.output == "name" {
		for _, o := range objs {
			if err := a.data(ref(o) + "\n"); err != nil {
				return err
			}
		}
		return nil
	}
	if single && len(objs) == 1 {
		return a.show(clean(objs[0].JSON))
	}
	if a.output == "yaml" && a.jq == "" {
		for i, o := range objs {
			if i > 0 {
				if err := a.data("---\n"); err != nil {
					return err
				}
			}
			if err := a.show(clean(o.JSON)); err != nil {
				return err
			}
		}
		return nil
	}
	items := make([]json.RawMessage, 0, len(objs))
	for _, o := range objs {
		items = append(items, clean(o.JSON))
	}
	raw, err := marshal(items)
	if err != nil {
		return err
	}
	return a.show(append(append([]byte(`{"apiVersion":"v1","kind":"List","items":`), raw...), '}'))
}

// ref is how people write an object: function/hello.
func ref(o client.Object) string {
	if k, ok := api.FindIn(node.Kinds(), o.Kind.Singular); ok && k.Resource() != o.Kind.Resource() {
		return o.Kind.Resource() + "/" + o.Meta.Name // another kind has the name
	}
	return o.Kind.Singular + "/" + o.Meta.Name
}
