package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
)

func kind(t testing.TB, resource string) api.Kind {
	t.Helper()
	for _, k := range api.Kinds() {
		if k.Resource() == resource {
			return k
		}
	}
	t.Fatalf("no kind %s", resource)
	return api.Kind{}
}

func TestCheckFields(t *testing.T) {
	const head = `{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"f"},"spec":`
	tests := []struct{ name, text, want string }{
		{"right", head + `{"source":{"inline":"x"},"timeout":"30s","limits":{"cpu":"500m","memory":"1Gi"}}}`, ""},
		{"numbers for durations and quantities", head + `{"source":{"inline":"x"},"timeout":30,"limits":{"cpu":2}}}`, ""},
		{"null is absent", head + `{"source":{"inline":"x"},"handler":null}}`, ""},
		{"unknown, with a near name", "{\n\"apiVersion\":\"hearth.run/v1\",\n\"kind\":\"Function\",\"metadata\":{\"name\":\"f\"},\n\"spec\":{\"source\":{\"inline\":\"x\"},\n\"handlr\":\"x\"}}",
			`line 5: spec.handlr: unknown field (did you mean "handler"?)`},
		{"unknown, far from all", head + `{"source":{"inline":"x"},"zzzzzzzz":1}}`, `line 1: spec.zzzzzzzz: unknown field (the fields here are runtime, source, handler, build, command, port, pullSecrets, env, envFrom, secrets, config, limits, …)`},
		{"the case matters", head + `{"source":{"inline":"x"},"Handler":"x"}}`, `line 1: spec.Handler: unknown field (did you mean "handler"?)`},
		{"twice", head + `{"source":{"inline":"x"},"handler":"a","handler":"b"}}`, `line 1: spec.handler: is given twice (remove one of them)`},
		{"twice in a map", head + `{"source":{"files":{"a":"1","a":"2"}}}}`, `line 1: spec.source.files.a: is given twice (remove one of them)`},
		{"text for a number", head + `{"source":{"inline":"x"},"concurrency":"many"}}`, `line 1: spec.concurrency: must be a whole number, not "many" (such as 3)`},
		{"fraction for a whole number", head + `{"source":{"inline":"x"},"concurrency":1.5}}`, `line 1: spec.concurrency: must be a whole number, not 1.5 (such as 3)`},
		{"too much", head + `{"source":{"inline":"x"},"concurrency":10001}}`, `line 1: spec.concurrency: 10001 is more than 10000 (from -1 to 10000)`},
		{"too little", head + `{"source":{"inline":"x"},"scale":{"min":-1}}}`, `line 1: spec.scale.min: -1 is less than 0 (from 0 to 1000)`},
		{"not one of", head + `{"source":{"inline":"x"},"network":"hots"}}`, `line 1: spec.network: "hots" is none of host, private, none (did you mean "host"?)`},
		{"a bad duration", head + `{"source":{"inline":"x"},"timeout":"soon"}}`, `line 1: spec.timeout: must be a duration such as 30s or 2m, not "soon"`},
		{"a bad quantity", head + `{"source":{"inline":"x"},"limits":{"memory":"lots"}}}`, `line 1: spec.limits.memory: must be a quantity such as 128Mi or 500m, not "lots"`},
		{"a list for an object", head + `{"source":[]}}`, `line 1: spec.source: must be an object, not a list (such as {name: value})`},
		{"null in a list", head + `{"source":{"inline":"x"},"command":[null]}}`, `line 1: spec.command[0]: must be a string, not null (such as "text"; numbers and true need the quotes)`},
		{"missing in an item", head + `{"source":{"inline":"x"},"env":[{"value":"1"}]}}`, `line 1: spec.env[0].name: is needed (a string)`},
		{"missing", `{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"f"}}`, `line 1: spec: is needed (an object with source)`},
		{"another kind", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"f"},"spec":{"source":{"inline":"x"}}}`, `line 1: apiVersion: must be hearth.run/v1, not "v1"|line 1: kind: must be Function, not "Secret"`},
		{"no object", `[]`, `line 1: must be an object of kind Function, not a list`},
		{"nothing", ``, `line 1: is not valid JSON: the text ends too early`},
		{"cut", "{\n\"kind\":", `line 2: is not valid JSON: the text ends too early`},
		{"more than one", `{} {}`, `line 1: is not valid JSON: there is text after the end of the object`},
		{"no JSON", "{\n\n  nope}", `line 3: is not valid JSON: …`},
	}
	k := kind(t, api.Functions)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, e := range api.CheckFields(k, []byte(tt.text)) {
				got = append(got, e.String())
			}
			s := strings.Join(got, "|")
			if start, ok := strings.CutSuffix(tt.want, "…"); ok && strings.HasPrefix(s, start) {
				return // the rest is the words of encoding/json
			}
			if s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
}

func TestCheckPartialNeedsNothing(t *testing.T) {
	k := kind(t, api.Functions)
	if errs := api.CheckPartial(k, []byte(`{"spec":{"env":[{"value":"x"}]}}`)); len(errs) > 0 {
		t.Errorf("got %v", errs)
	}
	if errs := api.CheckPartial(k, []byte(`{"spec":{"envv":[]}}`)); len(errs) != 1 {
		t.Errorf("got %v", errs)
	}
}

func TestDecode(t *testing.T) {
	obj, errs := api.Decode(kind(t, api.Functions), []byte(`{"metadata":{"name":"f"},"spec":{"source":{"inline":"x"},"timeout":90}}`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	f := obj.(*api.Function)
	if f.Metadata.Name != "f" || f.Spec.Timeout.Text() != "1m30s" {
		t.Errorf("got %+v", f)
	}
	if obj, errs := api.Decode(kind(t, api.Functions), []byte(`{"spec":1}`)); obj != nil || len(errs) == 0 {
		t.Errorf("got %v, %v", obj, errs)
	}
}

// TestKindsDecodeWhatTheyWrite holds that no kind writes what it would refuse.
func TestKindsDecodeWhatTheyWrite(t *testing.T) {
	for _, k := range api.Kinds() {
		b, err := json.Marshal(k.New())
		if err != nil {
			t.Fatal(err)
		}
		if errs := api.CheckPartial(k, b); len(errs) > 0 {
			t.Errorf("%s: %s: %v", k.Kind, b, errs)
		}
	}
}

func TestDeepTextIsRefused(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	errs := api.CheckFields(kind(t, api.ConfigMaps), []byte(deep))
	if len(errs) != 1 || !strings.Contains(errs[0].Message, "levels") {
		t.Errorf("got %v", errs)
	}
}

func TestErrorsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"k` + strings.Repeat("x", i%7) + `":1`)
	}
	if errs := api.CheckFields(kind(t, api.ConfigMaps), []byte("{"+b.String()+"}")); len(errs) != 20 {
		t.Errorf("%d errors", len(errs))
	}
}

