package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/record"
)

// serveOwn serves what resource conventions have no place for: archives, logs,
// calls, and the state of hearth itself.
func (s *Server) serveOwn(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimPrefix(r.URL.Path, "/hearth/v1/")
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case path == "blobs" && r.Method == http.MethodPut:
		return s.putBlob(w, r)
	case strings.HasPrefix(path, "blobs/") && get:
		return s.getBlob(w, r, strings.TrimPrefix(path, "blobs/"))
	case path == "status" && get:
		return s.report(w, s.cfg.Status)
	case path == "doctor" && get:
		return s.report(w, s.cfg.Doctor)
	}
	if rest, ok := strings.CutPrefix(path, "namespaces/"); ok && get {
		ns, what, _ := strings.Cut(rest, "/")
		switch what {
		case "logs":
			return s.logs(w, r, ns)
		case "calls":
			return s.calls(w, r, ns)
		}
	}
	return api.Errorf(api.CodeNotFound, "nothing is served at this path").WithHint("kubectl get --raw / lists the paths")
}

func (s *Server) report(w http.ResponseWriter, fn func() any) error {
	if fn == nil {
		return api.Errorf(api.CodeUnsupported, "this server does not report that")
	}
	answer(w, http.StatusOK, fn())
	return nil
}

// putBlob keeps an uploaded archive.
func (s *Server) putBlob(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Blobs == nil {
		return api.Errorf(api.CodeUnsupported, "this server keeps no archives")
	}
	ns := r.URL.Query().Get("namespace")
	if ns == "" {
		ns = api.DefaultNamespace
	}
	if err := s.allow(r.Context(), identity.Action{Verb: "create", Resource: api.Functions, Namespace: ns}); err != nil {
		return err
	}
	tooLarge := api.Errorf(api.CodeTooLarge, "the archive is larger than %d bytes", s.cfg.BlobLimit).WithHint("leave out what the build can fetch, such as node_modules")
	if r.ContentLength > s.cfg.BlobLimit {
		return tooLarge
	}
	upload := &steady{r: http.MaxBytesReader(w, r.Body, s.cfg.BlobLimit), rc: http.NewResponseController(w)}
	info, err := s.cfg.Blobs.Put(r.Context(), upload)
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return tooLarge
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, os.ErrDeadlineExceeded):
		return badRequest("send it again", "the upload ended too early")
	case err != nil:
		return err
	}
	_ = upload.rc.SetReadDeadline(time.Time{})
	answer(w, http.StatusCreated, object{"digest": string(info.Digest), "size": info.Size})
	return nil
}

// steady reads an upload that may take long but must not stand still.
type steady struct {
	r  io.Reader
	rc *http.ResponseController
}

func (s *steady) Read(p []byte) (int, error) {
	_ = s.rc.SetReadDeadline(time.Now().Add(readWait)) // where the connection has deadlines
	return s.r.Read(p)
}

// getBlob sends a blob that an object the caller may read refers to.
func (s *Server) getBlob(w http.ResponseWriter, r *http.Request, digest string) error {
	if s.cfg.Blobs == nil {
		return api.Errorf(api.CodeUnsupported, "this server keeps no archives")
	}
	missing := api.Errorf(api.CodeNotFound, "no object you may read refers to this blob").WithHint("kubectl get functions -o yaml shows the digests in use")
	if !api.CheckDigest(digest) {
		return badRequest("sha256: and 64 hexadecimal digits", "%q is not a digest", digest)
	}
	ok, err := s.refersTo(r, digest)
	if err != nil {
		return err
	}
	if !ok {
		return missing
	}
	rd, info, err := s.cfg.Blobs.Open(r.Context(), blob.Digest(digest))
	if api.IsCode(err, api.CodeNotFound) {
		return missing
	}
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }() // read only
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size, 10))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, rd); err != nil {
		panic(http.ErrAbortHandler) // too late for a Status; the client sees a cut answer
	}
	return nil
}

