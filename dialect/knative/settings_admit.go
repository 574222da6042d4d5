package knative

import (
	"slices"

	"github.com/hearth-run/hearth/api"
)

// AdmitConfigMap is the api.Kind.Admit of ConfigMaps: it refuses settings of
// Knative that cannot be read, so that the last good ones stay in force, and
// warns of those that have no effect. Other ConfigMaps are none of its business.
func AdmitConfigMap(a *api.Admission) error {
	m := child(a.Object, "metadata")
	name, known := text(m, "name"), configs()
	if text(m, "namespace") != settingsNamespace || !slices.Contains(known[:], name) {
		return nil
	}
	data := map[string]string{}
	for k, v := range child(a.Object, "data") {
		data[k], _ = v.(string) // the schema says so
	}
	s := DefaultSettings().clone()
	f := s.take(name, data)
	a.Warnings = append(a.Warnings, words(f.warnings)...)
	return f.err()
}
