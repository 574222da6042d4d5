package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// status is a failure as the API sends it (metav1.Status); hints travel as a
// cause of its details and, for clients that show only that, in the message.
type status struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Reason  string `json:"reason"`
	Code    int    `json:"code"`
	Hint    string `json:"hint"`
	Details struct {
		RetryAfter int `json:"retryAfterSeconds"`
		Causes     []struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
			Field   string `json:"field"`
		} `json:"causes"`
	} `json:"details"`
	// Error is the form the gateway sends.
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Hint    string `json:"hint"`
		Detail  string `json:"detail"`
	} `json:"error"`
}

// sentLine is a line of the text that was sent, which nobody wrote: JSON made of
// a manifest.
var sentLine = regexp.MustCompile(`^line \d+: `)

// failure makes an error of an answer that is none of success. It reads, but
// does not close, the body.
func failure(res *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return decodeFailure(res.StatusCode, res.Header, body)
}

func decodeFailure(code int, header http.Header, body []byte) *api.Error {
	e := &api.Error{Code: codeOf(code, "")}
	if s, err := strconv.Atoi(header.Get("Retry-After")); err == nil && s > 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	var s status
	if json.Unmarshal(body, &s) != nil || s.Message == "" && s.Error.Message == "" {
		text := strings.TrimSpace(string(body))
		if len(text) > 300 || strings.HasPrefix(text, "<") {
			text = ""
		}
		e.Message = strings.TrimSuffix(fmt.Sprintf("the server answered %d %s: %s", code, http.StatusText(code), text), ": ")
		return e
	}
	if s.Error.Message != "" {
		e.Code, e.Message, e.Hint, e.Detail = known(s.Error.Code, e.Code), s.Error.Message, s.Error.Hint, s.Error.Detail
		return e
	}
	e.Code, e.Message, e.Hint = codeOf(code, s.Reason), s.Message, s.Hint
	if s.Details.RetryAfter > 0 {
		e.RetryAfter = time.Duration(s.Details.RetryAfter) * time.Second
	}
	for _, c := range s.Details.Causes {
		switch c.Reason {
		case "Code":
			e.Code = known(c.Message, e.Code)
		case "Hint":
			e.Hint = c.Message
		case "Detail":
			e.Detail = c.Message
		default:
			e.Fields = append(e.Fields, api.FieldError{Path: c.Field, Message: sentLine.ReplaceAllString(c.Message, "")})
		}
	}
	if e.Hint != "" {
		e.Message = strings.TrimSuffix(e.Message, " (hint: "+e.Hint+")")
	}
	return e
}

// known returns the code named s, or or when there is none of that name.
func known(s string, or api.Code) api.Code {
	for _, r := range api.Codes() {
		if string(r.Code) == s {
			return r.Code
		}
	}
	return or
}

// codeOf finds the code for an HTTP status and a reason of the API.
func codeOf(status int, reason string) api.Code {
	for _, r := range api.Codes() {
		if r.Status == status && (reason == "" || r.Reason == reason) {
			return r.Code
		}
	}
	if reason != "" {
		return codeOf(status, "")
	}
	if status >= 400 && status < 500 {
		return api.CodeUsage
	}
	return api.CodeInternal
}
