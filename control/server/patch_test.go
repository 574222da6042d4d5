package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
)

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestJSONPatch(t *testing.T) {
	tests := []struct{ doc, patch, want string }{
		{`{"a":1}`, `[{"op":"add","path":"/b","value":2}]`, `{"a":1,"b":2}`},
		{`{"a":[1,2]}`, `[{"op":"add","path":"/a/1","value":9}]`, `{"a":[1,9,2]}`},
		{`{"a":[1,2]}`, `[{"op":"add","path":"/a/-","value":9}]`, `{"a":[1,2,9]}`},
		{`{"a":[1,2]}`, `[{"op":"add","path":"/a/3","value":9}]`, `error`},
		{`{"a":[1,2]}`, `[{"op":"remove","path":"/a/0"}]`, `{"a":[2]}`},
		{`{"a":[1,2]}`, `[{"op":"remove","path":"/a/-"}]`, `error`},
		{`{"a":[1,2]}`, `[{"op":"remove","path":"/a/01"}]`, `error`},
		{`{"a":1}`, `[{"op":"remove","path":"/b"}]`, `error`},
		{`{"a":1}`, `[{"op":"replace","path":"/a","value":null}]`, `{"a":null}`},
		{`{"a":1}`, `[{"op":"replace","path":"/b","value":1}]`, `error`},
		{`{"a":{"b":1}}`, `[{"op":"move","from":"/a/b","path":"/c"}]`, `{"a":{},"c":1}`},
		{`{"a":{"b":1}}`, `[{"op":"move","from":"/a","path":"/a/b/c"}]`, `error`},
		{`{"a":{"b":1}}`, `[{"op":"copy","from":"/a","path":"/c"},{"op":"add","path":"/c/d","value":2}]`, `{"a":{"b":1},"c":{"b":1,"d":2}}`},
		{`{"a":1}`, `[{"op":"test","path":"/a","value":1}]`, `{"a":1}`},
		{`{"a":1}`, `[{"op":"test","path":"/a","value":"1"}]`, `error`},
		{`{"a/b":{"c~d":1}}`, `[{"op":"replace","path":"/a~1b/c~0d","value":2}]`, `{"a/b":{"c~d":2}}`},
		{`{"a":1}`, `[{"op":"replace","path":"","value":{"b":1}}]`, `{"b":1}`},
		{`{"a":1}`, `[{"op":"replace","path":"","value":7}]`, `error`},
		{`{"a":1}`, `[{"op":"add","path":"/a/b","value":7}]`, `error`},
		{`{"a":1}`, `[{"op":"add","path":"a","value":7}]`, `error`},
		{`{"a":1}`, `[{"op":"add","path":"/b"}]`, `error`},
		{`{"a":1}`, `[7]`, `error`},
	}
	for _, tt := range tests {
		doc, err := parseObject([]byte(tt.doc))
		if err != nil {
			t.Fatal(err)
		}
		ops, err := parseJSONPatch([]byte(tt.patch))
		if err == nil {
			doc, err = applyJSONPatch(doc, ops)
		}
		got := "error"
		if err == nil {
			got = jsonOf(t, doc)
		}
		if got != tt.want {
			t.Errorf("%s %s: %s, want %s (%v)", tt.doc, tt.patch, got, tt.want, err)
		}
	}
}

// TestJSONPatchDoesNotExplode holds the bound on copies that double.
func TestJSONPatchDoesNotExplode(t *testing.T) {
	var ops []string
	for range 60 {
		ops = append(ops, `{"op":"copy","from":"/a","path":"/a/-"}`)
	}
	p, err := parseJSONPatch([]byte("[" + strings.Join(ops, ",") + "]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := applyJSONPatch(object{"a": []any{"x"}}, p); err == nil || !strings.Contains(err.Error(), "copies too much") {
		t.Errorf("got %v", err)
	}
}

func TestMergePatch(t *testing.T) {
	// The examples of RFC 7396, appendix A, whose result is an object.
	for _, tt := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`}, {`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`}, {`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`}, {`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`}, {`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`}, {`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		a, err := parse([]byte(tt[0]))
		if err != nil {
			t.Fatal(err)
		}
		b, err := parse([]byte(tt[1]))
		if err != nil {
			t.Fatal(err)
		}
		if got := jsonOf(t, mergePatch(a, b)); got != tt[2] {
			t.Errorf("%s + %s = %s, want %s", tt[0], tt[1], got, tt[2])
		}
	}
}

