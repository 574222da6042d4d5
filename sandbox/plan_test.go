//go:build linux

package sandbox

import (
	"encoding/json"
	"testing"
)

func TestPlanJSON(t *testing.T) {
	var p Plan
	p.add("mount", "none", "/", "", 278528, "")
	p.add("setsid")
	b, err := json.Marshal(p)
	if err != nil || string(b) != `[["mount","none","/","",278528,""],["setsid"]]` {
		t.Fatalf("%s %v", b, err)
	}
	var back Plan
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back[0].Name() != "mount" || back[0].num(3) != 278528 || back[0].str(1) != "/" || back[0].check("sssns") != nil {
		t.Errorf("%v", back)
	}
	for _, sig := range []string{"ssss", "sssnss", "n*", ""} {
		if back[0].check(sig) == nil {
			t.Errorf("%q fits", sig)
		}
	}
	for _, bad := range []string{`{}`, `[[]]`, `[[1]]`, `[["x",null]]`, `[["x",1.5]]`, `[["x",["y"]]]`, `["x"]`, `[["x",true]]`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte(`[["mount","none","/","",278528,""],["setsid"]]`))
	f.Add([]byte(`[["setgroups",1,2],["x",-1e3]]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Plan
		if json.Unmarshal(b, &p) != nil {
			return
		}
		for _, o := range p {
			if o.Name() == "" {
				t.Errorf("a step without a name in %q", b)
			}
			o.check("sn*")
			o.num(0)
			o.str(7)
		}
	})
}
