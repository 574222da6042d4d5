package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Position is a place in a text, both counted from 1; 0 is unknown.
type Position struct{ Line, Column int }

// converter turns one tree into JSON and notes where each path stood.
type converter struct {
	out       bytes.Buffer
	positions map[string]Position
	nodes     int
	aliases   []*yaml.Node // being expanded, to find those that hold themselves
}

// toJSON converts a tree.
func toJSON(n *yaml.Node) ([]byte, map[string]Position, *mistake) {
	c := &converter{positions: map[string]Position{}}
	if m := c.value(n, "", 0); m != nil {
		return nil, nil, m
	}
	return c.out.Bytes(), c.positions, nil
}

func wrong(n *yaml.Node, path, format string, args ...any) *mistake {
	return &mistake{line: n.Line, column: n.Column, path: path, message: fmt.Sprintf(format, args...)}
}

func (c *converter) value(n *yaml.Node, path string, depth int) *mistake {
	if _, ok := c.positions[path]; !ok {
		c.positions[path] = Position{n.Line, n.Column}
	}
	if c.nodes++; c.nodes > maxNodes {
		return wrong(n, path, "has more than %d values once its aliases are put in place", maxNodes)
	}
	if depth > maxDepth {
		return wrong(n, path, "is nested more than %d levels deep", maxDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.alias(n, func(t *yaml.Node) *mistake { return c.value(t, path, depth+1) })
	case yaml.MappingNode:
		c.out.WriteByte('{')
		if m := c.mapping(n, path, depth, map[string]*yaml.Node{}); m != nil {
			return m
		}
		c.out.WriteByte('}')
		return nil
	case yaml.SequenceNode:
		c.out.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				c.out.WriteByte(',')
			}
			if m := c.value(item, fmt.Sprintf("%s[%d]", path, i), depth+1); m != nil {
				return m
			}
		}
		c.out.WriteByte(']')
		return nil
	case yaml.ScalarNode:
		return c.scalar(n, path)
	}
	return wrong(n, path, "is not a value")
}

// alias calls f with what the alias n stands for.
func (c *converter) alias(n *yaml.Node, f func(*yaml.Node) *mistake) *mistake {
	for _, open := range c.aliases {
		if open == n.Alias {
			return wrong(n, "", "the alias *%s contains itself", n.Value)
		}
	}
	c.aliases = append(c.aliases, n.Alias)
	defer func() { c.aliases = c.aliases[:len(c.aliases)-1] }()
	return f(n.Alias)
}

// mapping writes those members of n that are not in seen: of two maps joined by
// a merge key (<<) the one that was there first wins.
func (c *converter) mapping(n *yaml.Node, path string, depth int, seen map[string]*yaml.Node) *mistake {
	own := map[string]bool{}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
			merges = append(merges, val)
			continue
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return wrong(key, path, "a key must be a word, not a list or a map")
		}
		name := key.Value
		if own[name] {
			return wrong(key, join(path, name), "is given twice; first on line %d", seen[name].Line)
		}
		own[name] = true
		if seen[name] != nil {
			continue
		}
		if len(seen) > 0 {
			c.out.WriteByte(',')
		}
		seen[name] = key
		c.string(name)
		c.out.WriteByte(':')
		p := join(path, name)
		if _, ok := c.positions[p]; !ok {
			c.positions[p] = Position{key.Line, key.Column}
		}
		if m := c.value(val, p, depth+1); m != nil {
			return m
		}
	}
	for _, val := range merges {
		if m := c.merge(val, path, depth+1, seen); m != nil {
			return m
		}
	}
	return nil
}

func (c *converter) merge(n *yaml.Node, path string, depth int, seen map[string]*yaml.Node) *mistake {
	if c.nodes++; c.nodes > maxNodes || depth > maxDepth {
		return wrong(n, path, "merges too much")
	}
	switch n.Kind {
	case yaml.AliasNode:
		return c.alias(n, func(t *yaml.Node) *mistake { return c.merge(t, path, depth+1, seen) })
	case yaml.MappingNode:
		return c.mapping(n, path, depth, seen)
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if m := c.merge(item, path, depth+1, seen); m != nil {
				return m
			}
		}
		return nil
	}
	return wrong(n, path, "<< needs a map, or a list of maps")
}

func (c *converter) scalar(n *yaml.Node, path string) *mistake {
	switch n.ShortTag() {
	case "!!null":
		c.out.WriteString("null")
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			return wrong(n, path, "%q is neither true nor false", n.Value)
		}
		c.out.WriteString(strconv.FormatBool(b))
	case "!!int":
		if json.Valid([]byte(n.Value)) {
			c.out.WriteString(n.Value)
			return nil
		}
		var i int64
		if err := n.Decode(&i); err != nil {
			return wrong(n, path, "%q is not a number", n.Value)
		}
		c.out.WriteString(strconv.FormatInt(i, 10))
	case "!!float":
		if json.Valid([]byte(n.Value)) {
			c.out.WriteString(n.Value)
			return nil
		}
		var f float64
		if err := n.Decode(&f); err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
			return wrong(n, path, "%q is not a number JSON knows", n.Value)
		}
		c.out.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
	case "!!str", "!!timestamp", "!!merge":
		c.string(n.Value)
	case "!!binary":
		c.string(strings.Join(strings.Fields(n.Value), ""))
	default:
		return wrong(n, path, "the tag %s is not known here", n.Tag)
	}
	return nil
}

func (c *converter) string(s string) {
	b, _ := json.Marshal(s) // strings always marshal
	c.out.Write(b)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