func TestNormal(t *testing.T) {
	var o map[string]any
	text := `{"kind":"Function","junk":1,"metadata":{"name":"f","labels":{"a":null,"b":"1"}},"spec":{"timeout":30,"handler":null,"env":[{"name":"A","junk":2}],"source":{"inline":"x"}}}`
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	api.Normal(kind(t, api.Functions), o)
	got, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"kind":"Function","metadata":{"labels":{"b":"1"},"name":"f"},"spec":{"env":[{"name":"A"}],"source":{"inline":"x"},"timeout":30}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"handler", "runtime", "env", "envFrom", "timeout"}
	for in, want := range map[string]string{
		"handlr": "handler", "Handler": "handler", "run_time": "runtime", "envfrom": "envFrom", "timout": "timeout", "evn": "env", "completely": "", "": "",
	} {
		if got := api.Nearest(in, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"f","labels":{"a":"b"}},"spec":{"source":{"inline":"x"},"timeout":"30s","scale":{"idle":5}}}`))
	f.Add([]byte(`{"metadata":{"managedFields":[{"fieldsV1":{"f:spec":{}}}]},"data":{"a":"Yg=="}}`))
	f.Add([]byte(`{"a":[1,2,{"b":null}],"a":1e999}`))
	f.Add([]byte(`{"spec":{"limits":{"cpu":1e400}},"timeout":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, k := range api.Kinds() {
			obj, errs := api.Decode(k, data)
			if (obj == nil) == (len(errs) == 0) {
				t.Fatalf("%s: object %v with errors %v", k.Kind, obj, errs)
			}
			if obj == nil {
				continue
			}
			if k.Validate != nil {
				k.Validate(obj)
			}
			b, err := json.Marshal(obj)
			if err != nil {
				t.Fatalf("%s: what was read cannot be written: %v", k.Kind, err)
			}
			if errs := api.CheckPartial(k, b); len(errs) > 0 {
				t.Fatalf("%s: %s: %v", k.Kind, b, errs)
			}
		}
	})
}
