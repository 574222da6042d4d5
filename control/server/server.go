package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/core/store"
)

// Config is what a Server stands on. Store and Identity are needed.
type Config struct {
	Store    store.Store
	Identity identity.Provider
	Blobs    blob.Store   // nil: no uploads
	Records  record.Store // nil: no logs
	Kinds    []api.Kind   // that are served, native ones first; nil: api.Kinds()
	Invoke   Invoker      // nil: no calls through the API
	Metrics  http.Handler // answers /metrics; nil: 404
	Log      *slog.Logger // nil: none
	Version  string       // of hearth
	// Status and Doctor give what /hearth/v1/status and /hearth/v1/doctor
	// answer, as values encoding/json can write; nil: 501.
	Status func() any
	Doctor func() any
	// Shown waits, for a moment at most, until what was stored up to a revision
	// is in force: what an answer shows is then what calls meet. nil: no wait.
	Shown func(ctx context.Context, revision int64)
	// Ready says why the server is not ready yet, for /readyz; nil: it is.
	Ready func() error

	BlobLimit int64         // bytes of one upload; 0: 256 MiB
	EventTTL  time.Duration // how long events are kept; 0: 1 h
	Bookmarks time.Duration // between bookmarks of a quiet watch; 0: 30 s
}

// Invoker calls a function; the gateway is one. The request's method, headers,
// query and body are the caller's, without the API's credentials; path is what
// the function sees, escaped as in a request line and without the query.
type Invoker interface {
	Invoke(w http.ResponseWriter, r *http.Request, namespace, function, path string)
}

// Server is the API, an http.Handler. Its loop runs in Run; Close ends its
// watches.
type Server struct {
	cfg   Config
	kinds []api.Kind
	log   *slog.Logger
	// What follows is made when it is first asked for: a start should not wait
	// for the schemas of kinds nobody uses.
	fields map[string]func() fieldTypes // by resource, for server-side apply
	schema map[string]func() object     // by resource
	open   func() (openAPI, error)
	done   chan struct{}

	started string // when, as in metadata
	once    sync.Once
}

// New makes a server and the namespace default where it is missing.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Identity == nil {
		return nil, errors.New("server: a store and an identity provider are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.BlobLimit == 0 {
		cfg.BlobLimit = 256 << 20
	}
	if cfg.EventTTL == 0 {
		cfg.EventTTL = time.Hour
	}
	if cfg.Bookmarks == 0 {
		cfg.Bookmarks = 30 * time.Second
	}
	if cfg.Kinds == nil {
		cfg.Kinds = api.Kinds()
	}
	s := &Server{
		cfg: cfg, kinds: cfg.Kinds, log: cfg.Log, done: make(chan struct{}), started: now(),
		fields: map[string]func() fieldTypes{}, schema: map[string]func() object{},
		open: sync.OnceValues(func() (openAPI, error) { return newOpenAPI(cfg.Kinds, cfg.Version) }),
	}
	for _, k := range s.kinds {
		schema := sync.OnceValue(func() object { return k.Schema() })
		s.schema[k.Resource()] = schema
		s.fields[k.Resource()] = sync.OnceValue(func() fieldTypes { return newFieldTypes(schema()) })
	}
	return s, s.ensureDefault(context.Background())
}

// shown waits until what an answer about k shows is in force, where k has a
// status that could say so.
func (s *Server) shown(ctx context.Context, k api.Kind, revision int64) {
	if s.cfg.Shown != nil && k.Status {
		s.cfg.Shown(ctx, revision)
	}
}

// Close ends every watch and followed log, so that an http.Server can shut
// down. Requests that come later still work. Closing twice is no error.
func (s *Server) Close() { s.once.Do(func() { close(s.done) }) }

// ensureDefault makes the namespace that always exists.
func (s *Server) ensureDefault(ctx context.Context) error {
	k, _ := s.byResource(api.Namespaces)
	t := target{kind: k, name: api.DefaultNamespace}
	_, err := s.create(ctx, t, object{"metadata": object{"name": t.name}}, &writeOptions{manager: "hearth"})
	if err != nil && !api.IsCode(err, api.CodeExists) {
		return fmt.Errorf("server: make namespace %s: %w", t.name, err)
	}
	return nil
}

type contextKey int

const (
	keyRequest contextKey = iota
	keyCaller
)

func requestID(r *http.Request) string {
	id, _ := r.Context().Value(keyRequest).(string)
	return id
}

func callerOf(ctx context.Context) identity.Caller {
	c, _ := ctx.Value(keyCaller).(identity.Caller)
	return c
}

