package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// version writes a revision as a resource version.
func version(rev int64) string { return strconv.FormatInt(rev, 10) }

// fail is an error with what a Status says about it beyond api.Error.
type fail struct {
	err    *api.Error
	kind   api.Kind // zero: of no kind
	name   string
	status int    // overrides the code's
	reason string // overrides the code's
	causes []any
}

func (f *fail) Error() string { return f.err.Error() }
func (f *fail) Unwrap() error { return f.err }

// about adds kind and name to an error, where it lacks them.
func about(err error, k api.Kind, name string) error {
	if err == nil {
		return nil
	}
	var f *fail
	if errors.As(err, &f) {
		if f.kind.Kind == "" {
			f.kind, f.name = k, name
		}
		return err
	}
	return &fail{err: api.AsError(err), kind: k, name: name}
}

// badRequest is a 400 with a hint.
func badRequest(hint, format string, args ...any) error {
	return api.Errorf(api.CodeUsage, format, args...).WithHint("%s", hint)
}

// invalid makes the error for what is wrong in an object.
func invalid(k api.Kind, name string, errs []api.FieldError) error {
	if k.Refuse != nil {
		return about(k.Refuse(name, errs), k, name)
	}
	words := make([]string, len(errs))
	for i, e := range errs {
		words[i] = e.String()
	}
	e := api.Errorf(api.CodeInvalid, "%s %q is invalid: %s", k.Kind, name, strings.Join(words, "; "))
	e.Fields = errs
	e.Hint = "kubectl explain " + k.Singular + " lists the fields"
	return &fail{err: e, kind: k, name: name}
}

// statusObject is err in the form of metav1.Status, with its HTTP status.
func statusObject(err error) (int, object) {
	e := api.AsError(err)
	row := e.Code.Row()
	code, reason := row.Status, row.Reason
	var f *fail
	details := object{}
	causes := []any{}
	for _, fe := range e.Fields {
		c := object{"reason": "FieldValueInvalid", "field": fe.Path, "message": fe.Message}
		if fe.Line > 0 {
			c["message"] = "line " + strconv.Itoa(fe.Line) + ": " + fe.Message
		}
		if fe.Hint != "" {
			c["message"] = c["message"].(string) + " (" + fe.Hint + ")"
		}
		causes = append(causes, c)
	}
	if errors.As(err, &f) {
		if f.status != 0 {
			code = f.status
		}
		if f.reason != "" {
			reason = f.reason
		}
		if f.kind.Kind != "" {
			details["kind"] = f.kind.Plural
			if e.Code == api.CodeInvalid {
				details["kind"] = f.kind.Kind
			}
			if f.kind.Group != "" {
				details["group"] = f.kind.Group
			}
		}
		if f.name != "" {
			details["name"] = f.name
		}
		causes = append(causes, f.causes...)
	}
	if h := e.Help(); h != "" {
		causes = append(causes, object{"reason": "Hint", "field": "hint", "message": h})
	}
	details["causes"] = causes
	if e.RetryAfter > 0 {
		details["retryAfterSeconds"] = int64(e.RetryAfter.Seconds() + 0.5)
	}
	msg := e.Message
	if e.Hint != "" && len(e.Fields) == 0 {
		msg += " (hint: " + e.Hint + ")"
	}
	return code, object{
		"kind": "Status", "apiVersion": "v1", "metadata": object{}, "status": "Failure",
		"message": msg, "reason": reason, "details": details, "code": int64(code),
	}
}

// refuse answers with err; causes of internal errors are logged, not shown.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = api.Errorf(api.CodeCanceled, "the request ended before its answer")
	}
	code, o := statusObject(err)
	if code >= 500 && code != http.StatusNotImplemented {
		e := api.AsError(err)
		s.log.LogAttrs(r.Context(), slog.LevelError, "request failed", slog.String("request", requestID(r)), slog.String("method", r.Method),
			slog.String("path", r.URL.Path), slog.String("error", e.Message), slog.Any("cause", e.Cause))
	}
	if code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="hearth"`)
	}
	if e := api.AsError(err); e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds()+0.5)))
	}
	answer(w, code, o)
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	h.Set("Cache-Control", "no-cache, private")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n')) // a client that went away is no failure
}