func TestStrategicPatch(t *testing.T) {
	cm, fn := schemaFor(t, api.ConfigMaps), schemaFor(t, api.Functions)
	tests := []struct {
		schema           object
		doc, patch, want string
	}{
		{cm, `{"data":{"a":"1","b":"2"}}`, `{"data":{"a":null,"c":"3"}}`, `{"data":{"b":"2","c":"3"}}`},
		{cm, `{"data":{"a":"1"}}`, `{"data":{"$patch":"replace","c":"3"}}`, `{"data":{"c":"3"}}`},
		{cm, `{"data":{"a":"1"},"metadata":{}}`, `{"data":{"$patch":"delete"}}`, `{"metadata":{}}`},
		{cm, `{"data":{"a":"1","b":"2"}}`, `{"data":{"$retainKeys":["b","c"],"c":"3"}}`, `{"data":{"b":"2","c":"3"}}`},
		{cm, `{"metadata":{"finalizers":["a","b"]}}`, `{"metadata":{"finalizers":["c"]}}`, `{"metadata":{"finalizers":["a","b","c"]}}`},
		{cm, `{"metadata":{"finalizers":["a","b"]}}`, `{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"$setElementOrder/finalizers":["c","b"],"finalizers":["c"]}}`, `{"metadata":{"finalizers":["c","b"]}}`},
		{cm, `{"metadata":{"ownerReferences":[{"uid":"1","name":"a"},{"uid":"2","name":"b"}]}}`,
			`{"metadata":{"ownerReferences":[{"uid":"1","name":"z"},{"$patch":"delete","uid":"2"},{"uid":"3","name":"c"}]}}`,
			`{"metadata":{"ownerReferences":[{"name":"z","uid":"1"},{"name":"c","uid":"3"}]}}`},
		{cm, `{"metadata":{"ownerReferences":[{"uid":"1"}]}}`, `{"metadata":{"ownerReferences":[{"$patch":"replace"},{"uid":"3"}]}}`, `{"metadata":{"ownerReferences":[{"uid":"3"}]}}`},
		{fn, `{"spec":{"env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"command":["x"]}}`,
			`{"spec":{"$setElementOrder/env":[{"name":"B"},{"name":"A"}],"env":[{"name":"A","value":"9"}],"command":["y"]}}`,
			`{"spec":{"command":["y"],"env":[{"name":"B","value":"2"},{"name":"A","value":"9"}]}}`},
		{cm, `{}`, `{"$setElementOrder/data":7}`, `error`}, {cm, `{}`, `{"$patch":"burn"}`, `error`}, {cm, `{}`, `{"$retainKeys":7}`, `error`},
		{cm, `{}`, `{"metadata":{"ownerReferences":[7]}}`, `error`},
	}
	for _, tt := range tests {
		doc, err := parseObject([]byte(tt.doc))
		if err != nil {
			t.Fatal(err)
		}
		p, err := parseObject([]byte(tt.patch))
		if err != nil {
			t.Fatal(err)
		}
		got := "error"
		if out, err := strategicPatch(doc, p, tt.schema); err == nil {
			got = jsonOf(t, out)
		}
		if got != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.doc, tt.patch, got, tt.want)
		}
	}
}

func schemaFor(t testing.TB, resource string) object {
	t.Helper()
	for _, k := range api.Kinds() {
		if k.Resource() == resource {
			return k.Schema()
		}
	}
	t.Fatalf("no kind %s", resource)
	return nil
}

