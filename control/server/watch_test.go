package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/driver/memory"
)

// stream is an open watch.
type stream struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Reader
}

func (w *world) watch(path string, accept string) *stream {
	w.t.Helper()
	req, err := http.NewRequest("GET", w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	res, err := w.http.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	if res.StatusCode != 200 {
		text, _ := io.ReadAll(res.Body)
		w.t.Fatalf("watch %s: %d %s", path, res.StatusCode, text)
	}
	s := &stream{t: w.t, body: res.Body, in: bufio.NewReader(res.Body)}
	w.t.Cleanup(func() { _ = res.Body.Close() })
	return s
}

// next reads one event as "TYPE name".
func (s *stream) next() (string, m) {
	s.t.Helper()
	line, err := s.in.ReadBytes('\n')
	if err != nil {
		s.t.Fatalf("the watch ended: %v", err)
	}
	var e m
	if err := json.Unmarshal(line, &e); err != nil {
		s.t.Fatalf("%s: %v", line, err)
	}
	name, _ := at(e, "object", "metadata", "name").(string)
	return strings.TrimSpace(fmt.Sprint(e["type"], " ", name)), e["object"].(m)
}

func (s *stream) want(events ...string) m {
	s.t.Helper()
	var o m
	for _, e := range events {
		var got string
		if got, o = s.next(); got != e {
			s.t.Fatalf("got %q, want %q: %v", got, e, o)
		}
	}
	return o
}

func (s *stream) end() {
	s.t.Helper()
	if line, err := s.in.ReadString('\n'); err != io.EOF {
		s.t.Fatalf("the watch goes on: %q %v", line, err)
	}
}

func TestWatch(t *testing.T) {
	w := newWorld(t)
	w.want(201, "POST", cmPath, "", configMap("a"))
	rv := at(w.want(200, "GET", cmPath, "", nil), "metadata", "resourceVersion")
	fromStart := w.watch(cmPath+"?watch=true", "")
	fromList := w.watch(cmPath+fmt.Sprintf("?watch=1&resourceVersion=%v", rv), "")
	one := w.watch(cmPath+"?watch=1&fieldSelector=metadata.name%3Db", "")
	single := w.watch(cmPath+"/a?watch=1", "")
	fromStart.want("ADDED a")
	single.want("ADDED a")
	w.want(201, "POST", cmPath, "", configMap("b"))
	w.want(200, "PATCH", cmPath+"/b", merge, m{"data": m{"a": "2"}})
	w.want(201, "POST", secPath, "", m{"metadata": m{"name": "s"}})
	w.want(200, "DELETE", cmPath+"/b", "", nil)
	for _, s := range []*stream{fromStart, fromList, one} {
		s.want("ADDED b")
		mod := s.want("MODIFIED b")
		gone := s.want("DELETED b")
		if at(gone, "data", "a") != "2" || at(gone, "metadata", "resourceVersion") == at(mod, "metadata", "resourceVersion") {
			t.Errorf("a deletion carries the last state and its own version: %v", gone)
		}
	}
	// Resuming repeats what came after, nothing more.
	w.watch(cmPath+fmt.Sprintf("?watch=1&resourceVersion=%v", rv), "").want("ADDED b", "MODIFIED b", "DELETED b")
	w.want(200, "DELETE", cmPath+"/a", "", nil)
	single.want("DELETED a")
}

// TestWatchBySelector holds that objects enter and leave a selection.
func TestWatchBySelector(t *testing.T) {
	w := newWorld(t)
	c := configMap("a")
	c["metadata"].(m)["labels"] = m{"on": "yes"}
	w.want(201, "POST", cmPath, "", c)
	w.want(201, "POST", cmPath, "", configMap("never"))
	rv := at(w.want(200, "GET", cmPath, "", nil), "metadata", "resourceVersion")
	all := w.watch(cmPath+"?watch=1&labelSelector=on%3Dyes", "")
	resumed := w.watch(cmPath+fmt.Sprintf("?watch=1&labelSelector=on%%3Dyes&resourceVersion=%v", rv), "")
	all.want("ADDED a")
	w.want(200, "PATCH", cmPath+"/never", merge, m{"data": m{"a": "2"}})
	w.want(200, "PATCH", cmPath+"/a", merge, m{"metadata": m{"labels": m{"on": "no"}}})
	w.want(200, "PATCH", cmPath+"/a", merge, m{"data": m{"a": "3"}})
	w.want(200, "PATCH", cmPath+"/a", merge, m{"metadata": m{"labels": m{"on": "yes"}}})
	w.want(200, "PATCH", cmPath+"/a", merge, m{"data": m{"a": "4"}})
	w.want(200, "DELETE", cmPath+"/never", "", nil)
	w.want(200, "DELETE", cmPath+"/a", "", nil)
	for _, s := range []*stream{all, resumed} {
		s.want("DELETED a", "ADDED a", "MODIFIED a", "DELETED a")
	}
	// Resumed late, what left the selection meanwhile is reported as gone.
	late := w.watch(cmPath+fmt.Sprintf("?watch=1&labelSelector=on%%3Dyes&resourceVersion=%v", rv), "")
	seen := ""
	for range 6 {
		e, _ := late.next()
		seen += e + ","
		if strings.HasSuffix(seen, "MODIFIED a,DELETED a,") || strings.HasSuffix(seen, "MODIFIED a,DELETED never,DELETED a,") {
			break
		}
	}
	if !strings.Contains(seen, "DELETED a,ADDED a,MODIFIED a,") {
		t.Errorf("resumed late: %s", seen)
	}
}

func TestWatchBookmarksAndInitialEvents(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Bookmarks = 20 * time.Millisecond })
	w.want(201, "POST", cmPath, "", configMap("a"))
	s := w.watch(cmPath+"?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", "")
	s.want("ADDED a")
	b := s.want("BOOKMARK")
	if at(b, "metadata", "annotations", "k8s.io/initial-events-end") != "true" || b["kind"] != "ConfigMap" {
		t.Errorf("the end of the initial events: %v", b)
	}
	// Versions of other kinds move the bookmark on.
	o := w.want(201, "POST", secPath, "", m{"metadata": m{"name": "s"}})
	for {
		e, b := s.next()
		if e != "BOOKMARK" {
			t.Fatalf("got %s", e)
		}
		if at(b, "metadata", "resourceVersion") == at(o, "metadata", "resourceVersion") {
			break
		}
	}
	w.want(400, "GET", cmPath+"?watch=1&sendInitialEvents=true", "", nil)
}

