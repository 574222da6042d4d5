package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// maxDepth bounds how deep a text may nest.
const maxDepth = 200

// node is a JSON value with the line it stands on.
type node struct {
	kind    byte // '{' '[' 's'tring 'n'umber 'b'ool '0' null
	line    int
	text    string // of a string, number or bool
	members []member
	items   []node
}

type member struct {
	key   string
	line  int
	value node
}

// words names what the value is, for errors.
func (n node) words() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 's':
		if len(n.text) > 40 {
			return "a text"
		}
		return fmt.Sprintf("%q", n.text)
	case '0':
		return "null"
	}
	return n.text
}

// raw is the scalar as JSON text.
func (n node) raw() []byte {
	if n.kind != 's' {
		return []byte(n.text)
	}
	b, err := json.Marshal(n.text)
	if err != nil {
		return []byte(`""`)
	}
	return b
}

// parser reads JSON and keeps count of lines.
type parser struct {
	dec  *json.Decoder
	data []byte
	pos  int
	line int
}

// parseJSON reads one JSON value that is all of data.
func parseJSON(data []byte) (node, *FieldError) {
	p := &parser{dec: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1}
	p.dec.UseNumber()
	n, err := p.value(0)
	if err == nil {
		if _, err = p.dec.Token(); err == io.EOF {
			return n, nil
		}
		err = errors.New("there is text after the end of the object")
	}
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		p.advance(int(syntax.Offset))
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		p.advance(len(data))
		err = errors.New("the text ends too early")
	}
	return node{}, &FieldError{Message: "is not valid JSON: " + err.Error(), Line: p.line}
}

// advance counts the lines up to offset to.
func (p *parser) advance(to int) {
	to = min(to, len(p.data))
	if to > p.pos {
		p.line += bytes.Count(p.data[p.pos:to], []byte{'\n'})
		p.pos = to
	}
}

func (p *parser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if err == nil {
		p.advance(int(p.dec.InputOffset()))
	}
	return t, err
}

func (p *parser) value(depth int) (node, error) {
	t, err := p.token()
	if err != nil {
		return node{}, err
	}
	n := node{line: p.line}
	if depth > maxDepth {
		return n, fmt.Errorf("nests more than %d levels", maxDepth)
	}
	switch v := t.(type) {
	case json.Delim:
		n.kind = byte(v)
		for p.dec.More() {
			var m member
			if v == '{' {
				key, err := p.token()
				if err != nil {
					return n, err
				}
				m.key, _ = key.(string)
			}
			m.line = p.line
			if m.value, err = p.value(depth + 1); err != nil {
				return n, err
			}
			if v == '{' {
				n.members = append(n.members, m)
			} else {
				n.items = append(n.items, m.value)
			}
		}
		_, err = p.token() // the closing one
		return n, err
	case string:
		n.kind, n.text = 's', v
	case json.Number:
		n.kind, n.text = 'n', v.String()
	case bool:
		n.kind, n.text = 'b', fmt.Sprint(v)
	default:
		n.kind = '0'
	}
	return n, nil
}
