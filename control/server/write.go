package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// maxRetries bounds how often an unconditional write meets another one.
const maxRetries = 50

func (s *Server) serveCreate(w http.ResponseWriter, r *http.Request, t target) error {
	opts, err := parseWriteOptions(r)
	if err != nil {
		return err
	}
	data, _, err := body(w, r, maxBody)
	if err != nil {
		return err
	}
	o, err := opts.fields(t.kind, nameIn(data), data, false)
	if err != nil {
		return err
	}
	o, err = s.create(r.Context(), t, o, &opts)
	if err != nil {
		return about(err, t.kind, metaText(o, "name"))
	}
	warn(w, opts.warnings)
	return s.answerObject(w, r, http.StatusCreated, t, o, s.hides(r.Context(), t))
}

// hides reports whether answers about t must be redacted for the caller.
func (s *Server) hides(ctx context.Context, t target) bool {
	return t.kind.Resource() == api.Secrets && !s.may(ctx, t.action("get"))
}

// nameIn finds the name in a body, for errors about it.
func nameIn(data []byte) string {
	var o struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal(data, &o) // no name then
	return o.Metadata.Name
}

// create admits and stores a new object.
func (s *Server) create(ctx context.Context, t target, o object, opts *writeOptions) (object, error) {
	m := meta(o)
	if t.kind.Namespaced {
		ns := metaText(o, "namespace")
		if ns != "" && t.namespace != "" && ns != t.namespace {
			return nil, badRequest("use -n "+ns+" or change it", "metadata.namespace %q is not the namespace of the path, %q", ns, t.namespace)
		}
		t.namespace = cmp.Or(t.namespace, ns, api.DefaultNamespace)
	}
	generated := t.name == "" && metaText(o, "name") == "" && metaText(o, "generateName") != ""
	if t.name == "" {
		t.name = metaText(o, "name")
	}
	for _, owned := range []string{"resourceVersion", "deletionTimestamp", "selfLink"} {
		delete(m, owned)
	}
	delete(m, "namespace")
	if t.kind.Namespaced {
		if err := s.namespaceActive(ctx, t.namespace); err != nil {
			return nil, err
		}
		m["namespace"] = t.namespace
	}
	m["uid"], m["creationTimestamp"] = newUID(), now()
	delete(m, "generation")
	if generations(t.kind) {
		m["generation"] = int64(1)
	}
	if t.kind.Status {
		delete(o, "status")
	}
	for range maxRetries {
		c := clone(o)
		if generated {
			t.name = metaText(o, "generateName") + randomSuffix()
		}
		meta(c)["name"] = t.name
		if t.name == "" {
			delete(meta(c), "name")
		}
		c, err := s.admit(ctx, t, c, nil, opts)
		if err != nil {
			return nil, err
		}
		if !opts.applied {
			if err := s.track(t, nil, c, opts.manager); err != nil {
				return nil, err
			}
		}
		if opts.dryRun {
			if _, err := s.cfg.Store.Get(ctx, t.key()); err == nil {
				return nil, exists(t)
			}
			return c, nil
		}
		value, err := write(c)
		if err != nil {
			return nil, err
		}
		rec, err := s.cfg.Store.Apply(ctx, t.key(), value, store.New)
		if api.IsCode(err, api.CodeExists) {
			if generated {
				continue
			}
			return nil, exists(t)
		}
		if err != nil {
			return nil, err
		}
		meta(c)["resourceVersion"] = version(rec.Revision)
		return c, nil
	}
	return nil, exists(t)
}

func exists(t target) error {
	return about(api.Errorf(api.CodeExists, "%s %q already exists", t.kind.Resource(), t.name), t.kind, t.name)
}

// namespaceActive refuses creation in namespaces that are absent or go away.
func (s *Server) namespaceActive(ctx context.Context, ns string) error {
	k, _ := s.byResource(api.Namespaces)
	o, _, err := s.get(ctx, target{kind: k, name: ns})
	if api.IsCode(err, api.CodeNotFound) {
		return about(api.Errorf(api.CodeNotFound, "namespaces %q not found", ns).WithHint("kubectl create namespace %s makes it", ns), k, ns)
	}
	if err != nil {
		return err
	}
	if deleting(o) {
		return &fail{
			err:  api.Errorf(api.CodeForbidden, "namespace %q is being deleted; nothing can be created in it", ns).WithHint("wait until it is gone, then create it again"),
			kind: k, name: ns, causes: []any{object{"reason": "NamespaceTerminating", "field": "metadata.namespace", "message": "namespace " + ns + " is being terminated"}},
		}
	}
	return nil
}

