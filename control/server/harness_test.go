package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/memory"
)

// patience is how long a test waits for what comes at once unless something is
// broken: it fails then, instead of holding up all others.
const patience = time.Minute

// people issues a token for each kind of caller, by what tests call them.
func people(t *testing.T) (*memory.Identity, map[string]string) {
	t.Helper()
	id, tokens := memory.NewIdentity(), map[string]string{"": ""}
	for name, c := range map[string]identity.Caller{
		"admin":  {Name: "test-admin", Roles: []string{identity.RoleAdmin}},
		"editor": {Name: "test-editor", Roles: []string{identity.RoleEditor}},
		"viewer": {Name: "test-viewer", Roles: []string{identity.RoleViewer}},
		"shop":   {Name: "shopkeeper", Roles: []string{identity.RoleEditor}, Namespaces: []string{"shop"}},
	} {
		token, err := id.Issue(context.Background(), c, 0)
		if err != nil {
			t.Fatal(err)
		}
		tokens[name] = token
	}
	return id, tokens
}

// world is a server on loopback with its loop running.
type world struct {
	t      *testing.T
	store  store.Store
	srv    *server.Server
	url    string
	ca     []byte
	http   *http.Client
	log    *lockedBuffer
	token  string
	tokens map[string]string // by caller
	kube   string            // kubeconfig
	cache  string
}

func newWorld(t *testing.T, edit ...func(*server.Config)) *world {
	t.Helper()
	id, tokens := people(t)
	w := &world{t: t, store: memory.NewStore(), log: &lockedBuffer{}, token: tokens["admin"], tokens: tokens}
	cfg := server.Config{Store: w.store, Identity: id, Log: slog.New(slog.NewTextHandler(w.log, nil)), Version: "test"}
	for _, e := range edit {
		e(&cfg)
	}
	w.store = cfg.Store
	srv, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.srv = srv
	auth, err := server.OpenAuthority(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: srv, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	ctx, cancel := context.WithCancel(context.Background())
	served, ran := make(chan struct{}), make(chan struct{})
	go func() { defer close(served); _ = hs.Serve(tls.NewListener(l, auth.TLS())) }()
	go func() {
		defer close(ran)
		if err := srv.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(auth.CA())
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	w.http = &http.Client{Transport: tr, Timeout: patience}
	w.url, w.ca = "https://"+l.Addr().String(), auth.CA()
	t.Cleanup(func() {
		srv.Close()
		tr.CloseIdleConnections()
		stop, done := context.WithTimeout(context.Background(), patience)
		defer done()
		if err := hs.Shutdown(stop); err != nil {
			t.Errorf("the server does not shut down after Close: %v", err)
		}
		cancel()
		<-served
		<-ran
		_ = w.store.Close()
		if t.Failed() {
			t.Logf("server log:\n%s", w.log)
		}
	})
	return w
}

// do sends a request with the world's token and returns status and body.
func (w *world) do(method, path, media string, body any) (int, map[string]any) {
	w.t.Helper()
	code, text, _ := w.raw(method, path, map[string]string{"Content-Type": media}, body)
	var o map[string]any
	d := json.NewDecoder(strings.NewReader(text))
	if err := d.Decode(&o); err != nil {
		w.t.Fatalf("%s %s: %d %q is not JSON: %v", method, path, code, text, err)
	}
	return code, o
}

func (w *world) raw(method, path string, header map[string]string, body any) (int, string, http.Header) {
	w.t.Helper()
	var rd io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		rd = strings.NewReader(b)
	case []byte:
		rd = bytes.NewReader(b)
	case io.Reader:
		rd = b
	default:
		j, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		rd = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, w.url+path, rd)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	for k, v := range header {
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	res, err := w.http.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res.StatusCode, string(text), res.Header
}

// want sends a request and fails unless it is answered with code.
func (w *world) want(code int, method, path, media string, body any) map[string]any {
	w.t.Helper()
	got, o := w.do(method, path, media, body)
	if got != code {
		w.t.Fatalf("%s %s: %d, want %d: %v", method, path, got, code, o)
	}
	return o
}

// as is the world for another caller.
func (w *world) as(t *testing.T, caller string) *world {
	token, ok := w.tokens[caller]
	if !ok {
		token = caller // nobody issued this one
	}
	c := *w
	c.t, c.token, c.kube = t, token, ""
	return &c
}

const (
	nsPath  = "/api/v1/namespaces"
	cmPath  = "/api/v1/namespaces/default/configmaps"
	secPath = "/api/v1/namespaces/default/secrets"
	fnPath  = "/apis/hearth.run/v1/namespaces/default/functions"
	revPath = "/apis/hearth.run/v1/namespaces/default/revisions"
)

type m = map[string]any
type l = []any

func function(name string) m {
	return m{
		"apiVersion": "hearth.run/v1", "kind": "Function", "metadata": m{"name": name},
		"spec": m{"runtime": "node", "handler": "main.run", "source": m{"inline": "export const run = () => 1"}},
	}
}

func configMap(name string) m {
	return m{"apiVersion": "v1", "kind": "ConfigMap", "metadata": m{"name": name}, "data": m{"a": "1"}}
}

// at is the value at a path of keys and positions.
func at(v any, path ...any) any {
	for _, p := range path {
		switch k := p.(type) {
		case string:
			o, _ := v.(map[string]any)
			v = o[k]
		case int:
			a, _ := v.([]any)
			if k >= len(a) {
				return nil
			}
			v = a[k]
		}
	}
	return v
}

// kubectl runs the real program and returns what it wrote.
func (w *world) kubectl(args ...string) (string, error) {
	w.t.Helper()
	return w.kubectlIn("", nil, args...)
}

func (w *world) kubectlIn(stdin string, env []string, args ...string) (string, error) {
	w.t.Helper()
	cmd := w.command(args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (w *world) command(args ...string) *exec.Cmd {
	w.t.Helper()
	if w.kube == "" {
		if _, err := exec.LookPath("kubectl"); err != nil {
			w.t.Fatal("kubectl is not in PATH; without it nothing here is shown: install v1.32")
		}
		dir := w.t.TempDir()
		w.kube, w.cache = filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "cache")
		if err := os.WriteFile(w.kube, server.Kubeconfig(w.url, w.ca, w.token, "default"), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	w.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "kubectl", append([]string{"--kubeconfig", w.kube, "--cache-dir", w.cache}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+filepath.Dir(w.kube), "KUBECONFIG=")
	return cmd
}

// ok runs kubectl, fails the test when it fails or its output lacks a part.
func (w *world) ok(parts []string, args ...string) string {
	w.t.Helper()
	return w.okIn("", parts, args...)
}

func (w *world) okIn(stdin string, parts []string, args ...string) string {
	w.t.Helper()
	out, err := w.kubectlIn(stdin, nil, args...)
	if err != nil {
		w.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	w.contains(out, parts, args)
	return out
}

func (w *world) contains(out string, parts, args []string) {
	w.t.Helper()
	for _, p := range parts {
		if !strings.Contains(out, p) {
			w.t.Fatalf("kubectl %s: no %q in\n%s", strings.Join(args, " "), p, out)
		}
	}
}

// fails runs kubectl, which must fail and say parts.
func (w *world) fails(stdin string, parts []string, args ...string) {
	w.t.Helper()
	out, err := w.kubectlIn(stdin, nil, args...)
	if err == nil {
		w.t.Fatalf("kubectl %s did not fail:\n%s", strings.Join(args, " "), out)
	}
	w.contains(out, parts, args)
}

// lockedBuffer is a bytes.Buffer for several writers.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
