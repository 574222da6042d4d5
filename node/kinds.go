package node

import (
	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/dialect/knative"
)

// Kinds returns every kind a node serves. The native ones come first, so that
// their names win; the others are meant by names of their own or with their
// group: routes.serving.knative.dev. The slice is the caller's.
func Kinds() []api.Kind { return kinds(knative.DefaultSettings) }

// kinds is Kinds with the settings of an administrator, which are ConfigMaps.
func kinds(settings func() knative.Settings) []api.Kind {
	out := append(api.Kinds(), knative.KindsWith(settings)...)
	for i, k := range out {
		if k.Resource() == api.ConfigMaps {
			out[i].Admit = knative.AdmitConfigMap
		}
	}
	return out
}
