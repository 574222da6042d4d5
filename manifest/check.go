package manifest

import (
	"encoding/json"

	"github.com/hearth-run/hearth/api"
)

// check finds what is wrong in data as a complete object of kind k: its fields
// first and, when those are right, what the kind's own rules say.
func check(k api.Kind, data []byte) []api.FieldError {
	obj, errs := api.Decode(k, data)
	if len(errs) > 0 {
		return errs
	}
	var h struct {
		Metadata api.Meta `json:"metadata"`
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return []api.FieldError{{Message: err.Error()}}
	}
	errs = api.CheckMeta(k, h.Metadata)
	if k.Validate != nil {
		errs = append(errs, k.Validate(obj)...)
	}
	return errs
}
