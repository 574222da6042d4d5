package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
)

// maxWatch ends a watch whose client set no time; clients resume.
const maxWatch = time.Hour

// writeWait is how long one event may take to be written.
const writeWait = 30 * time.Second

// watcher writes one watch.
type watcher struct {
	s       *Server
	w       http.ResponseWriter
	flush   *http.ResponseController
	t       target
	sel     selector
	form    form
	include string
	hide    bool
	started bool // columns were sent
	// member says what is known of an object's membership, where it can change.
	member map[store.Key]bool
}

func (s *Server) serveWatch(w http.ResponseWriter, r *http.Request, t target, hide bool) error {
	sel, err := s.parseSelector(r, t)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	limit := maxWatch
	if v := q.Get("timeoutSeconds"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return badRequest("a number of seconds", "timeoutSeconds=%q is not possible", v)
		}
		if n > 0 {
			limit = min(limit, time.Duration(n)*time.Second)
		}
	}
	after := int64(0)
	if v := q.Get("resourceVersion"); v != "" {
		if after, err = strconv.ParseInt(v, 10, 64); err != nil || after < 0 {
			return badRequest("send back what a list gave", "resourceVersion=%q is not one of this server", v)
		}
	}
	initial := after == 0
	marked := false
	if v := q.Get("sendInitialEvents"); v != "" {
		marked = v == "true" || v == "1"
		initial = marked
		if q.Get("resourceVersionMatch") != "NotOlderThan" {
			return badRequest("add resourceVersionMatch=NotOlderThan", "sendInitialEvents needs resourceVersionMatch")
		}
	}
	ctx, cancel := s.untilClosed(r)
	defer cancel()
	ctx, cancelTime := context.WithTimeout(ctx, limit)
	defer cancelTime()

	wr := &watcher{s: s, w: w, flush: http.NewResponseController(w), t: t, sel: sel, form: accepted(r), include: q.Get("includeObject"), hide: hide}
	if !sel.fixed() {
		wr.member = map[store.Key]bool{}
	}
	var objs []object
	if initial || wr.member != nil || after == 0 {
		var rev int64
		if objs, rev, _, err = s.list(ctx, target{kind: t.kind, namespace: t.namespace}, wr.listSelector(), 0, ""); err != nil {
			return err
		}
		if initial || after == 0 {
			after = rev
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	if err := wr.flush.Flush(); err != nil {
		return nil // the client is gone
	}
	for _, o := range objs {
		key := store.Key{Resource: t.kind.Resource(), Namespace: metaText(o, "namespace"), Name: metaText(o, "name")}
		in := sel.selects(o)
		if rev, _ := strconv.ParseInt(metaText(o, "resourceVersion"), 10, 64); wr.member != nil && rev <= after {
			wr.member[key] = in
		}
		if initial && in && wr.send("ADDED", o) != nil {
			return nil
		}
	}
	if marked && wr.bookmark(after, true) != nil {
		return nil
	}
	wr.follow(ctx, after, q.Get("allowWatchBookmarks") == "true")
	return nil
}

// listSelector selects what a watch must know at its start: all objects where
// membership can change.
func (wr *watcher) listSelector() selector {
	if wr.member != nil {
		return selector{}
	}
	return wr.sel
}

// follow writes changes until ctx ends or the client is gone.
func (wr *watcher) follow(ctx context.Context, after int64, bookmarks bool) {
	q := store.Query{Resource: wr.t.kind.Resource(), Namespace: wr.t.namespace}
	if bookmarks {
		q.Marks = wr.s.cfg.Bookmarks
	}
	for ev, err := range wr.s.cfg.Store.Watch(ctx, q, after) {
		if err != nil {
			if ctx.Err() == nil {
				_, status := statusObject(err)
				_ = wr.line("ERROR", status) // the watch ends either way
			}
			return
		}
		if ev.Type == store.EventMark {
			if bookmarks && wr.bookmark(ev.Record.Revision, false) != nil {
				return
			}
			continue
		}
		o, err := read(wr.t.kind, ev.Record)
		if err != nil {
			wr.s.log.ErrorContext(ctx, "a stored object cannot be read", "key", ev.Record.Key.String(), "error", err)
			continue
		}
		kind := wr.change(ev, o)
		if kind == "" {
			continue
		}
		if wr.s.shown(ctx, wr.t.kind, ev.Record.Revision); wr.send(kind, o) != nil {
			return
		}
	}
}

// change says what a change of the store is for this watch: ADDED, MODIFIED,
// DELETED or nothing. An object whose membership before is not known (it changed
// between the resumed version and the start of the watch) counts as a member
// when it leaves: a DELETED too many is harmless, one too few is not.
func (wr *watcher) change(ev store.Event, o object) string {
	in := wr.sel.selects(o)
	was, known := true, false
	if wr.member != nil {
		was, known = wr.member[ev.Record.Key]
		if ev.Type == store.EventDelete {
			delete(wr.member, ev.Record.Key)
		} else {
			wr.member[ev.Record.Key] = in
		}
	}
	switch {
	case ev.Type == store.EventDelete:
		if in || known && was {
			return "DELETED"
		}
	case wr.member == nil:
		if in && ev.Created {
			return "ADDED"
		} else if in {
			return "MODIFIED"
		}
	case in && (ev.Created || known && !was):
		return "ADDED"
	case in:
		return "MODIFIED"
	case !ev.Created && (was || !known):
		return "DELETED"
	}
	return ""
}

func (wr *watcher) send(kind string, o object) error {
	if wr.hide && wr.t.kind.Resource() == api.Secrets {
		o = redact(o)
	}
	switch wr.form {
	case formTable:
		t := table(wr.t.kind, []object{o}, metaText(o, "resourceVersion"), "", wr.include, !wr.started)
		wr.started = true
		return wr.line(kind, t)
	case formPartial:
		return wr.line(kind, partial(o))
	}
	return wr.line(kind, o)
}

// bookmark tells the client where it is; end marks the last initial event.
func (wr *watcher) bookmark(rev int64, end bool) error {
	m := object{"resourceVersion": version(rev)}
	if end {
		m["annotations"] = object{"k8s.io/initial-events-end": "true"}
	}
	o := object{"kind": wr.t.kind.Kind, "apiVersion": wr.t.kind.APIVersion(), "metadata": m}
	switch wr.form {
	case formTable:
		t := table(wr.t.kind, nil, version(rev), "", wr.include, !wr.started)
		if end {
			t["rows"] = []any{object{"cells": []any{}, "object": partial(o)}}
		}
		return wr.line("BOOKMARK", t)
	case formPartial:
		return wr.line("BOOKMARK", partial(o))
	}
	return wr.line("BOOKMARK", o)
}

func (wr *watcher) line(kind string, o object) error {
	b, err := json.Marshal(object{"type": kind, "object": o})
	if err != nil {
		return err
	}
	// A client that reads nothing for this long resumes later. Writers without
	// deadlines (in tests) say so by an error that means nothing here.
	_ = wr.flush.SetWriteDeadline(time.Now().Add(writeWait))
	if _, err := wr.w.Write(append(b, '\n')); err != nil {
		return err
	}
	if err := wr.flush.Flush(); err != nil {
		return err
	}
	_ = wr.flush.SetWriteDeadline(time.Time{}) // HTTP/2 ends a quiet stream as well
	return nil
}

// untilClosed is the request's context, ended by Close as well.
func (s *Server) untilClosed(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	go func() {
		select {
		case <-s.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
