package server_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/driver/memory"
)

const apply = "application/apply-patch+yaml"

func TestServerSideApply(t *testing.T) {
	w := newWorld(t)
	as := func(manager string) string { return fnPath + "/f?fieldManager=" + manager }
	base := "apiVersion: hearth.run/v1\nkind: Function\nspec:\n  handler: a.run\n  source: {inline: x}\n"
	o := w.want(201, "PATCH", as("alice"), apply, base)
	if at(o, "metadata", "name") != "f" || at(o, "metadata", "generation") != 1.0 || at(o, "metadata", "managedFields", 0, "operation") != "Apply" {
		t.Fatalf("created: %v", o)
	}
	rv := at(o, "metadata", "resourceVersion")
	if o = w.want(200, "PATCH", as("alice"), apply, base); at(o, "metadata", "resourceVersion") != rv {
		t.Error("applying the same made a version")
	}
	e := w.want(409, "PATCH", as("bob"), apply, `{"spec":{"handler":"b.run"}}`)
	if !hasCause(e, "FieldManagerConflict", ".spec.handler") || !strings.Contains(e["message"].(string), `conflict with "alice"`) {
		t.Errorf("got %v", e)
	}
	// The same value is no conflict, and shared from then on.
	w.want(200, "PATCH", as("bob"), apply, `{"spec":{"handler":"a.run"}}`)
	o = w.want(200, "PATCH", as("alice"), apply, `{"spec":{"source":{"inline":"x"}}}`)
	if at(o, "spec", "handler") != "a.run" {
		t.Error("a field bob still wants went with alice")
	}
	o = w.want(200, "PATCH", as("bob"), apply, `{}`)
	if at(o, "spec", "handler") != nil || at(o, "spec", "source", "inline") != "x" {
		t.Errorf("after bob let go: %v", o)
	}
	// Ordinary writers own what they change.
	w.want(200, "PATCH", fnPath+"/f?fieldManager=carol", merge, m{"spec": m{"runtime": "go"}})
	e = w.want(409, "PATCH", as("alice"), apply, `{"spec":{"runtime":"node","source":{"inline":"x"}}}`)
	if !strings.Contains(e["message"].(string), `"carol" using hearth.run/v1`) {
		t.Errorf("got %v", e)
	}
	o = w.want(200, "PATCH", as("alice")+"&force=true", apply, `{"spec":{"runtime":"node","source":{"inline":"x"}}}`)
	for _, f := range at(o, "metadata", "managedFields").([]any) {
		if at(f, "manager") == "carol" {
			t.Error("carol still owns what was taken from her")
		}
	}
	// Status has appliers of its own.
	o = w.want(200, "PATCH", fnPath+"/f/status?fieldManager=loop", apply, `{"status":{"url":"u","conditions":[{"type":"Ready","status":"True"}]}}`)
	if at(o, "status", "url") != "u" {
		t.Errorf("status: %v", o)
	}
	o = w.want(200, "PATCH", fnPath+"/f/status?fieldManager=other", apply, `{"status":{"conditions":[{"type":"Built","status":"True"}]}}`)
	if len(at(o, "status", "conditions").([]any)) != 2 {
		t.Errorf("conditions of two appliers: %v", o)
	}
	w.want(404, "PATCH", fnPath+"/none/status?fieldManager=loop", apply, `{"status":{}}`)
	// What is refused.
	w.want(409, "PATCH", as("alice"), apply, `{"metadata":{"uid":"other"}}`)
	w.want(409, "PATCH", as("alice"), apply, `{"metadata":{"resourceVersion":"1"}}`)
	w.want(400, "PATCH", as("alice"), apply, `{"metadata":{"managedFields":[{"manager":"x"}]}}`)
	w.want(400, "PATCH", as("alice"), apply, `{"metadata":{"name":"g"}}`)
	e = w.want(422, "PATCH", as("alice"), apply, "{\"spec\":\n{\"handlr\":\"x\"}}")
	if !strings.Contains(e["message"].(string), "line 2: spec.handlr") {
		t.Errorf("got %v", e)
	}
	w.want(422, "PATCH", as("alice"), apply, `{"spec":{"env":[{"name":"A"},{"name":"A"}],"source":{"inline":"x"}}}`)
	w.as(t, "viewer").want(403, "PATCH", as("v"), apply, `{}`)
}

// pipes is a listener of connections in memory, for virtual time.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// TestSlowBodyEnds holds that a body that never ends does not hold its request.
func TestSlowBodyEnds(t *testing.T) {
	for _, line := range []string{"POST " + cmPath, "PUT /hearth/v1/blobs"} {
		synctest.Test(t, func(t *testing.T) {
			id, tokens := people(t)
			srv, err := server.New(server.Config{Store: memory.NewStore(), Identity: id, Blobs: memory.NewBlobs()})
			if err != nil {
				t.Fatal(err)
			}
			hs, l := &http.Server{Handler: srv}, make(pipes)
			go func() { _ = hs.Serve(l) }()
			c, s := net.Pipe()
			l <- s
			head := line + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + tokens["admin"] + "\r\nContent-Length: 1000\r\n\r\n{"
			start := time.Now()
			go func() { _, _ = io.Copy(c, bytes.NewReader([]byte(head))) }()
			answer := make([]byte, 4096)
			n, err := c.Read(answer)
			if err != nil || !strings.Contains(string(answer[:n]), "400 Bad Request") {
				t.Errorf("%s: %q %v", line, answer[:n], err)
			}
			if d := time.Since(start); d > time.Minute {
				t.Errorf("%s: after %v", line, d)
			}
			_ = c.Close()
			close(l)
			_ = hs.Close()
		})
	}
}
