package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/serve/gateway/h1"
	"github.com/hearth-run/hearth/serve/gateway/h2"
)

// speaksH2 reports whether a connection that began with read speaks HTTP/2. PRI
// is no method of HTTP/1.1.
func speaksH2(read []byte) bool {
	n := min(len(read), len(h2.Preface))
	return n >= len("PRI ") && bytes.Equal(read[:n], []byte(h2.Preface)[:n])
}

// overH2 makes c's call on an instance that speaks HTTP/2.
func (c *call) overH2(cl *h2.Client, left time.Duration) (*h2answer, error) {
	a := &h2answer{outer: c.r.Context()}
	if d := grpcTimeout(first(c.r.Header, "Grpc-Timeout")); d > 0 {
		a.until = c.start.Add(d)
	}
	rq := &h2.Request{
		Method: c.r.Method, Scheme: "http", Target: c.path, Host: c.authority(), Header: c.fields, Length: c.r.ContentLength, First: c.first(),
		Trailer: c.trailer(), Deadline: left, Informational: c.informational(),
	}
	if b := c.streamed(); b != nil {
		rq.Body = b
		for name := range c.r.Trailer {
			if !hop(name) && !ours(name) {
				rq.Header = append(rq.Header, frame.Field{Name: "trailer", Value: name})
			}
		}
	} else if len(rq.First) == 0 {
		rq.Length = 0
	}
	r, err := cl.Do(a.outer, rq)
	if err != nil {
		return nil, a.error(err, false)
	}
	a.Answer = r
	return a, nil
}

// h2answer is an answer of HTTP/2 with our errors.
type h2answer struct {
	*h2.Answer
	outer context.Context
	until time.Time // as the caller said; zero: he did not
}

// Head implements answer.
func (a *h2answer) Head() (int, frame.Fields) {
	status, fields := a.Answer.Head()
	if fields.Get("trailer") == "" {
		return status, fields
	}
	// HTTP/1.1 has trailers only behind chunks.
	out := make(frame.Fields, 0, len(fields))
	for _, f := range fields {
		if f.Name != "content-length" {
			out = append(out, f)
		}
	}
	return status, out
}

// Next implements answer.
func (a *h2answer) Next() ([]byte, error) {
	b, err := a.Answer.Next()
	if err != nil {
		err = a.error(err, true)
	}
	return b, err
}

// error says what went wrong; begun: after the head of the answer.
func (a *h2answer) error(err error, begun bool) error {
	var own *api.Error
	switch {
	case err == io.EOF, errors.As(err, &own): // the end, or of the request's body
		return err
	case a.outer.Err() != nil:
		return ended(a.outer.Err())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ended(context.DeadlineExceeded)
	case errors.Is(err, h2.ErrReset) && !a.until.IsZero() && !time.Now().Before(a.until):
		return ended(context.DeadlineExceeded) // the time the caller gave it is over, which both of them measure
	case errors.Is(err, h2.ErrReset):
		return &api.Error{Code: api.CodeInstanceLost, Message: "the function broke the call off", Cause: errors.Join(frame.ErrCallFailed, err)}
	case begun:
		return &api.Error{Code: api.CodeInstanceLost, Message: "the instance went away in the middle of its answer", Cause: err}
	}
	return &api.Error{Code: api.CodeInstanceLost, Message: "the instance does not answer", Cause: errors.Join(h1.ErrUnanswered, err)}
}
