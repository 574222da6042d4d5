// Package registry is the image registry that hearth serves itself: the OCI
// distribution API over a folder. Repositories are NAMESPACE/NAME, and a
// caller's roles say what he may do there. It keeps and hands out bytes; fetching
// and unpacking images is driver/container/image's part.
//
//	registry.go   options, routes, credentials
//	name.go       names and digests, checked before they become paths
//	store.go      the folder: blobs, and what each repository has
//	blob.go       /blobs/
//	upload.go     /blobs/uploads/
//	manifest.go   /manifests/, /referrers/
//	list.go       /tags/list, /_catalog
//	sweep.go      what nobody needs is dropped
package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/identity"
)

// Resource is what identity decides about: verbs get, list, create and delete
// on images of a namespace.
const Resource = "images." + api.Group

// Options configure a Registry. Dir and Identity are needed.
type Options struct {
	Dir      string // everything is kept below it; made with mode 0700
	Identity identity.Provider
	Log      *slog.Logger // nil: none
	// Exists says whether a namespace is there; nil: all are. Images of one
	// that is gone are dropped.
	Exists func(ctx context.Context, namespace string) (bool, error)
	// Used says which digests are named by something outside, such as a
	// revision, sha256:…; a manifest that has lost its tag and is not among them
	// is dropped after Grace. nil: such manifests are kept.
	Used func(ctx context.Context) (map[string]bool, error)

	BlobLimit int64         // bytes of one blob; 0: 8 GiB
	Grace     time.Duration // before something nobody needs is dropped; 0: 1 h
}

// Registry is the image registry.
type Registry struct {
	o       Options
	files   *files
	uploads *uploads
}

// Open opens the registry in o.Dir; uploads a killed process left are dropped.
// One process opens a folder at a time. There is nothing to close.
func Open(o Options) (*Registry, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.BlobLimit, o.Grace = cmp.Or(o.BlobLimit, 8<<30), cmp.Or(o.Grace, time.Hour)
	f, err := openFiles(o.Dir)
	if err != nil {
		return nil, err
	}
	return &Registry{o: o, files: f, uploads: newUploads(f, o.BlobLimit)}, nil
}

// Run drops what nobody needs, every quarter of Grace, until ctx ends.
func (g *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(g.o.Grace / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if n, err := g.Sweep(ctx); err != nil && ctx.Err() == nil {
			g.o.Log.WarnContext(ctx, "images cannot be swept", "err", err)
		} else if n > 0 {
			g.o.Log.InfoContext(ctx, "images swept", "bytes", n)
		}
	}
}

// ServeHTTP serves /v2/. A caller shows a token as bearer, or as the password of
// any user, as docker login has it.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := g.o.Identity.Authenticate(r.Context(), tokenOf(r))
	if err != nil {
		w.Header().Set("WWW-Authenticate", `Basic realm="hearth"`)
		g.refuse(w, r, err)
		return
	}
	g.serve(w, r, func(verb string, n name) error {
		d, err := g.o.Identity.Authorize(r.Context(), c, identity.Action{Verb: verb, Resource: Resource, Namespace: n.namespace, Name: n.rest})
		if err != nil || d.Allowed {
			return err
		}
		return api.Errorf(api.CodeForbidden, "%s", cmp.Or(d.Reason, "no role grants this"))
	})
}

// Reader is a handler for this process, without credentials: it reads all
// repositories and changes none.
func (g *Registry) Reader() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.serve(w, r, func(verb string, _ name) error {
			if verb == "get" || verb == "list" {
				return nil
			}
			return api.Errorf(api.CodeForbidden, "this way in is for reading only")
		})
	})
}

func tokenOf(r *http.Request) string {
	if t, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return strings.TrimSpace(t)
	}
	_, password, _ := r.BasicAuth()
	return password
}

// call is a request to one repository.
type call struct {
	w   http.ResponseWriter
	r   *http.Request
	in  name
	may func(verb string, n name) error
}

func (g *Registry) serve(w http.ResponseWriter, r *http.Request, may func(verb string, n name) error) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := g.route(w, r, may); err != nil {
		g.refuse(w, r, err)
	}
}

func (g *Registry) route(w http.ResponseWriter, r *http.Request, may func(verb string, n name) error) error {
	path, ok := strings.CutPrefix(r.URL.Path, "/v2")
	if !ok {
		return errNoPath()
	}
	path = strings.TrimPrefix(path, "/")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case path == "" && reads:
		return answer(w, http.StatusOK, struct{}{})
	case path == "_catalog" && reads:
		return g.catalog(w, r, may)
	}
	repo, what, arg, err := split(path)
	if err != nil {
		return err
	}
	c := &call{w, r, repo, may}
	verb := "get"
	switch {
	case r.Method == http.MethodDelete:
		verb = "delete"
		if what == "uploads" {
			verb = "create"
		}
	case !reads || what == "uploads":
		verb = "create"
	case what == "tags" || what == "referrers":
		verb = "list"
	}
	if err := may(verb, repo); err != nil {
		return err
	}
	switch {
	case what == "tags" && arg == "list" && reads:
		return g.tags(c)
	case what == "referrers" && reads:
		return g.referrers(c, arg)
	case what == "manifests":
		return g.manifest(c, arg)
	case what == "uploads":
		return g.upload(c, arg)
	case what == "blobs":
		return g.blob(c, arg)
	}
	return errNoPath()
}

func errNoPath() error {
	return &failure{http.StatusNotFound, "UNSUPPORTED", "nothing is served at this path"}
}

func errMethod(r *http.Request) error {
	return &failure{http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method + " is not possible here"}
}

// failure is an error as the distribution API has it.
type failure struct {
	status  int
	code    string
	message string
}

func (f *failure) Error() string { return f.message }

// refuse writes an error.
func (g *Registry) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var f *failure
	if !errors.As(err, &f) {
		e := api.AsError(err)
		f = &failure{e.Code.Row().Status, "UNKNOWN", e.Message}
		switch e.Code {
		case api.CodeUnauthorized:
			f.code = "UNAUTHORIZED"
			f.message += `: docker login HOST -u hearth -p "$HEARTH_TOKEN", after eval "$(hearth env)"`
		case api.CodeForbidden:
			f.code = "DENIED"
		case api.CodeInternal, api.CodeDisk:
			if r.Context().Err() == nil {
				g.o.Log.ErrorContext(r.Context(), "registry", "method", r.Method, "path", r.URL.Path, "err", err, "cause", e.Cause)
			}
		}
	}
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	_ = answer(w, f.status, map[string]any{"errors": []one{{f.code, f.message}}})
}

func answer(w http.ResponseWriter, status int, v any) error {
	return answerAs(w, status, "application/json", v)
}

func answerAs(w http.ResponseWriter, status int, mediaType string, v any) error {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // who asked may be gone
	return nil
}