// newRequestID keeps the client's id where it is a plain short word.
func newRequestID(given string) string {
	ok := given != "" && len(given) <= 64
	for i := range len(given) {
		c := given[i]
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if ok {
		return given
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := newRequestID(r.Header.Get("X-Request-Id"))
	w.Header().Set("X-Request-Id", id)
	w.Header().Set("Audit-Id", id) // where clients of the API look for it
	ctx := context.WithValue(r.Context(), keyRequest, id)
	r = r.WithContext(ctx)
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v)
		}
		s.log.ErrorContext(ctx, "request panicked", "request", id, "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
		_, o := statusObject(api.Errorf(api.CodeInternal, "internal error"))
		answer(w, http.StatusInternalServerError, o)
	}()
	if err := s.serve(w, r); err != nil {
		s.refuse(w, r, err)
	}
}

// serve routes a request. An error it returns is written as a Status.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.Path
	if path == "/version" {
		return s.serveVersion(w, r)
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	caller, err := s.cfg.Identity.Authenticate(r.Context(), strings.TrimSpace(token))
	if err != nil {
		return err
	}
	r = r.WithContext(context.WithValue(r.Context(), keyCaller, caller))
	r.Header.Del("Authorization")
	switch {
	case path == "/healthz", path == "/livez", path == "/readyz":
		return s.serveHealth(w, r)
	case path == "/metrics" && s.cfg.Metrics != nil:
		s.cfg.Metrics.ServeHTTP(w, r)
		return nil
	case strings.HasPrefix(path, "/openapi/"):
		return s.serveOpenAPI(w, r)
	case strings.HasPrefix(path, "/hearth/v1/"):
		return s.serveOwn(w, r)
	case path == "/", path == "/api", path == "/api/", path == "/apis", path == "/apis/":
		return s.serveDiscovery(w, r)
	}
	if rest, ok := strings.CutPrefix(path, "/api/"); ok {
		version, rest, _ := strings.Cut(rest, "/")
		return s.serveGroup(w, r, "", version, rest)
	}
	if rest, ok := strings.CutPrefix(path, "/apis/"); ok {
		group, rest, _ := strings.Cut(rest, "/")
		version, rest, _ := strings.Cut(rest, "/")
		return s.serveGroup(w, r, group, version, rest)
	}
	return api.Errorf(api.CodeNotFound, "nothing is served at this path").WithHint("kubectl get --raw / lists the paths")
}

func (s *Server) serveGroup(w http.ResponseWriter, r *http.Request, group, version, rest string) error {
	if group == groupAuthorization || group == groupAuthentication {
		return s.serveReviews(w, r, group, version, rest)
	}
	if group == groupExtensions && rest != "" {
		return s.serveDefinitions(w, r, version, rest)
	}
	if rest == "" {
		return s.serveResources(w, group, version)
	}
	t, err := s.parseTarget(group, version, rest)
	if err != nil {
		return err
	}
	return about(s.serveTarget(w, r, t), t.kind, t.name)
}

// serveTarget authorises the request and does its verb.
func (s *Server) serveTarget(w http.ResponseWriter, r *http.Request, t target) error {
	if t.sub == "invoke" {
		return s.serveInvoke(w, r, t)
	}
	v := verb(r, t)
	hide := false
	if v != "" {
		var err error
		if hide, err = s.authorize(r.Context(), t, v); err != nil {
			return err
		}
	}
	switch {
	case v == "watch":
		return s.serveWatch(w, r, t, hide)
	case v == "list":
		return s.serveList(w, r, t, hide)
	case v == "get":
		return s.serveGet(w, r, t, hide)
	case v == "create" && t.name == "":
		return s.serveCreate(w, r, t)
	case v == "update" && t.name != "":
		return s.serveUpdate(w, r, t)
	case v == "patch" && t.name != "":
		return s.servePatch(w, r, t)
	case v == "delete" && t.name == "":
		return s.serveDeleteAll(w, r, t)
	case v == "delete" && t.sub == "":
		return s.serveDelete(w, r, t)
	}
	return &fail{
		err:    api.Errorf(api.CodeUnsupported, "%s is not possible on this path", r.Method).WithHint("kubectl api-resources -o wide lists the verbs"),
		status: http.StatusMethodNotAllowed,
	}
}

func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path == "/readyz" && s.cfg.Ready != nil {
		if err := s.cfg.Ready(); err != nil {
			return api.Errorf(api.CodeNotReady, "not ready: %w", err)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok"))
	return nil
}
