package image

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// inProcess carries requests to a handler in this process, streaming.
type inProcess struct{ h http.Handler }

func (p inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	in := req.Clone(req.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI = req.URL.RequestURI()
	in.Host = req.URL.Host
	r, w := io.Pipe()
	a := &answer{header: http.Header{}, pipe: w, started: make(chan struct{})}
	go func() {
		defer func() {
			v := recover()
			if v != nil {
				a.WriteHeader(http.StatusInternalServerError)
				w.CloseWithError(fmt.Errorf("the registry's handler ended: %v", v))
			}
			a.WriteHeader(http.StatusOK)
			w.Close()
			in.Body.Close()
		}()
		p.h.ServeHTTP(a, in)
	}()
	select {
	case <-a.started:
	case <-req.Context().Done():
		r.CloseWithError(req.Context().Err())
		return nil, req.Context().Err()
	}
	res := &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.sent, Body: r, Request: req, ContentLength: -1,
	}
	if n, err := strconv.ParseInt(a.sent.Get("Content-Length"), 10, 64); err == nil {
		res.ContentLength = n
	}
	return res, nil
}

// answer is the handler's side.
type answer struct {
	header, sent http.Header
	status       int
	pipe         *io.PipeWriter
	once         sync.Once
	started      chan struct{}
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status = status
		a.sent = a.header.Clone()
		close(a.started)
	})
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.pipe.Write(p)
}