// TestMergePatchMakesWhatItSays: patching with the difference of two documents
// turns one into the other.
func TestMergePatchMakesWhatItSays(t *testing.T) {
	value := rapid.OneOf(rapid.Just[any]("x"), rapid.Just[any](int64(1)), rapid.Just[any]([]any{int64(2)}), rapid.Just[any](object{"k": "v"}))
	docs := rapid.MapOf(rapid.SampledFrom([]string{"a", "b", "c", "d"}), value)
	rapid.Check(t, func(t *rapid.T) {
		from, to := object(docs.Draw(t, "from")), object(docs.Draw(t, "to"))
		patch := object{}
		for k := range from {
			if _, ok := to[k]; !ok {
				patch[k] = nil
			}
		}
		for k, v := range to {
			patch[k] = clone(v)
		}
		got := mergePatch(clone(from), patch)
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(to)
		if string(a) != string(b) {
			t.Fatalf("%v + %v = %s, want %s", from, patch, a, b)
		}
	})
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 90 * time.Second: "90s", 150 * time.Second: "2m30s", 5 * time.Minute: "5m", 61 * time.Minute: "61m", 4*time.Hour + 5*time.Minute: "4h5m",
		30 * time.Hour: "30h", 50 * time.Hour: "2d2h", 20 * 24 * time.Hour: "20d", 800 * 24 * time.Hour: "2y70d",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestLookup(t *testing.T) {
	o := object{"a": object{"b": []any{object{"type": "Ready", "status": "True"}, object{"name": "n", "v": int64(3)}}, "l": object{"x.y/z": "dotted"}}}
	for path, want := range map[string]string{
		"a.b[Ready].status": "True", "a.b[n].v": "3", "a.l['x.y/z']": "dotted", "a.l[x.y/z]": "dotted", "a.b[None].status": "", "a.x.y": "", "a.b[": "", "": jsonOf(t, o),
	} {
		if got := cell(lookup(o, path)); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func FuzzPatch(f *testing.F) {
	f.Add(`{"a":[1,{"b":2}],"metadata":{"finalizers":["x"]}}`, `[{"op":"move","from":"/a/1","path":"/c"}]`)
	f.Add(`{"metadata":{"ownerReferences":[{"uid":"1"}]}}`, `{"metadata":{"$setElementOrder/finalizers":["a"],"ownerReferences":[{"$patch":"delete","uid":"1"}]}}`)
	f.Add(`{}`, `{"spec":{"$patch":"replace"}}`)
	schema := schemaFor(f, api.Functions)
	f.Fuzz(func(t *testing.T, doc, patch string) {
		o, err := parseObject([]byte(doc))
		if err != nil {
			return
		}
		before := jsonOf(t, o)
		if ops, err := parseJSONPatch([]byte(patch)); err == nil {
			if out, err := applyJSONPatch(clone(o), ops); err == nil {
				jsonOf(t, out)
			}
		}
		p, err := parseObject([]byte(patch))
		if err != nil {
			return
		}
		jsonOf(t, mergePatch(clone(o), clone(p)))
		if out, err := strategicPatch(clone(o), clone(p), schema); err == nil {
			jsonOf(t, out)
		}
		if jsonOf(t, o) != before {
			t.Fatal("a patch changed the original")
		}
	})
}

func FuzzSelector(f *testing.F) {
	for _, s := range []string{"a=b,c!=d", "x in (a,b),!y", "z notin (q)", "metadata.name=a\\,b", "a==b,c", "(((", "a in (b", "!", "=", ","} {
		f.Add(s, s)
	}
	schema := schemaFor(f, api.Functions)
	s := &Server{schema: map[string]func() object{api.Functions: func() object { return schema }}}
	k, _ := api.FindKind("functions")
	o := object{"metadata": object{"name": "f", "labels": object{"a": "b"}}, "spec": object{"handler": "x"}}
	f.Fuzz(func(t *testing.T, labels, fields string) {
		q := url.Values{"labelSelector": {labels}, "fieldSelector": {fields}}
		r := httptest.NewRequest(http.MethodGet, "/?"+q.Encode(), nil)
		sel, err := s.parseSelector(r, target{kind: k})
		if err != nil {
			if !api.IsCode(err, api.CodeUsage) {
				t.Fatalf("%v", err)
			}
			return
		}
		sel.selects(o)
		sel.fixed()
	})
}

func FuzzProtobuf(f *testing.F) {
	f.Add([]byte("k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x09\x0a\x07\x0a\x01s\x3a\x02\x00\x00"))
	f.Add([]byte("k8s\x00\x0a\x0f\x0a\x02v1\x12\x09Namespace\x12\x05\x0a\x03\x0a\x01n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := protobufToJSON(data)
		if err != nil {
			return
		}
		if _, err := parseObject(out); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
	})
}
