package node

import (
	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/dialect/knative"
)

// Kinds returns every kind a node serves. The native ones come first, so that
// their names win; the others are meant by names of their own or with their
// group: routes.serving.knative.dev. The slice is the caller's.
func Kinds() []api.Kind { return append(api.Kinds(), knative.Kinds()...) }
