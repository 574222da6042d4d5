package server

import (
	"encoding/json"
	"net/http"

	"github.com/hearth-run/hearth/api"
)

func (s *Server) servePatch(w http.ResponseWriter, r *http.Request, t target) error {
	opts, err := parseWriteOptions(r)
	if err != nil {
		return err
	}
	data, media, err := body(w, r, maxBody)
	if err != nil {
		return err
	}
	if media == mediaApply {
		return s.serveApply(w, r, t, data, opts)
	}
	change, err := s.patcher(t, media, data, &opts)
	if err != nil {
		return err
	}
	o, err := s.update(r.Context(), t, &opts, func(live object) (object, bool, error) {
		o, err := change(live)
		if err != nil {
			return nil, false, err
		}
		text, err := json.Marshal(o)
		if err != nil {
			return nil, false, err
		}
		if len(text) > maxBody {
			return nil, false, api.Errorf(api.CodeTooLarge, "the patched object is larger than %d bytes", maxBody)
		}
		opts.warnings = nil
		o, err = opts.fields(t.kind, t.name, text, false)
		return o, false, withoutLines(err)
	})
	if err != nil {
		return err
	}
	warn(w, opts.warnings)
	return s.answerObject(w, r, http.StatusOK, t, o, s.hides(r.Context(), t))
}

// withoutLines drops line numbers, where the text was not the client's.
func withoutLines(err error) error {
	f, ok := err.(*fail)
	if !ok {
		return err
	}
	for i := range f.err.Fields {
		f.err.Fields[i].Line = 0
	}
	return invalid(f.kind, f.name, f.err.Fields)
}

// patcher reads a patch and returns what it does.
func (s *Server) patcher(t target, media string, data []byte, opts *writeOptions) (func(object) (object, error), error) {
	switch media {
	case mediaJSONPatch:
		ops, err := parseJSONPatch(data)
		if err != nil {
			return nil, err
		}
		return func(o object) (object, error) { return applyJSONPatch(o, ops) }, nil
	case mediaMerge:
		if _, err := opts.fields(t.kind, t.name, data, true); err != nil {
			return nil, err
		}
		p, err := parseObject(data)
		if err != nil {
			return nil, err
		}
		return func(o object) (object, error) {
			m, _ := mergePatch(o, clone(p)).(object)
			return m, nil
		}, nil
	case mediaStrategic:
		if t.kind.Group != "" && t.kind.Group != api.Group {
			break // as for every kind a client has no Go types of
		}
		p, err := parseObject(data)
		if err != nil {
			return nil, err
		}
		return func(o object) (object, error) { return strategicPatch(o, clone(p), s.schema[t.kind.Resource()]()) }, nil
	}
	return nil, &fail{
		err:    api.Errorf(api.CodeUsage, "a patch of type %s is not understood", media).WithHint("use %s or %s", mediaMerge, mediaJSONPatch),
		status: http.StatusUnsupportedMediaType, reason: "UnsupportedMediaType",
	}
}

// mergePatch is RFC 7396.
func mergePatch(target, patch any) any {
	p, ok := patch.(object)
	if !ok {
		return patch
	}
	t, ok := target.(object)
	if !ok {
		t = object{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
			continue
		}
		t[k] = mergePatch(t[k], v)
	}
	return t
}
