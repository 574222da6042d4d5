package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/hearth-run/hearth/api"
)

// path is where k's objects are, or the one called name.
func (c *Client) path(k api.Kind, namespace, name string) string {
	p := "/api/" + k.Version
	if k.Group != "" {
		p = "/apis/" + k.Group + "/" + k.Version
	}
	if k.Namespaced && namespace != "" {
		p += "/namespaces/" + url.PathEscape(namespace)
	}
	p += "/" + k.Plural
	if name != "" {
		p += "/" + url.PathEscape(name)
	}
	return p
}

// Get returns one object.
func (c *Client) Get(ctx context.Context, k api.Kind, name string) (Object, error) {
	return c.one(ctx, k, request{method: http.MethodGet, path: c.path(k, c.namespace, name)})
}

func (c *Client) one(ctx context.Context, k api.Kind, r request) (Object, error) {
	data, err := c.raw(ctx, r)
	if err != nil {
		return Object{}, err
	}
	return object(k, data)
}

// ListOptions select objects. The zero value selects all of the namespace.
type ListOptions struct {
	AllNamespaces bool
	Labels        string // label selector: app=shop,tier!=web
	Fields        string // field selector: metadata.name=hello
}

func (o ListOptions) query() url.Values {
	q := url.Values{}
	if o.Labels != "" {
		q.Set("labelSelector", o.Labels)
	}
	if o.Fields != "" {
		q.Set("fieldSelector", o.Fields)
	}
	return q
}

func (c *Client) scope(o ListOptions) string {
	if o.AllNamespaces {
		return ""
	}
	return c.namespace
}

// List is the answer of Client.List.
type List struct {
	Items    []Object
	Revision string // of the whole list: watch from here
}

// List returns the objects selected, read in pages.
func (c *Client) List(ctx context.Context, k api.Kind, o ListOptions) (List, error) {
	q := o.query()
	q.Set("limit", "500")
	var out List
	for {
		var page struct {
			Metadata struct {
				ResourceVersion string `json:"resourceVersion"`
				Continue        string `json:"continue"`
			} `json:"metadata"`
			Items []json.RawMessage `json:"items"`
		}
		if err := c.do(ctx, request{method: http.MethodGet, path: c.path(k, c.scope(o), ""), query: q}, &page); err != nil {
			return List{}, err
		}
		for _, item := range page.Items {
			obj, err := object(k, item)
			if err != nil {
				return List{}, err
			}
			out.Items = append(out.Items, obj)
		}
		out.Revision = page.Metadata.ResourceVersion
		if page.Metadata.Continue == "" {
			return out, nil
		}
		q.Set("continue", page.Metadata.Continue)
	}
}

// WriteOptions change how a write is done.
type WriteOptions struct {
	DryRun bool // everything but keeping it
	Force  bool // Apply only: take fields that other managers own
	// IfRevision, for Delete: only if this still is the object's version.
	IfRevision string
}

func (c *Client) writeQuery(o WriteOptions) url.Values {
	q := url.Values{"fieldManager": {c.manager}}
	if o.DryRun {
		q.Set("dryRun", "All")
	}
	if o.Force {
		q.Set("force", "true")
	}
	return q
}

// Apply makes the object name be what body, a complete JSON manifest, says:
// server-side apply. It is created when it is not there. With a resourceVersion
// in its metadata it is written only if that is still the object's version
// (else api.CodeConflict).
func (c *Client) Apply(ctx context.Context, k api.Kind, name string, body []byte, o WriteOptions) (Object, error) {
	q := c.writeQuery(o)
	q.Set("fieldValidation", "Strict")
	return c.one(ctx, k, c.json(http.MethodPatch, c.path(k, c.namespace, name), q, body, "application/apply-patch+yaml"))
}

// Create makes a new object of body, a JSON manifest.
func (c *Client) Create(ctx context.Context, k api.Kind, body []byte, o WriteOptions) (Object, error) {
	o.Force = false
	q := c.writeQuery(o)
	q.Set("fieldValidation", "Strict")
	return c.one(ctx, k, c.json(http.MethodPost, c.path(k, c.namespace, ""), q, body, "application/json"))
}

