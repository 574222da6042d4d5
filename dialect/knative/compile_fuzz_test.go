package knative

import (
	"encoding/json"
	"testing"

	"github.com/hearth-run/hearth/api"
)

// FuzzStep: whatever stands in the store, a Step ends without a panic and writes
// objects only.
func FuzzStep(f *testing.F) {
	f.Add(uint8(0), `{"spec":{"template":{"spec":{"containers":[{"image":"a"}]}},"traffic":[{"percent":1}]}}`, `{"status":{"conditions":[{"type":"Ready"}]}}`)
	f.Add(uint8(1), `{"spec":{"template":{"metadata":{"name":"x"},"spec":null}},"status":{"latestReadyRevisionName":"x"}}`, `{"spec":{}}`)
	f.Add(uint8(2), `{"metadata":{"labels":{"serving.knative.dev/configuration":"x"},"annotations":{"autoscaling.knative.dev/max-scale":"-1"}},"spec":{"containers":[{}],"securityContext":{}}}`, `{}`)
	f.Add(uint8(3), `{"spec":{"traffic":[{"revisionName":"x","percent":-5},{"configurationName":"x","tag":"t"},{}]},"status":{"traffic":[{}]}}`, `{"metadata":{"annotations":{"hearth.run/rollout":"[{}]"}},"spec":{"targets":[{}]}}`)
	f.Add(uint8(4), `{"spec":{"ref":{"kind":"Service","name":"x"},"tls":{}}}`, `{"spec":{"targets":[{"weight":0}]}}`)
	f.Fuzz(func(t *testing.T, kind uint8, object, other string) {
		w := newWorld(t)
		resources := w.d.Kinds()
		put := func(resource, text string) bool {
			var o map[string]json.RawMessage
			if json.Unmarshal([]byte(text), &o) != nil || o == nil {
				return false
			}
			var m map[string]json.RawMessage
			if json.Unmarshal(o["metadata"], &m) != nil && o["metadata"] != nil {
				return false
			}
			if m == nil {
				m = map[string]json.RawMessage{}
			}
			m["name"], m["namespace"] = raw("x"), raw("shop")
			o["metadata"] = raw(m)
			var meta api.Meta
			if json.Unmarshal(o["metadata"], &meta) != nil {
				return false
			}
			name := "x"
			if resource == api.Routes {
				name = nativeRoute(name)
			}
			w.write(key(resource, "shop", name), raw(o))
			return true
		}
		if !put(resources[int(kind)%len(resources)], object) {
			return
		}
		for _, r := range []string{api.Revisions, api.Routes, Revisions, Routes, Configurations} {
			if r != resources[int(kind)%len(resources)] && !put(r, other) {
				return
			}
		}
		for _, k := range w.keys() {
			w.d.Needs(w.recs[k])
			w.d.Touches(w.recs[k])
			out := w.d.Step(w, k, w.now)
			for _, p := range out.Put {
				var o struct {
					Metadata api.Meta
				}
				if err := json.Unmarshal(p.Value, &o); err != nil || p.Key.Name == "" {
					t.Errorf("%s is written as %s: %v", p.Key, p.Value, err)
				}
			}
		}
	})
}
