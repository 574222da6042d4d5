package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// get reads one object.
func (s *Server) get(ctx context.Context, t target) (object, int64, error) {
	rec, err := s.cfg.Store.Get(ctx, t.key())
	if err != nil {
		return nil, 0, about(err, t.kind, t.name)
	}
	o, err := read(t.kind, rec)
	return o, rec.Revision, err
}

func (s *Server) serveGet(w http.ResponseWriter, r *http.Request, t target, hide bool) error {
	o, rev, err := s.get(r.Context(), t)
	if err != nil {
		return err
	}
	s.shown(r.Context(), t.kind, rev)
	return s.answerObject(w, r, http.StatusOK, t, o, hide)
}

// answerObject writes one object, as a table where the client asks for one.
func (s *Server) answerObject(w http.ResponseWriter, r *http.Request, code int, t target, o object, hide bool) error {
	if hide && t.kind.Resource() == api.Secrets {
		o = redact(o)
	}
	switch form := accepted(r); form {
	case formTable:
		w.Header().Set("Content-Type", "application/json")
		answer(w, code, table(t.kind, []object{o}, metaText(o, "resourceVersion"), "", r.URL.Query().Get("includeObject"), true))
	case formPartial:
		answer(w, code, partial(o))
	default:
		answer(w, code, o)
	}
	return nil
}

// page is where a list goes on.
type page struct {
	Revision  int64  `json:"r"`
	Namespace string `json:"ns,omitempty"`
	Name      string `json:"n"`
}

func parsePage(s string) (page, error) {
	var p page
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil || p.Name == "" || p.Revision < 0 {
		return p, badRequest("list again without it", "the continue token is malformed")
	}
	return p, nil
}

func (p page) token() string {
	b, _ := json.Marshal(p) // strings and a number
	return base64.RawURLEncoding.EncodeToString(b)
}

// list reads the objects sel selects, at most limit (0: all), and where the
// rest goes on.
func (s *Server) list(ctx context.Context, t target, sel selector, limit int, from string) (objs []object, rev int64, next string, err error) {
	if sel.name != "" && t.namespace != "" || sel.name != "" && !t.kind.Namespaced {
		return s.listOne(ctx, t, sel)
	}
	q := store.Query{Resource: t.kind.Resource(), Namespace: t.namespace, Limit: limit}
	if from != "" {
		p, err := parsePage(from)
		if err != nil {
			return nil, 0, "", err
		}
		q.After, q.At, rev = store.Key{Resource: q.Resource, Namespace: p.Namespace, Name: p.Name}, p.Revision, p.Revision
	}
	objs = []object{}
	for {
		l, err := s.cfg.Store.List(ctx, q)
		if err != nil {
			return nil, 0, "", err
		}
		if rev == 0 {
			rev = l.Revision
		}
		for i, rec := range l.Records {
			o, err := read(t.kind, rec)
			if err != nil {
				s.log.ErrorContext(ctx, "a stored object cannot be read", "key", rec.Key.String(), "error", err)
				continue
			}
			if !sel.selects(o) {
				continue
			}
			objs = append(objs, o)
			if limit > 0 && len(objs) == limit && (l.More || i < len(l.Records)-1) {
				return objs, rev, page{rev, rec.Key.Namespace, rec.Key.Name}.token(), nil
			}
		}
		if !l.More || len(l.Records) == 0 {
			return objs, rev, "", nil
		}
		q.After, q.At = l.Records[len(l.Records)-1].Key, rev
	}
}

// listOne is list where the name is known: kubectl waits and watches that way.
func (s *Server) listOne(ctx context.Context, t target, sel selector) ([]object, int64, string, error) {
	// The revision comes first, so that a watch from it misses nothing.
	l, err := s.cfg.Store.List(ctx, store.Query{Resource: t.kind.Resource(), Namespace: t.namespace, Limit: 1})
	if err != nil {
		return nil, 0, "", err
	}
	t.name = sel.name
	o, rev, err := s.get(ctx, t)
	switch {
	case api.IsCode(err, api.CodeNotFound):
		return []object{}, l.Revision, "", nil
	case err != nil:
		return nil, 0, "", err
	case !sel.selects(o):
		return []object{}, max(l.Revision, rev), "", nil
	}
	return []object{o}, max(l.Revision, rev), "", nil
}

func (s *Server) serveList(w http.ResponseWriter, r *http.Request, t target, hide bool) error {
	sel, err := s.parseSelector(r, t)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	limit := 0
	if v := q.Get("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 0 {
			return badRequest("a number such as 500", "limit=%q is not possible", v)
		}
	}
	objs, rev, next, err := s.list(r.Context(), t, sel, limit, q.Get("continue"))
	if err != nil {
		return err
	}
	s.shown(r.Context(), t.kind, rev)
	if hide && t.kind.Resource() == api.Secrets {
		for i, o := range objs {
			objs[i] = redact(o)
		}
	}
	form := accepted(r)
	if form == formTable {
		answer(w, http.StatusOK, table(t.kind, objs, version(rev), next, q.Get("includeObject"), true))
		return nil
	}
	items := make([]any, len(objs))
	for i, o := range objs {
		items[i] = o
		if form == formPartial {
			items[i] = partial(o)
		}
	}
	m := object{"resourceVersion": version(rev)}
	if next != "" {
		m["continue"] = next
	}
	l := object{"kind": t.kind.Kind + "List", "apiVersion": t.kind.APIVersion(), "metadata": m, "items": items}
	if form == formPartial {
		l["kind"], l["apiVersion"] = "PartialObjectMetadataList", "meta.k8s.io/v1"
	}
	answer(w, http.StatusOK, l)
	return nil
}
