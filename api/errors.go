package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Code names a class of failure. Each has a row in Codes, which gives its HTTP
// status, the command line's exit code and the hint used when none is given.
type Code string

// The codes. Add a row to Codes with every new one; a test holds this.
const (
	CodeInvalid       Code = "invalid"
	CodeUsage         Code = "usage"
	CodeNotFound      Code = "not_found"
	CodeExists        Code = "already_exists"
	CodeConflict      Code = "conflict"
	CodeGone          Code = "gone"
	CodeUnauthorized  Code = "unauthorized"
	CodeForbidden     Code = "forbidden"
	CodeTooLarge      Code = "too_large"
	CodeRateLimited   Code = "rate_limited"
	CodeQueueFull     Code = "queue_full"
	CodeQueueTimeout  Code = "queue_timeout"
	CodeTimeout       Code = "timeout"
	CodeCanceled      Code = "canceled"
	CodeStartFailed   Code = "start_failed"
	CodeLoadFailed    Code = "load_failed"
	CodeBuildFailed   Code = "build_failed"
	CodeInstanceLost  Code = "instance_lost"
	CodeNoRoute       Code = "no_route"
	CodeNotReady      Code = "not_ready"
	CodeNoRuntime     Code = "runtime_missing"
	CodeChecksum      Code = "checksum_mismatch"
	CodeUnsafeArchive Code = "unsafe_archive"
	CodeUnsupported   Code = "unsupported"
	CodeHeld          Code = "state_held"
	CodePortTaken     Code = "port_taken"
	CodeUnreachable   Code = "unreachable"
	CodeDisk          Code = "disk"
	CodeInternal      Code = "internal"
)

// CodeRow is one line of the table of codes.
type CodeRow struct {
	Code   Code
	Status int    // HTTP status
	Exit   int    // exit code of the command line
	Reason string // metav1.Status reason, for clients of the API
	Hint   string // what to do, when the error itself does not say
}

// Codes returns the table of all codes. The slice is the caller's.
func Codes() []CodeRow {
	return []CodeRow{
		{CodeInvalid, http.StatusUnprocessableEntity, 1, "Invalid", "kubectl explain KIND lists the fields"},
		{CodeUsage, http.StatusBadRequest, 2, "BadRequest", "hearth help shows the commands"},
		{CodeNotFound, http.StatusNotFound, 3, "NotFound", "hearth get KIND lists what there is"},
		{CodeExists, http.StatusConflict, 1, "AlreadyExists", "hearth apply changes an object that exists"},
		{CodeConflict, http.StatusConflict, 1, "Conflict", "read the object again and repeat the change"},
		{CodeGone, http.StatusGone, 1, "Expired", "list again and watch from there"},
		{CodeUnauthorized, http.StatusUnauthorized, 4, "Unauthorized", `eval "$(hearth env)" sets a valid token`},
		{CodeForbidden, http.StatusForbidden, 4, "Forbidden", "ask who runs this hearth for a role that allows it"},
		{CodeTooLarge, http.StatusRequestEntityTooLarge, 1, "RequestEntityTooLarge", "send less, or raise spec.bodyLimit of the function"},
		{CodeRateLimited, http.StatusTooManyRequests, 1, "TooManyRequests", "wait as long as Retry-After says, or raise spec.rateLimit of the route"},
		{CodeQueueFull, http.StatusTooManyRequests, 1, "TooManyRequests", "raise spec.scale.max or spec.concurrency, or send slower"},
		{CodeQueueTimeout, http.StatusServiceUnavailable, 1, "ServiceUnavailable", "raise spec.scale.max or spec.concurrency"},
		{CodeTimeout, http.StatusGatewayTimeout, 1, "Timeout", "raise spec.timeout of the function"},
		{CodeCanceled, 499, 130, "Timeout", "the caller went away; nothing to do"},
		{CodeStartFailed, http.StatusServiceUnavailable, 1, "ServiceUnavailable", "hearth describe function/NAME and hearth logs NAME say why"},
		{CodeLoadFailed, http.StatusBadGateway, 1, "InternalError", "fix the code; hearth describe function/NAME shows the traceback"},
		{CodeBuildFailed, http.StatusUnprocessableEntity, 1, "Invalid", "fix the source and deploy again; the last good revision keeps serving"},
		{CodeInstanceLost, http.StatusBadGateway, 1, "InternalError", "hearth logs NAME shows its last words"},
		{CodeNoRoute, http.StatusNotFound, 3, "NotFound", "hearth get routes,functions lists what answers"},
		{CodeNotReady, http.StatusServiceUnavailable, 1, "ServiceUnavailable", "hearth describe function/NAME says what it waits for"},
		{CodeNoRuntime, http.StatusServiceUnavailable, 1, "ServiceUnavailable", "hearth doctor lists the interpreters found and how to install the others"},
		{CodeChecksum, http.StatusUnprocessableEntity, 1, "Invalid", "sha256sum FILE gives the sum to put into the manifest"},
		{CodeUnsafeArchive, http.StatusUnprocessableEntity, 1, "Invalid", "pack the folder's contents with relative paths only"},
		{CodeUnsupported, http.StatusNotImplemented, 1, "MethodNotAllowed", "hearth doctor says what this host can do"},
		{CodeHeld, http.StatusConflict, 1, "Conflict", "stop the other hearth, or use hearth up --state FOLDER"},
		{CodePortTaken, http.StatusConflict, 1, "Conflict", "hearth up --gateway-port N --api-port N uses others"},
		{CodeUnreachable, http.StatusBadGateway, 5, "ServiceUnavailable", "start it with hearth up, or choose another with --context"},
		{CodeDisk, http.StatusInsufficientStorage, 1, "InternalError", "free space on the disk that holds the state folder"},
		{CodeInternal, http.StatusInternalServerError, 1, "InternalError", "hearth doctor checks the installation; the server's log has the cause"},
	}
}

