package api

import "testing"

// TestRules: an error about the schema names the rule, what was written and
// what may be, so that a dialect can say it in its own words.
func TestRules(t *testing.T) {
	k := Kind{Version: "v1", Kind: "Pod", New: func() any {
		return new(struct {
			TypeMeta
			Container Container `json:"container"`
		})
	}}
	for _, c := range []struct {
		text string
		want FieldError
	}{
		{`{"container":{"image":"a","imagePullPolicy":"Often"}}`, FieldError{Path: "container.imagePullPolicy", Rule: RuleEnum, Value: "Often", Allowed: "Always, IfNotPresent, Never"}},
		{`{"container":{"image":"a","ports":[{"containerPort":70000}]}}`, FieldError{Path: "container.ports[0].containerPort", Rule: RuleBounds, Value: "70000", Allowed: "0..65535"}},
		{`{"container":{"image":"a","livenessProbe":{"timeoutSeconds":-1}}}`, FieldError{Path: "container.livenessProbe.timeoutSeconds", Rule: RuleBounds, Value: "-1", Allowed: "0.."}},
		{`{"container":{"image":"a","tty":true}}`, FieldError{Path: "container.tty", Rule: RuleUnknown}},
		{`{"container":{"image":"a","image":"b"}}`, FieldError{Path: "container.image", Rule: RuleTwice}},
		{`{"container":{}}`, FieldError{Path: "container.image", Rule: RuleNeeded}},
		{`{"container":{"image":1}}`, FieldError{Path: "container.image", Rule: RuleType}},
	} {
		errs := CheckFields(k, []byte(c.text))
		if len(errs) != 1 {
			t.Errorf("%s: %v", c.text, errs)
			continue
		}
		got := FieldError{Path: errs[0].Path, Rule: errs[0].Rule, Value: errs[0].Value, Allowed: errs[0].Allowed}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.text, got, c.want)
		}
	}
}

// TestFindIn: of several kinds with a name the first is meant, and the group
// tells the others.
func TestFindIn(t *testing.T) {
	kinds := append(Kinds(), Kind{Group: "example.com", Version: "v1", Kind: "Route", Plural: "routes", Singular: "route", Short: []string{"xr"}})
	for name, want := range map[string]string{"route": Routes, "Routes": Routes, "routes.example.com": "routes.example.com", "xr": "routes.example.com", "route.hearth.run": Routes} {
		if k, ok := FindIn(kinds, name); !ok || k.Resource() != want {
			t.Errorf("%s is %s, want %s", name, k.Resource(), want)
		}
	}
	if _, ok := FindIn(kinds, "routes.example.org"); ok {
		t.Error("a group nobody has answers")
	}
	if k, ok := KindIn(kinds, "example.com/v1", "Route"); !ok || k.Group != "example.com" {
		t.Errorf("KindIn: %v %t", k.Group, ok)
	}
}
