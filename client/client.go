package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/api"
)

// maxAnswer bounds what is read of one answer of the API; blobs, logs and
// function bodies are streamed instead.
const maxAnswer = 256 << 20

// Config says where a server is and how to reach it.
type Config struct {
	URL       string // https://localhost:4000, without a path
	CA        []byte // PEM certificates to trust; empty: the system's
	Token     string // bearer token; empty: none
	Namespace string // empty: default
	Manager   string // field manager of writes; empty: hearth
}

// Client calls one server. Make it with New.
type Client struct {
	base      *url.URL
	http      *http.Client
	token     string
	namespace string
	manager   string
}

// New checks c and makes a Client. It does not connect.
func New(c Config) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(c.URL, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, api.Errorf(api.CodeUsage, "%q is not the address of a server", c.URL).WithHint("such as https://localhost:4000")
	}
	t := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       30 * time.Second,
		ForceAttemptHTTP2:     true,
		ResponseHeaderTimeout: 0, // a call may take as long as its function's timeout
		Proxy:                 http.ProxyFromEnvironment,
	}
	if len(c.CA) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(c.CA) {
			return nil, api.Errorf(api.CodeUsage, "the certificate to trust is not PEM")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if c.Namespace == "" {
		c.Namespace = api.DefaultNamespace
	}
	if c.Manager == "" {
		c.Manager = "hearth"
	}
	h := &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &Client{base: u, http: h, token: c.Token, namespace: c.Namespace, manager: c.Manager}, nil
}

// In returns a client for another namespace that shares c's connections.
func (c *Client) In(namespace string) *Client {
	d := *c
	if d.namespace = namespace; namespace == "" {
		d.namespace = api.DefaultNamespace
	}
	return &d
}

// Namespace is the tenant c works in.
func (c *Client) Namespace() string { return c.namespace }

// URL is the server's address.
func (c *Client) URL() string { return c.base.String() }

// Close closes idle connections. The client can be used again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request describes one call of the API.
type request struct {
	method string
	path   string // already escaped
	query  url.Values
	header http.Header
	body   io.Reader
	kind   string // Content-Type
}

// send performs r and returns the answer, of whatever status.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	u := c.base.String() + r.path
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u, r.body)
	if err != nil {
		return nil, api.Errorf(api.CodeUsage, "cannot call %s: %w", u, err)
	}
	for k, v := range r.header {
		req.Header[k] = v
		if k == "Host" && len(v) > 0 {
			req.Host = v[0]
		}
	}
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "hearth")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return res, nil
}

// do performs r and decodes a JSON answer into out, which may be nil.
func (c *Client) do(ctx context.Context, r request, out any) error {
	data, err := c.raw(ctx, r)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(data, out); err != nil {
		return api.Errorf(api.CodeInternal, "%s answered something that is not the API's JSON: %w", c.base.Host, err).
			WithHint("is %s the address of a hearth API?", c.base)
	}
	return nil
}

// raw performs r and returns the body of a successful answer.
func (c *Client) raw(ctx context.Context, r request) ([]byte, error) {
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set("Accept", "application/json")
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return nil, failure(res)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, c.unreachable(ctx, err)
	case len(data) > maxAnswer:
		return nil, api.Errorf(api.CodeTooLarge, "the answer of %s is larger than %d MiB", r.path, maxAnswer>>20).WithHint("ask for fewer objects")
	}
	return data, nil
}

func (c *Client) json(method, path string, query url.Values, body []byte, kind string) request {
	return request{method: method, path: path, query: query, body: bytes.NewReader(body), kind: kind}
}

// unreachable explains a connection that failed. A context that ended is
// returned as it is.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	why := err.Error()
	e := api.Errorf(api.CodeUnreachable, "").WithCause(err)
	var unknown x509.UnknownAuthorityError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "nothing listens there"
	case errors.As(err, &unknown), errors.As(err, &verify):
		why = "its certificate is not trusted (" + why + ")"
		e.Hint = `eval "$(hearth env)" sets HEARTH_CA`
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		why = "the connection was closed"
	case strings.Contains(why, "server gave HTTP response to HTTPS client"):
		why, e.Hint = "it does not speak HTTPS", "try http://"+c.base.Host
	}
	e.Message = fmt.Sprintf("cannot reach hearth at %s: %s", c.base, why)
	return e
}
