package client

import (
	"encoding/json"

	"github.com/hearth-run/hearth/api"
)

// Object is a resource as the server sent it.
type Object struct {
	Kind api.Kind
	Meta api.Meta
	JSON json.RawMessage // complete, metadata included
}

// Into decodes the object into v, a pointer to the kind's Go type. Fields a
// newer server sends are left out.
func (o Object) Into(v any) error {
	if err := json.Unmarshal(o.JSON, v); err != nil {
		return api.Errorf(api.CodeInternal, "the server sent a %s that cannot be read: %w", o.Kind.Kind, err).
			WithHint("is the server newer than this hearth? hearth version shows both")
	}
	return nil
}

func object(k api.Kind, data []byte) (Object, error) {
	o := Object{Kind: k, JSON: data}
	var h struct {
		Metadata api.Meta `json:"metadata"`
	}
	if err := o.Into(&h); err != nil {
		return Object{}, err
	}
	o.Meta = h.Metadata
	return o, nil
}

// As decodes an object into T, such as api.Function. Use it around a call:
//
//	f, err := client.As[api.Function](c.Get(ctx, kind, "hello"))
func As[T any](o Object, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := o.Into(v); err != nil {
		return nil, err
	}
	return v, nil
}