// update reads, changes and writes one object until no other write comes
// between. fn gets a copy of the live object and returns the wanted one; where
// it returns tracked the managed fields in it are final. A version in the
// wanted object must be the live one.
func (s *Server) update(ctx context.Context, t target, opts *writeOptions, fn func(live object) (o object, tracked bool, err error)) (object, error) {
	for range maxRetries {
		live, rev, err := s.get(ctx, t)
		if err != nil {
			return nil, err
		}
		api.Normal(t.kind, live)
		shown := clone(live)
		hide := s.hides(ctx, t)
		if hide {
			// What the caller may not read, a patch of theirs cannot copy or test.
			shown = redact(live)
		}
		o, tracked, err := fn(shown)
		if err != nil {
			return nil, err
		}
		if hide {
			keepApplied(o, live)
		}
		if rv := metaText(o, "resourceVersion"); rv != "" && rv != version(rev) {
			return nil, conflict(t)
		}
		if uid := metaText(o, "uid"); uid != "" && uid != metaText(live, "uid") {
			return nil, about(api.Errorf(api.CodeConflict, "the uid in the request is %s, but %s %q has %s", uid, t.kind.Singular, t.name, metaText(live, "uid")), t.kind, t.name)
		}
		if n := metaText(o, "name"); n != "" && n != t.name {
			return nil, badRequest("objects cannot be renamed", "metadata.name %q is not the name in the path, %q", n, t.name)
		}
		if ns := metaText(o, "namespace"); t.kind.Namespaced && ns != "" && ns != t.namespace {
			return nil, badRequest("objects cannot be moved", "metadata.namespace %q is not the namespace of the path, %q", ns, t.namespace)
		}
		if o, err = s.admit(ctx, t, keepOwned(t, o, live), live, opts); err != nil {
			return nil, err
		}
		if !tracked {
			if err := s.track(t, live, o, opts.manager); err != nil {
				return nil, err
			}
		}
		if opts.dryRun {
			return o, nil
		}
		done, err := s.put(ctx, t, o, rev)
		if api.IsCode(err, api.CodeConflict) {
			continue
		}
		return done, err
	}
	return nil, conflict(t)
}

// keepApplied puts back the annotation redact took away.
func keepApplied(o, live object) {
	was := text(live, "metadata", "annotations", annotationApplied)
	if was == "" || text(o, "metadata", "annotations", annotationApplied) != "" {
		return
	}
	a, ok := meta(o)["annotations"].(object)
	if !ok {
		a = object{}
		meta(o)["annotations"] = a
	}
	a[annotationApplied] = was
}

// put writes o over revision rev; one that is being deleted goes with its last
// finalizer.
func (s *Server) put(ctx context.Context, t target, o object, rev int64) (object, error) {
	if deleting(o) && len(metaList(o, "finalizers")) == 0 {
		rec, err := s.cfg.Store.Delete(ctx, t.key(), rev)
		if err != nil {
			return nil, err
		}
		meta(o)["resourceVersion"] = version(rec.Revision)
		return o, nil
	}
	value, err := write(o)
	if err != nil {
		return nil, err
	}
	rec, err := s.cfg.Store.Apply(ctx, t.key(), value, rev)
	if err != nil {
		return nil, err
	}
	meta(o)["resourceVersion"] = version(rec.Revision)
	return o, nil
}

func conflict(t target) error {
	return about(api.Errorf(api.CodeConflict, "%s %q was changed since it was read", t.kind.Resource(), t.name).
		WithHint("read it again and repeat the change"), t.kind, t.name)
}

func (s *Server) serveUpdate(w http.ResponseWriter, r *http.Request, t target) error {
	opts, err := parseWriteOptions(r)
	if err != nil {
		return err
	}
	data, _, err := body(w, r, maxBody)
	if err != nil {
		return err
	}
	o, err := opts.fields(t.kind, t.name, data, false)
	if err != nil {
		return err
	}
	if metaText(o, "resourceVersion") == "" {
		return invalid(t.kind, t.name, []api.FieldError{{Path: "metadata.resourceVersion", Message: "is needed to replace an object", Hint: "send back the one that was read, or use PATCH"}})
	}
	o, err = s.update(r.Context(), t, &opts, func(object) (object, bool, error) { return clone(o), false, nil })
	if err != nil {
		return err
	}
	warn(w, opts.warnings)
	return s.answerObject(w, r, http.StatusOK, t, o, s.hides(r.Context(), t))
}

// newUID makes a random UUID (version 4).
func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// randomSuffix ends a generated name: letters that spell no words.
func randomSuffix() string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	var b [5]byte
	_, _ = rand.Read(b[:]) // never fails
	for i, c := range b {
		b[i] = letters[int(c)%len(letters)]
	}
	return string(b[:])
}