// Row returns the table's row of c; an unknown code is internal.
func (c Code) Row() CodeRow {
	rows := Codes()
	for _, r := range rows {
		if r.Code == c {
			return r
		}
	}
	return rows[len(rows)-1]
}

// Error is a failure as users see it: what failed and why in one sentence, and
// what to do. Cause is logged, never shown to a caller of the gateway or API.
type Error struct {
	Code       Code
	Message    string
	Hint       string        // empty: the code's own
	Detail     string        // many lines, such as a traceback; shown to the owner
	Fields     []FieldError  // what is wrong in a manifest
	RetryAfter time.Duration // 0: unknown
	Cause      error
}

// Errorf makes an error of code c. Like fmt.Errorf it keeps a %w operand as the
// cause; the operand's text becomes part of the message.
func Errorf(c Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: c, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// WithHint returns a copy of e with hint h.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithCause returns a copy of e with the cause err, which is logged only.
func (e *Error) WithCause(err error) *Error {
	c := *e
	c.Cause = err
	return &c
}

// Help is the error's hint, or its code's.
func (e *Error) Help() string {
	if e.Hint != "" {
		return e.Hint
	}
	return e.Code.Row().Hint
}

// HelpFor is Help with the name of what it is about in place of NAME.
func (e *Error) HelpFor(name string) string { return strings.ReplaceAll(e.Help(), "NAME", name) }

// AsError finds the *Error in err's chain; any other error becomes an internal
// one that keeps err as its cause and does not show its text.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: "internal error", Cause: err}
}

// IsCode reports whether err is, or wraps, an *Error of code c.
func IsCode(err error, c Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == c
}

// FieldError is one thing wrong in an object.
type FieldError struct {
	Path    string // spec.limits.memory
	Message string // what is wrong
	Hint    string // "did you mean …?"; may be empty
	Line    int    // 1-based line in the text it came from; 0 unknown
	Rule    Rule   // which rule of the schema is broken; empty for all others
	Value   string // what was written, where Rule is RuleEnum or RuleBounds
	Allowed string // what may be, where Rule is RuleEnum ("a, b"), or its bounds ("0..9", "0..")
}

// Rule is a rule of the schema.
type Rule string

// The rules of the schema.
const (
	RuleUnknown Rule = "unknown" // no such field
	RuleTwice   Rule = "twice"   // a field given twice
	RuleType    Rule = "type"
	RuleNeeded  Rule = "needed"
	RuleEnum    Rule = "enum"
	RuleBounds  Rule = "bounds"
)

// String is the error in one line: line, path, message and hint.
func (f FieldError) String() string {
	s := f.Path + ": " + f.Message
	if f.Path == "" {
		s = f.Message
	}
	if f.Line > 0 {
		s = fmt.Sprintf("line %d: %s", f.Line, s)
	}
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return s
}
