package client_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/record"
	"github.com/hearth-run/hearth/driver/memory"
)

// echo answers calls with what it got.
type echo struct{}

func (echo) Invoke(w http.ResponseWriter, r *http.Request, ns, fn, path string) {
	if fn == "missing" {
		w.Header().Set("X-Hearth-Error", "not_found")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error":{"code":"not_found","message":"no function missing","hint":"look again"}}`)
		return
	}
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Hearth-Revision", fn+"-1")
	w.WriteHeader(http.StatusTeapot)
	fmt.Fprintf(w, "%s %s %s %s?%s %s %s", ns, fn, r.Method, path, r.URL.RawQuery, r.Header.Get("X-Tea"), body)
}

type world struct {
	*client.Client
	config  client.Config
	records record.Store
	issuer  *memory.Identity
}

// newWorld runs a real API server over memory drivers on loopback.
func newWorld(t *testing.T) *world {
	t.Helper()
	store, records, id := memory.NewStore(), memory.NewRecords(), memory.NewIdentity()
	srv, err := server.New(server.Config{
		Store: store, Identity: id, Blobs: memory.NewBlobs(), Records: records, Invoke: echo{}, Version: "test",
		Status: func() any { return map[string]string{"version": "test"} },
		Doctor: func() any { return []map[string]any{{"check": "node", "ok": true}} },
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := server.OpenAuthority(filepath.Join(t.TempDir(), "ca"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: srv, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- hs.Serve(tls.NewListener(l, auth.TLS())) }()
	go func() { ended <- srv.Run(ctx) }()
	token, err := id.Issue(ctx, identity.Caller{Name: "ada", Roles: []string{identity.RoleAdmin}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{config: client.Config{URL: "https://" + l.Addr().String(), CA: auth.CA(), Token: token}, records: records, issuer: id}
	if w.Client, err = client.New(w.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		srv.Close()
		hs.Close()
		cancel()
		<-ended
		<-ended
		store.Close()
		records.Close()
	})
	return w
}

func kind(t *testing.T, name string) api.Kind {
	t.Helper()
	k, ok := api.FindKind(name)
	if !ok {
		t.Fatal(name)
	}
	return k
}

func configMap(name, value string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q,"labels":{"app":%q}},"data":{"a":%q}}`, name, name, value)
}

func TestResources(t *testing.T) {
	w, ctx, k := newWorld(t), t.Context(), kind(t, "configmap")
	if _, err := w.Get(ctx, k, "a"); !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("missing: %v", err)
	}
	made, err := w.Apply(ctx, k, "a", configMap("a", "1"), client.WriteOptions{DryRun: true})
	if err != nil || made.Meta.Name != "a" {
		t.Fatalf("dry run: %+v, %v", made.Meta, err)
	}
	if _, err := w.Get(ctx, k, "a"); !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("a dry run wrote: %v", err)
	}
	if made, err = w.Apply(ctx, k, "a", configMap("a", "1"), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	same, err := w.Apply(ctx, k, "a", configMap("a", "1"), client.WriteOptions{})
	if err != nil || same.Meta.ResourceVersion != made.Meta.ResourceVersion {
		t.Errorf("the same again made version %s of %s: %v", same.Meta.ResourceVersion, made.Meta.ResourceVersion, err)
	}
	cm, err := client.As[api.ConfigMap](w.Get(ctx, k, "a"))
	if err != nil || cm.Data["a"] != "1" {
		t.Errorf("got %+v, %v", cm, err)
	}
	if _, err := w.Create(ctx, k, configMap("a", "2"), client.WriteOptions{}); !api.IsCode(err, api.CodeExists) {
		t.Errorf("create again: %v", err)
	}
	if _, err := w.Patch(ctx, k, "a", []byte(`{"data":{"b":"2"}}`), client.WriteOptions{}); err != nil {
		t.Error(err)
	}
	stale := []byte(strings.Replace(string(configMap("a", "3")), `"metadata":{`, `"metadata":{"resourceVersion":"`+made.Meta.ResourceVersion+`",`, 1))
	if _, err := w.Apply(ctx, k, "a", stale, client.WriteOptions{Force: true}); !api.IsCode(err, api.CodeConflict) {
		t.Errorf("an old version was taken: %v", err)
	}

	other := w.In("elsewhere")
	if _, err := w.Create(ctx, kind(t, "namespace"), []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"elsewhere"}}`), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := other.Create(ctx, k, configMap(fmt.Sprint("c", i), "1"), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		o    client.ListOptions
		want []string
	}{
		{client.ListOptions{}, []string{"a"}},
		{client.ListOptions{AllNamespaces: true}, []string{"a", "c0", "c1", "c2"}},
		{client.ListOptions{AllNamespaces: true, Labels: "app in (c1,c2)"}, []string{"c1", "c2"}},
		{client.ListOptions{AllNamespaces: true, Fields: "metadata.name=c1"}, []string{"c1"}},
	} {
		l, err := w.List(ctx, k, c.o)
		var names []string
		for _, o := range l.Items {
			names = append(names, o.Meta.Name)
		}
		if d := cmp.Diff(c.want, names); d != "" || err != nil || l.Revision == "" {
			t.Errorf("%+v: %s %v", c.o, d, err)
		}
	}
	if err := w.Delete(ctx, k, "a", client.WriteOptions{IfRevision: made.Meta.ResourceVersion}); !api.IsCode(err, api.CodeConflict) {
		t.Errorf("delete of an old version: %v", err)
	}
	if err := w.Delete(ctx, k, "a", client.WriteOptions{}); err != nil {
		t.Error(err)
	}
	if err := w.Delete(ctx, k, "a", client.WriteOptions{}); !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("delete again: %v", err)
	}
}

func TestWatch(t *testing.T) {
	w, k := newWorld(t), kind(t, "configmap")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := w.Create(ctx, k, configMap("a", "1"), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	l, err := w.List(ctx, k, client.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Create(ctx, k, configMap("b", "1"), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Apply(ctx, k, "b", configMap("b", "2"), client.WriteOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	if err := w.Delete(ctx, k, "a", client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range w.Watch(ctx, k, client.ListOptions{}, l.Revision) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(e.Type)+" "+e.Object.Meta.Name)
		if len(got) == 3 {
			break
		}
	}
	if d := cmp.Diff([]string{"ADDED b", "MODIFIED b", "DELETED a"}, got); d != "" {
		t.Error(d)
	}
	// A context that ends ends the watch without an error.
	n := 0
	for _, err := range w.Watch(ctx, k, client.ListOptions{}, "") {
		if err != nil {
			t.Error(err)
		}
		n++
		cancel()
	}
	if n != 1 {
		t.Errorf("%d events, want the present object", n)
	}
}

func TestBlobs(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	digest, size, err := w.UploadBlob(ctx, strings.NewReader("hello"))
	if err != nil || size != 5 || digest != "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" {
		t.Fatalf("%s %d %v", digest, size, err)
	}
	// Whoever may read an object that refers to a blob may read the blob.
	fn := fmt.Appendf(nil, `{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"f"},"spec":{"runtime":"node","source":{"archive":{"blob":%q}}}}`, digest)
	if _, err := w.Create(ctx, kind(t, "function"), fn, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := w.Blob(ctx, digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := w.Blob(ctx, "sha256:"+strings.Repeat("0", 64)); !api.IsCode(err, api.CodeNotFound) && !api.IsCode(err, api.CodeForbidden) {
		t.Errorf("missing blob: %v", err)
	}
}

func TestLogsAndCalls(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	now := time.Now()
	line := func(i int, fn string) engine.Line {
		return engine.Line{Time: now.Add(time.Duration(i)), Tenant: "default", Function: fn, Revision: fn + "-1", Stream: "stdout", Text: fmt.Sprint(i)}
	}
	for i := range 3 {
		w.records.AddLine(line(i, "a"))
	}
	w.records.AddLine(line(3, "b"))
	w.records.AddCall(record.Call{Time: now, Tenant: "default", Function: "a", Request: "r1", Status: 200})
	w.records.AddCall(record.Call{Time: now, Tenant: "default", Function: "a", Request: "r2", Status: 500})
	if err := w.records.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	var got []string
	for l, err := range w.Logs(ctx, record.Query{Function: "a", Limit: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, l.Text)
	}
	if d := cmp.Diff([]string{"1", "2"}, got); d != "" {
		t.Error(d)
	}
	got = nil
	for l, err := range w.Logs(ctx, record.Query{Function: "a", Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, l.Text)
		if len(got) == 3 {
			w.records.AddLine(line(4, "a"))
		}
		if len(got) == 4 {
			break
		}
	}
	if d := cmp.Diff([]string{"0", "1", "2", "4"}, got); d != "" {
		t.Error(d)
	}
	calls, err := w.Calls(ctx, record.Query{Function: "a", Errors: true})
	if err != nil || len(calls) != 1 || calls[0].Request != "r2" {
		t.Errorf("%+v %v", calls, err)
	}
}

func TestInvoke(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	fn := []byte(`{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"f"},"spec":{"runtime":"node","source":{"inline":"x"}}}`)
	if _, err := w.Create(ctx, kind(t, "function"), fn, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	res, err := w.Invoke(ctx, "f", client.Call{Path: "/a/b%2Fc?x=1", Header: http.Header{"X-Tea": {"green"}}, Body: strings.NewReader("body")})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusTeapot || !strings.HasPrefix(string(body), "default f POST /a/b") || !strings.HasSuffix(string(body), "?x=1 green body") {
		t.Errorf("%d %q %v", res.StatusCode, body, err)
	}
	if e := client.ErrorOf(res, body); e != nil {
		t.Errorf("the function's own answer is no error of hearth: %v", e)
	}
}

func TestErrors(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	with := func(edit func(*client.Config)) *client.Client {
		c := w.config
		edit(&c)
		out, err := client.New(c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(out.Close)
		return out
	}
	viewer, err := w.issuer.Issue(ctx, identity.Caller{Name: "bob", Roles: []string{identity.RoleViewer}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	k := kind(t, "function")
	bad := []byte(`{"apiVersion":"hearth.run/v1","kind":"Function","metadata":{"name":"f"},"spec":{"runtime":"node","timout":"1s","source":{"inline":"x"}}}`)
	for _, c := range []struct {
		name string
		do   func() error
		code api.Code
		text string
	}{
		{"nobody there", func() error { return with(func(c *client.Config) { c.URL = "https://127.0.0.1:1" }).Reachable(ctx) }, api.CodeUnreachable, "nothing listens there"},
		{"unknown certificate", func() error { return with(func(c *client.Config) { c.CA = nil }).Reachable(ctx) }, api.CodeUnreachable, "not trusted"},
		{"no token", func() error { return with(func(c *client.Config) { c.Token = "" }).Reachable(ctx) }, api.CodeUnauthorized, "token"},
		{"wrong token", func() error { return with(func(c *client.Config) { c.Token = "x" }).Reachable(ctx) }, api.CodeUnauthorized, "token"},
		{"not allowed", func() error {
			_, err := with(func(c *client.Config) { c.Token = viewer }).Apply(ctx, kind(t, "configmap"), "a", configMap("a", "1"), client.WriteOptions{})
			return err
		}, api.CodeForbidden, "bob may not"},
		{"unknown field", func() error { _, err := w.Apply(ctx, k, "f", bad, client.WriteOptions{}); return err }, api.CodeInvalid, "timout"},
		{"no such kind", func() error {
			_, err := w.Get(ctx, api.Kind{Group: "hearth.run", Version: "v1", Plural: "things", Namespaced: true}, "a")
			return err
		}, api.CodeNotFound, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.do()
			var e *api.Error
			if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.text) {
				t.Fatalf("got %+v, want %s with %q", err, c.code, c.text)
			}
			if e.Help() == "" || strings.Contains(e.Message, "hint:") {
				t.Errorf("message %q, hint %q", e.Message, e.Help())
			}
			if c.code == api.CodeInvalid && (len(e.Fields) != 1 || e.Fields[0].Path != "spec.timout") {
				t.Errorf("fields %+v", e.Fields)
			}
		})
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := w.Get(ctx, k, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, url := range []string{"", "localhost:4000", "ftp://x", "http://"} {
		if _, err := client.New(client.Config{URL: url}); !api.IsCode(err, api.CodeUsage) {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := client.New(client.Config{URL: "https://x", CA: []byte("junk")}); !api.IsCode(err, api.CodeUsage) {
		t.Errorf("junk certificate: %v", err)
	}
}

func TestStatusAndDoctor(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	for _, get := range []func(context.Context) (json.RawMessage, error){w.Status, w.Doctor} {
		if data, err := get(ctx); err != nil || !json.Valid(data) {
			t.Errorf("%s %v", data, err)
		}
	}
}