func TestWatchEnds(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Store = memory.NewStore(memory.History(5)) })
	w.watch(cmPath+"?watch=1&timeoutSeconds=1", "").end()
	w.want(201, "POST", cmPath, "", configMap("a"))
	for i := range 20 {
		w.want(200, "PATCH", cmPath+"/a", merge, m{"data": m{"a": fmt.Sprint(i)}})
	}
	s := w.watch(cmPath+"?watch=1&resourceVersion=1", "")
	gone := s.want("ERROR")
	if gone["kind"] != "Status" || gone["code"] != 410.0 || gone["reason"] != "Expired" {
		t.Errorf("got %v", gone)
	}
	s.end()
	// A version this store never had is one of another store.
	w.watch(cmPath+"?watch=1&resourceVersion=100000", "").want("ERROR")
	open := w.watch(cmPath+"?watch=1", "")
	open.want("ADDED a")
	w.srv.Close()
	open.end()
}

func TestWatchTables(t *testing.T) {
	w := newWorld(t)
	s := w.watch(fnPath+"?watch=1", "application/json;as=Table;v=v1;g=meta.k8s.io")
	w.want(201, "POST", fnPath, "", function("a"))
	w.want(201, "POST", fnPath, "", function("b"))
	_, first := s.next()
	_, second := s.next()
	if first["kind"] != "Table" || first["columnDefinitions"] == nil || at(first, "rows", 0, "cells", 0) != "a" {
		t.Errorf("first: %v", first)
	}
	if second["columnDefinitions"] != nil || at(second, "rows", 0, "cells", 0) != "b" {
		t.Errorf("second: %v", second)
	}
}

func TestWatchHidesSecrets(t *testing.T) {
	w := newWorld(t)
	s := w.as(t, "editor").watch(secPath+"?watch=1", "")
	w.want(201, "POST", secPath, "", m{"metadata": m{"name": "s"}, "stringData": m{"a": "b"}})
	if o := s.want("ADDED s"); at(o, "data", "a") == "Yg==" || at(o, "data", "a") == nil {
		t.Errorf("an editor sees %v", o)
	}
	w.as(t, "viewer").want(403, "GET", secPath+"?watch=1", "", nil)
}
