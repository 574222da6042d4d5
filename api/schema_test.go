package api_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/hearth-run/hearth/api"
)

// sub walks properties, items and additionalProperties of a schema.
func sub(t *testing.T, s map[string]any, path ...string) map[string]any {
	t.Helper()
	for _, p := range path {
		next, ok := s[p].(map[string]any)
		if !ok {
			props, _ := s["properties"].(map[string]any)
			if next, ok = props[p].(map[string]any); !ok {
				t.Fatalf("no %s in %v", p, s)
			}
		}
		s = next
	}
	return s
}

func TestSchema(t *testing.T) {
	s := kind(t, api.Functions).Schema()
	tests := []struct {
		path []string
		key  string
		want any
	}{
		{nil, "$schema", "https://json-schema.org/draft/2020-12/schema"},
		{nil, "required", []any{"metadata", "spec"}},
		{nil, "additionalProperties", false},
		{[]string{"kind"}, "enum", []any{"Function"}},
		{[]string{"apiVersion"}, "enum", []any{"hearth.run/v1"}},
		{[]string{"spec"}, "required", []any{"source"}},
		{[]string{"spec", "network"}, "enum", []any{"host", "private", "none"}},
		{[]string{"spec", "concurrency"}, "maximum", int64(10000)},
		{[]string{"spec", "concurrency"}, "type", "integer"},
		{[]string{"spec", "timeout"}, "type", []any{"string", "number"}},
		{[]string{"spec", "limits", "memory"}, "type", []any{"string", "number"}},
		{[]string{"spec", "env"}, "x-kubernetes-list-map-keys", []any{"name"}},
		{[]string{"spec", "command"}, "x-kubernetes-list-type", "atomic"},
		{[]string{"spec", "env", "items", "name"}, "type", "string"},
		{[]string{"spec", "source", "files", "additionalProperties"}, "type", "string"},
		{[]string{"metadata", "creationTimestamp"}, "format", "date-time"},
		{[]string{"metadata", "finalizers"}, "x-kubernetes-list-type", "set"},
		{[]string{"status", "conditions"}, "x-kubernetes-list-map-keys", []any{"type"}},
		{[]string{"spec", "handler"}, "description", "What to call: file.export for node, module.name or module:app for python; empty finds the usual names."},
	}
	for _, tt := range tests {
		if got := sub(t, s, tt.path...)[tt.key]; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%v %s: got %v, want %v", tt.path, tt.key, got, tt.want)
		}
	}
	if got := sub(t, kind(t, api.Secrets).Schema(), "data", "additionalProperties")["contentEncoding"]; got != "base64" {
		t.Errorf("a Secret's data: %v", got)
	}
}

// TestSchemaIsOneWithDecode holds that every field of every kind is in its
// schema, by asking both about each name.
func TestSchemaIsOneWithDecode(t *testing.T) {
	for _, k := range api.Kinds() {
		for name := range k.Schema()["properties"].(map[string]any) {
			text, err := json.Marshal(map[string]any{name: nil})
			if err != nil {
				t.Fatal(err)
			}
			if errs := api.CheckPartial(k, text); len(errs) > 0 {
				t.Errorf("%s: %v", k.Kind, errs)
			}
		}
	}
}