// refersTo looks for digest in the functions and revisions the caller may read.
func (s *Server) refersTo(r *http.Request, digest string) (bool, error) {
	paths := map[string][]string{
		api.Functions: {"status.build.log", "status.build.source", "status.build.artifact", "spec.source.archive.blob"},
		api.Revisions: {"spec.artifact"},
	}
	allowed := map[string]bool{}
	for res, ps := range paths {
		k, _ := s.byResource(res)
		objs, _, _, err := s.list(r.Context(), target{kind: k}, selector{}, 0, "")
		if err != nil {
			return false, err
		}
		for _, o := range objs {
			for _, p := range ps {
				if v, _ := lookup(o, p).(string); v != digest {
					continue
				}
				ns := metaText(o, "namespace")
				ok, asked := allowed[res+ns]
				if !asked {
					ok = s.may(r.Context(), identity.Action{Verb: "get", Resource: res, Namespace: ns})
					allowed[res+ns] = ok
				}
				if ok {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// parseQuery reads which lines or calls are wanted.
func parseQuery(r *http.Request, ns string) (record.Query, error) {
	v := r.URL.Query()
	q := record.Query{
		Tenant: ns, Function: v.Get("function"), Revision: v.Get("revision"), Instance: v.Get("instance"), Request: v.Get("request"),
		Follow: v.Get("follow") == "true" || v.Get("follow") == "1", Errors: v.Get("errors") == "true" || v.Get("errors") == "1",
	}
	if l := v.Get("limit"); l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 0 || n > 100_000 {
			return q, badRequest("a number up to 100000", "limit=%q is not possible", l)
		}
		q.Limit = n
	}
	if since := v.Get("since"); since != "" {
		d, err := time.ParseDuration(since)
		if err == nil {
			q.Since = time.Now().Add(-d)
		} else if q.Since, err = time.Parse(time.RFC3339Nano, since); err != nil {
			return q, badRequest("a duration such as 10m, or a time such as 2026-01-02T15:04:05Z", "since=%q is not possible", since)
		}
	}
	return q, nil
}

func (s *Server) mayReadRecords(r *http.Request, q record.Query) error {
	if s.cfg.Records == nil {
		return api.Errorf(api.CodeUnsupported, "this server keeps no logs")
	}
	return s.allow(r.Context(), identity.Action{Verb: "get", Resource: api.Functions, Subresource: "logs", Namespace: q.Tenant, Name: q.Function})
}

// settle makes readable what happened just before: records are written in
// batches, and who asks right after a call expects to see it.
func (s *Server) settle(r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	_ = s.cfg.Records.Flush(ctx) // what is late is missing, as after a crash
}

// logs streams lines as one JSON object each.
func (s *Server) logs(w http.ResponseWriter, r *http.Request, ns string) error {
	q, err := parseQuery(r, ns)
	if err != nil {
		return err
	}
	if err := s.mayReadRecords(r, q); err != nil {
		return err
	}
	s.settle(r)
	ctx, cancel := s.untilClosed(r)
	defer cancel()
	flush := http.NewResponseController(w)
	next, stop := iter.Pull2(s.cfg.Records.Lines(ctx, q))
	defer stop()
	begin := func() error {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Cache-Control", "no-cache, private")
		w.WriteHeader(http.StatusOK)
		return flush.Flush()
	}
	started := false
	if q.Follow {
		// A follower learns at once that it is connected.
		if started = true; begin() != nil {
			return nil
		}
	}
	enc := json.NewEncoder(w)
	for {
		l, err, ok := next()
		if !ok {
			break
		}
		if err != nil {
			if !started {
				return err
			}
			if ctx.Err() == nil {
				_, o := statusObject(err)
				_ = enc.Encode(o) // the stream ends either way
			}
			return nil
		}
		if !started {
			if started = true; begin() != nil {
				return nil
			}
		}
		if q.Follow {
			_ = flush.SetWriteDeadline(time.Now().Add(writeWait)) // where the writer has deadlines
		}
		if enc.Encode(l) != nil {
			return nil // the client is gone
		}
		if q.Follow {
			if flush.Flush() != nil {
				return nil
			}
			_ = flush.SetWriteDeadline(time.Time{}) // HTTP/2 ends quiet streams as well
		}
	}
	if !started {
		return begin()
	}
	return nil
}

// calls lists call records, newest first.
func (s *Server) calls(w http.ResponseWriter, r *http.Request, ns string) error {
	q, err := parseQuery(r, ns)
	if err != nil {
		return err
	}
	if err := s.mayReadRecords(r, q); err != nil {
		return err
	}
	s.settle(r)
	calls, err := s.cfg.Records.Calls(r.Context(), q)
	if err != nil {
		return err
	}
	if calls == nil {
		calls = []record.Call{}
	}
	answer(w, http.StatusOK, calls)
	return nil
}

// serveInvoke hands a call to the gateway.
func (s *Server) serveInvoke(w http.ResponseWriter, r *http.Request, t target) error {
	if s.cfg.Invoke == nil {
		return api.Errorf(api.CodeUnsupported, "this server does not call functions").WithHint("call the gateway")
	}
	if err := s.allow(r.Context(), identity.Action{Verb: "invoke", Resource: api.Functions, Subresource: "invoke", Namespace: t.namespace, Name: t.name}); err != nil {
		return err
	}
	path, ok := invokedPath(r)
	if !ok {
		return badRequest("write the names as they are", "the names in the path must not be escaped")
	}
	r = r.Clone(r.Context())
	r.Header.Del("Authorization")
	r.Header.Set("X-Request-Id", requestID(r))
	s.cfg.Invoke.Invoke(w, r, t.namespace, t.name, path)
	return nil
}

// invokedPath is the part of the request's path behind …/functions/NAME/invoke,
// still escaped: it goes into a request line again. False means that the part
// before hides a slash, so that it does not name what was authorised.
func invokedPath(r *http.Request) (string, bool) {
	// "", apis, GROUP, VERSION, namespaces, NAMESPACE, functions, NAME, invoke, rest
	parts := strings.SplitN(r.URL.EscapedPath(), "/", 10)
	if len(parts) < 9 || parts[8] != "invoke" {
		return "", false
	}
	for _, p := range parts[:9] {
		if strings.Contains(p, "%") {
			return "", false
		}
	}
	if len(parts) == 9 {
		return "/", true
	}
	return "/" + parts[9], true
}
