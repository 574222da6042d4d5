package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
)

// UploadBlob keeps what r yields on the server and returns its digest
// (sha256:…) and size in bytes.
func (c *Client) UploadBlob(ctx context.Context, r io.Reader) (digest string, size int64, err error) {
	var out struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	}
	err = c.do(ctx, request{method: http.MethodPut, path: "/hearth/v1/blobs", body: r, kind: "application/octet-stream"}, &out)
	return out.Digest, out.Size, err
}

// Blob opens a blob by digest. The caller closes it.
func (c *Client) Blob(ctx context.Context, digest string) (io.ReadCloser, error) {
	res, err := c.send(ctx, request{method: http.MethodGet, path: "/hearth/v1/blobs/" + url.PathEscape(digest)})
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		return nil, failure(res)
	}
	return res.Body, nil
}

func (c *Client) own(what string) string {
	return "/hearth/v1/namespaces/" + url.PathEscape(c.namespace) + "/" + what
}

func recordQuery(q record.Query) url.Values {
	v := url.Values{}
	for key, val := range map[string]string{
		"function": q.Function, "revision": q.Revision, "instance": q.Instance, "request": q.Request, "limit": limit(q.Limit),
	} {
		if val != "" {
			v.Set(key, val)
		}
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.Errors {
		v.Set("errors", "true")
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	return v
}

// Calls returns calls of the client's namespace, newest first.
func (c *Client) Calls(ctx context.Context, q record.Query) (calls []record.Call, err error) {
	q.Follow = false
	err = c.do(ctx, request{method: http.MethodGet, path: c.own("calls"), query: recordQuery(q)}, &calls)
	return calls, err
}

// Logs yields lines of the client's namespace, oldest first. With q.Follow it
// goes on with new ones until ctx ends or the consumer stops, both without an
// error.
func (c *Client) Logs(ctx context.Context, q record.Query) iter.Seq2[engine.Line, error] {
	return func(yield func(engine.Line, error) bool) {
		res, err := c.send(ctx, request{method: http.MethodGet, path: c.own("logs"), query: recordQuery(q)})
		if err == nil && res.StatusCode >= 300 {
			err = failure(res)
			res.Body.Close()
		}
		if err != nil {
			if ctx.Err() == nil {
				yield(engine.Line{}, err)
			}
			return
		}
		defer res.Body.Close()
		dec := json.NewDecoder(bufio.NewReader(res.Body))
		for {
			var l engine.Line
			err := dec.Decode(&l)
			switch {
			case ctx.Err() != nil, errors.Is(err, io.EOF) && !q.Follow:
				return
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				yield(engine.Line{}, api.Errorf(api.CodeUnreachable, "the log ended: hearth at %s closed the connection", c.base))
				return
			case err != nil:
				yield(engine.Line{}, c.unreachable(ctx, err))
				return
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// Call is a request to a function.
type Call struct {
	Method string      // empty: GET, or POST with a body
	Path   string      // with the query, starting with /; empty: /
	Header http.Header // may be nil
	Body   io.Reader   // nil: none
}

// Invoke calls a function through the API, so that neither its host name nor
// the gateway's port need be reachable. The answer is the function's own,
// whatever its status, unless the API refused the call before it reached the
// gateway. The caller closes the body.
func (c *Client) Invoke(ctx context.Context, function string, call Call) (*http.Response, error) {
	if call.Method == "" {
		call.Method = http.MethodGet
		if call.Body != nil {
			call.Method = http.MethodPost
		}
	}
	path, query, _ := strings.Cut(call.Path, "?")
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "%q is not a path with a query", call.Path)
	}
	fn, _ := api.KindOf(api.GroupVersion, "Function")
	p := c.path(fn, c.namespace, function) + "/invoke/" + strings.TrimPrefix((&url.URL{Path: path}).EscapedPath(), "/")
	return c.send(ctx, request{method: call.Method, path: p, query: q, header: call.Header.Clone(), body: call.Body})
}

// Status says what a server is; the fields are documented with hearth status.
func (c *Client) Status(ctx context.Context) (json.RawMessage, error) {
	return c.raw(ctx, request{method: http.MethodGet, path: "/hearth/v1/status"})
}

// Doctor returns the checks of the server's host and its runtimes.
func (c *Client) Doctor(ctx context.Context) (json.RawMessage, error) {
	return c.raw(ctx, request{method: http.MethodGet, path: "/hearth/v1/doctor"})
}

// Reachable returns nil when the server answers, within a second.
func (c *Client) Reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := c.Status(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return api.Errorf(api.CodeUnreachable, "hearth at %s does not answer within a second", c.base)
	}
	return err
}

// ErrorOf reads the error hearth itself answered with instead of the function:
// nil when res comes from the function. It does not read the body.
func ErrorOf(res *http.Response, body []byte) *api.Error {
	if res.StatusCode < 400 || res.Header.Get("X-Hearth-Error") == "" {
		return nil
	}
	e := decodeFailure(res.StatusCode, res.Header, body)
	e.Code = known(res.Header.Get("X-Hearth-Error"), e.Code)
	return e
}
