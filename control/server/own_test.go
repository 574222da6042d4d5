package server_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/driver/memory"
)

func TestBlobs(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Blobs, c.BlobLimit = memory.NewBlobs(), 1000 })
	content := []byte("an archive")
	sum := sha256.Sum256(content)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	o := w.want(201, "PUT", "/hearth/v1/blobs", "application/octet-stream", content)
	if o["digest"] != digest || o["size"] != 10.0 {
		t.Errorf("got %v", o)
	}
	w.want(413, "PUT", "/hearth/v1/blobs", "", bytes.Repeat([]byte("x"), 1001))
	w.want(413, "PUT", "/hearth/v1/blobs", "", io.MultiReader(bytes.NewReader(bytes.Repeat([]byte("x"), 5000)))) // of no declared length
	w.as(t, "viewer").want(403, "PUT", "/hearth/v1/blobs", "", content)
	w.as(t, "shop").want(403, "PUT", "/hearth/v1/blobs", "", content)
	w.as(t, "shop").want(201, "PUT", "/hearth/v1/blobs?namespace=shop", "", content)
	// It can be read once something the caller may read refers to it.
	w.want(404, "GET", "/hearth/v1/blobs/"+digest, "", nil)
	f := function("f")
	f["spec"].(m)["source"] = m{"archive": m{"blob": digest}}
	w.want(201, "POST", fnPath, "", f)
	if code, text, _ := w.as(t, "viewer").raw("GET", "/hearth/v1/blobs/"+digest, nil, nil); code != 200 || text != string(content) {
		t.Errorf("%d %q", code, text)
	}
	w.as(t, "shop").want(404, "GET", "/hearth/v1/blobs/"+digest, "", nil)
	w.want(400, "GET", "/hearth/v1/blobs/sha256:abc", "", nil)
	w.want(400, "GET", "/hearth/v1/blobs/..%2f..%2fkey", "", nil)
}

func TestLogsAndCalls(t *testing.T) {
	records := memory.NewRecords()
	w := newWorld(t, func(c *server.Config) { c.Records = records })
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for i, l := range []engine.Line{
		{Time: ago(time.Hour), Tenant: "default", Function: "f", Revision: "f-1", Instance: "i", Request: "r", Text: "old"},
		{Time: ago(time.Minute), Tenant: "default", Function: "f", Revision: "f-1", Instance: "i", Request: "r", Text: "one"},
		{Time: ago(time.Minute), Tenant: "default", Function: "f", Revision: "f-2", Instance: "i", Request: "r", Text: "two"},
		{Time: ago(time.Minute), Tenant: "default", Function: "g", Revision: "f-1", Instance: "i", Request: "r", Text: "three"},
		{Time: ago(time.Minute), Tenant: "shop", Function: "f", Revision: "f-1", Instance: "i", Request: "r", Text: "four"},
	} {
		records.AddLine(l)
		records.AddCall(record.Call{Time: l.Time, Tenant: l.Tenant, Function: l.Function, Revision: l.Revision, Request: fmt.Sprint("r", i), Status: 200 + 100*i})
	}
	if err := records.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	texts := func(query string) string {
		t.Helper()
		code, text, head := w.raw("GET", "/hearth/v1/namespaces/default/logs?"+query, nil, nil)
		if code != 200 || head.Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%d %s", code, text)
		}
		var out []string
		for line := range strings.Lines(text) {
			var l engine.Line
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			out = append(out, l.Text)
		}
		return strings.Join(out, " ")
	}
	for query, want := range map[string]string{
		"": "old one two three", "function=f": "old one two", "function=f&since=10m": "one two", "revision=f-1&since=10m": "one three", "limit=1": "three",
		"instance=j": "", "request=r&function=g": "three", "since=" + ago(10*time.Minute).UTC().Format(time.RFC3339): "one two three",
	} {
		if got := texts(query); got != want {
			t.Errorf("logs?%s: %q, want %q", query, got, want)
		}
	}
	_, text, _ := w.raw("GET", "/hearth/v1/namespaces/default/calls?function=f&errors=true", nil, nil)
	var calls []record.Call
	if err := json.Unmarshal([]byte(text), &calls); err != nil || len(calls) != 1 || calls[0].Request != "r2" {
		t.Errorf("%s %v", text, err)
	}
	if _, text, _ := w.raw("GET", "/hearth/v1/namespaces/default/calls?function=none", nil, nil); text != "[]\n" {
		t.Errorf("no calls are %q", text)
	}
	w.want(400, "GET", "/hearth/v1/namespaces/default/logs?since=soon", "", nil)
	w.want(400, "GET", "/hearth/v1/namespaces/default/logs?limit=-1", "", nil)
	w.as(t, "shop").want(403, "GET", "/hearth/v1/namespaces/default/logs", "", nil)

	// Following shows each line as it comes, and ends with the server.
	req, err := http.NewRequest("GET", w.url+"/hearth/v1/namespaces/default/logs?follow=true&function=live", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.tokens["viewer"])
	res, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewReader(res.Body)
	for i := range 3 {
		records.AddLine(engine.Line{Time: time.Now(), Tenant: "default", Function: "live", Text: fmt.Sprint("line ", i)})
		line, err := in.ReadString('\n')
		if err != nil || !strings.Contains(line, fmt.Sprint("line ", i)) {
			t.Fatalf("%q %v", line, err)
		}
	}
	w.srv.Close()
	if _, err := in.ReadString('\n'); err != io.EOF {
		t.Errorf("the stream goes on: %v", err)
	}
}