// Patch changes an object by a JSON merge patch.
func (c *Client) Patch(ctx context.Context, k api.Kind, name string, patch []byte, o WriteOptions) (Object, error) {
	o.Force = false
	return c.one(ctx, k, c.json(http.MethodPatch, c.path(k, c.namespace, name), c.writeQuery(o), patch, "application/merge-patch+json"))
}

// Delete removes an object; what belongs to it goes with it.
func (c *Client) Delete(ctx context.Context, k api.Kind, name string, o WriteOptions) error {
	body := map[string]any{"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
	if o.IfRevision != "" {
		body["preconditions"] = map[string]any{"resourceVersion": o.IfRevision}
	}
	q := url.Values{}
	if o.DryRun {
		q.Set("dryRun", "All")
		body["dryRun"] = []string{"All"}
	}
	data, _ := json.Marshal(body) // maps of strings always marshal
	return c.do(ctx, c.json(http.MethodDelete, c.path(k, c.namespace, name), q, data, "application/json"), nil)
}

// EventType says what a watch event is about.
type EventType string

// The event types of a watch.
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
	bookmark EventType = "BOOKMARK"
)

// Event is one change of an object.
type Event struct {
	Type   EventType
	Object Object // as it is after the change; for Deleted as it was
}

// Watch yields the changes of the objects selected after revision (empty: the
// present objects first, as Added). It goes on across closed connections, each
// change once, until ctx ends or the consumer stops; both end it without an
// error. api.CodeGone means: list again and watch from there.
func (c *Client) Watch(ctx context.Context, k api.Kind, o ListOptions, revision string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for tries := 0; ctx.Err() == nil; tries++ {
			progressed, err := c.watchOnce(ctx, k, o, &revision, yield)
			if errors.Is(err, errStop) || ctx.Err() != nil {
				return
			}
			if progressed {
				tries = 0
			}
			if err == nil && tries < 5 { // the connection ended: go on from there
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(tries) * 200 * time.Millisecond):
				}
				continue
			}
			if err == nil {
				err = api.Errorf(api.CodeUnreachable, "cannot follow %s: the server closes every watch", k.Plural)
			}
			yield(Event{}, err)
			return
		}
	}
}

// malformed reports whether err is about what was read, not about reading.
func malformed(err error) bool {
	var syntax *json.SyntaxError
	var typed *json.UnmarshalTypeError
	return errors.As(err, &syntax) || errors.As(err, &typed)
}

var errStop = errors.New("the consumer stopped")

func (c *Client) watchOnce(ctx context.Context, k api.Kind, o ListOptions, revision *string, yield func(Event, error) bool) (progressed bool, err error) {
	q := o.query()
	q.Set("watch", "true")
	q.Set("allowWatchBookmarks", "true")
	if *revision != "" {
		q.Set("resourceVersion", *revision)
	}
	res, err := c.send(ctx, request{method: http.MethodGet, path: c.path(k, c.scope(o), ""), query: q})
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return false, failure(res)
	}
	dec := json.NewDecoder(bufio.NewReader(res.Body))
	for {
		var e struct {
			Type   EventType       `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		switch err := dec.Decode(&e); {
		case err != nil && malformed(err):
			return progressed, api.Errorf(api.CodeInternal, "the watch of %s yields something that is no JSON: %w", k.Plural, err)
		case err != nil:
			return progressed, nil // closed, or broken on the way
		}
		if e.Type == "ERROR" {
			var s struct{ Code int }
			_ = json.Unmarshal(e.Object, &s) // what cannot be read stays 0: internal
			return progressed, decodeFailure(s.Code, nil, e.Object)
		}
		obj, err := object(k, e.Object)
		if err != nil {
			return progressed, err
		}
		progressed, *revision = true, obj.Meta.ResourceVersion
		if e.Type != bookmark && !yield(Event{e.Type, obj}, nil) {
			return progressed, errStop
		}
	}
}

func limit(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}
