package knative_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/dialect/knative"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// admit does to a manifest what the server does before it is stored.
func admit(t *testing.T, kinds []api.Kind, text, was string) (map[string]any, []string, error) {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var head api.TypeMeta
	a := &api.Admission{User: "alice"}
	if err := json.Unmarshal(data, &a.Object); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &head); err != nil {
		t.Fatal(err)
	}
	k, ok := api.KindIn(kinds, head.APIVersion, head.Kind)
	if !ok {
		t.Fatalf("no kind %s of %s", head.Kind, head.APIVersion)
	}
	if was != "" {
		var warnings []string
		if a.Old, warnings, err = admit(t, kinds, was, ""); err != nil || len(warnings) > 0 {
			t.Fatalf("what was before: %v %v", err, warnings)
		}
	}
	if errs := api.CheckFields(k, data); len(errs) > 0 {
		return nil, nil, k.Refuse(text, errs)
	}
	api.Normal(k, a.Object)
	if k.Admit == nil {
		return a.Object, nil, nil
	}
	err = k.Admit(a)
	return a.Object, a.Warnings, err
}

// TestAdmit runs the files of testdata/admit: a manifest, where there is one the
// manifest before it, and what becomes of it.
func TestAdmit(t *testing.T) {
	files, err := filepath.Glob("testdata/admit/*.txt")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(string(b), "=====\n")
			was := ""
			if len(parts) == 3 {
				was = parts[1]
			}
			o, warnings, err := admit(t, knative.Kinds(), parts[0], was)
			got := result(t, o, warnings, err)
			if err == nil {
				again := &api.Admission{Object: roundtrip(t, o), Old: roundtrip(t, o), User: "bob"}
				k, _ := api.KindIn(knative.Kinds(), o["apiVersion"].(string), o["kind"].(string))
				if k.Admit != nil {
					if err := k.Admit(again); err != nil || !reflect.DeepEqual(roundtrip(t, again.Object), roundtrip(t, o)) {
						t.Errorf("admitted again, it is %v, %v", again.Object, err)
					}
				}
			}
			if *update {
				parts[len(parts)-1] = got
				if err := os.WriteFile(f, []byte(strings.Join(parts, "=====\n")), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := parts[len(parts)-1]; got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// TestSettings runs the files of testdata/settings: ConfigMaps of the
// administrator, what is written then, and what becomes of it. Where there is
// nothing else written it is the last ConfigMap.
func TestSettings(t *testing.T) {
	files, err := filepath.Glob("testdata/settings/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	core := api.Kinds()
	for i := range core {
		if core[i].Resource() == api.ConfigMaps {
			core[i].Admit = knative.AdmitConfigMap
		}
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			parts := strings.Split(string(b), "=====\n")
			stored := map[store.Key]store.Record{}
			var got, refused string
			for _, text := range strings.Split(parts[0], "---\n") {
				o, warnings, err := admit(t, core, text, "")
				got = result(t, o, warnings, err)
				if err != nil {
					refused += got
					continue // what was there stays
				}
				value, err := json.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				m := o["metadata"].(map[string]any)
				k := store.Key{Resource: api.ConfigMaps, Namespace: m["namespace"].(string), Name: m["name"].(string)}
				stored[k] = store.Record{Key: k, Value: value}
			}
			if len(parts) == 3 {
				get := func(k store.Key) (store.Record, bool) { r, ok := stored[k]; return r, ok }
				settings := func() knative.Settings { return knative.ReadSettings(get) }
				o, warnings, err := admit(t, knative.KindsWith(settings), parts[1], "")
				got = refused + result(t, o, warnings, err)
			}
			if *update {
				parts[len(parts)-1] = got
				if err := os.WriteFile(f, []byte(strings.Join(parts, "=====\n")), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := parts[len(parts)-1]; got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func roundtrip(t *testing.T, o map[string]any) (out map[string]any) {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func result(t *testing.T, o map[string]any, warnings []string, err error) string {
	t.Helper()
	var b strings.Builder
	for _, w := range warnings {
		b.WriteString("warning: " + w + "\n")
	}
	if err == nil {
		y, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(y)
		return b.String()
	}
	e := api.AsError(err)
	if e.Code != api.CodeUsage {
		t.Errorf("code %s, want %s", e.Code, api.CodeUsage)
	}
	b.WriteString("error: " + e.Message + "\n")
	for _, f := range e.Fields {
		if f.Hint == "" && f.Rule != api.RuleUnknown {
			t.Errorf("%s: %s has no hint", f.Path, f.Message)
		}
		b.WriteString("  " + f.Path + " (" + f.Hint + ")\n")
	}
	return b.String()
}

// FuzzAdmit: whatever a client sends, admission answers, leaves alone what it
// must not touch, and admits what it admitted again without a change.
func FuzzAdmit(f *testing.F) {
	files, err := filepath.Glob("testdata/admit/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if j, err := yaml.YAMLToJSON([]byte(strings.Split(string(b), "=====\n")[0])); err == nil {
			f.Add(j)
		}
	}
	kinds := knative.Kinds()
	f.Fuzz(func(t *testing.T, data []byte) {
		var head api.TypeMeta
		var o map[string]any
		if json.Unmarshal(data, &head) != nil || json.Unmarshal(data, &o) != nil {
			return
		}
		k, ok := api.KindIn(kinds, head.APIVersion, head.Kind)
		if !ok || k.Admit == nil {
			return
		}
		if errs := api.CheckFields(k, data); len(errs) > 0 {
			if k.Refuse("x", errs) == nil {
				t.Fatal("refused without an error")
			}
			return
		}
		api.Normal(k, o)
		a := &api.Admission{Object: o, User: "alice"}
		if k.Admit(a) != nil {
			return
		}
		first := roundtrip(t, a.Object)
		b := &api.Admission{Object: roundtrip(t, a.Object), Old: roundtrip(t, a.Object), User: "bob"}
		if err := k.Admit(b); err != nil {
			t.Fatalf("admitted once, then: %v", err)
		}
		if !reflect.DeepEqual(roundtrip(t, b.Object), first) {
			t.Fatalf("admitted twice, it changed:\n%v\n%v", first, b.Object)
		}
	})
}