// echo answers calls with what it was given.
type echo struct{}

func (echo) Invoke(w http.ResponseWriter, r *http.Request, namespace, function, path string) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Function", namespace+"/"+function)
	w.WriteHeader(http.StatusTeapot)
	fmt.Fprintf(w, "%s %s ?%s %s auth=%q id=%q", r.Method, path, r.URL.RawQuery, b, r.Header.Get("Authorization"), r.Header.Get("X-Request-Id"))
}

func TestInvoke(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Invoke = echo{} })
	code, text, h := w.raw("PUT", fnPath+"/hello/invoke/a/b/?q=1", map[string]string{"X-Request-Id": "mine-1"}, "body")
	if code != 418 || text != `PUT /a/b/ ?q=1 body auth="" id="mine-1"` || h.Get("X-Function") != "default/hello" {
		t.Errorf("%d %s", code, text)
	}
	for path, want := range map[string]string{"/invoke": "GET / ", "/invoke/": "GET / ", "/invoke/x": "GET /x ", "/invoke/invoke/status": "GET /invoke/status ", "/invoke//": "GET // ", "/invoke/a%2Fb%0D%0AX:%20y": "GET /a%2Fb%0D%0AX:%20y "} {
		if _, text, _ := w.raw("GET", fnPath+"/hello"+path, nil, nil); !strings.HasPrefix(text, want) {
			t.Errorf("%s: %s", path, text)
		}
	}
	w.want(400, "GET", fnPath+"/hello%2Finvoke/invoke/x", "", nil)
	w.want(404, "GET", fnPath+"/a%2Fb/invoke", "", nil)
	w.as(t, "viewer").want(403, "POST", fnPath+"/hello/invoke", "", "x")
	w.want(404, "POST", cmPath+"/hello/invoke", "", "x")
}

func TestReportsAndOptions(t *testing.T) {
	bare := newWorld(t)
	for _, path := range []string{"/hearth/v1/status", "/hearth/v1/doctor", "/hearth/v1/namespaces/default/logs", "/hearth/v1/namespaces/default/calls", "/hearth/v1/blobs/sha256:x", fnPath + "/f/invoke"} {
		if code, o := bare.do("GET", path, "", nil); code != 501 || !hasCause(o, "Hint", "") {
			t.Errorf("%s: %d %v", path, code, o)
		}
	}
	w := newWorld(t, func(c *server.Config) {
		c.Status = func() any { return m{"ready": true} }
		c.Doctor = func() any { return l{m{"check": "landlock"}} }
		c.Ready = func() error { return api.Errorf(api.CodeNotReady, "still starting") }
	})
	if o := w.want(200, "GET", "/hearth/v1/status", "", nil); o["ready"] != true {
		t.Errorf("got %v", o)
	}
	if _, text, _ := w.raw("GET", "/hearth/v1/doctor", nil, nil); !strings.Contains(text, "landlock") {
		t.Errorf("got %s", text)
	}
	if o := w.want(503, "GET", "/readyz", "", nil); !strings.Contains(o["message"].(string), "still starting") {
		t.Errorf("got %v", o)
	}
	_, _, h := w.raw("GET", "/healthz", map[string]string{"X-Request-Id": "bad id\t!"}, nil)
	if id := h.Get("X-Request-Id"); len(id) != 16 {
		t.Errorf("request id %q", id)
	}
}
