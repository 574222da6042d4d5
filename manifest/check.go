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
		if k.Refuse != nil {
			return fields(k.Refuse("", errs))
		}
		return errs
	}
	var h struct {
		Metadata api.Meta `json:"metadata"`
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return []api.FieldError{{Message: err.Error()}}
	}
	errs = api.CheckMeta(k, h.Metadata)
	if k.Admit != nil && len(errs) == 0 {
		return admit(k, data)
	}
	if k.Validate != nil {
		errs = append(errs, k.Validate(obj)...)
	}
	return errs
}

// admit asks the kind's own API. What becomes of the object there is not of
// interest: the server does it again.
func admit(k api.Kind, data []byte) []api.FieldError {
	a := &api.Admission{}
	if err := json.Unmarshal(data, &a.Object); err != nil {
		return []api.FieldError{{Message: err.Error()}}
	}
	return fields(k.Admit(a))
}

// fields are what an error of a kind's API is about.
func fields(err error) []api.FieldError {
	if err == nil {
		return nil
	}
	e := api.AsError(err)
	if len(e.Fields) == 0 {
		return []api.FieldError{{Message: e.Message, Hint: e.Hint}}
	}
	return e.Fields
}
