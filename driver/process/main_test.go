package process

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sort"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/memory"
	"github.com/hearth-run/hearth/runtime"
	"github.com/hearth-run/hearth/runtime/frame"
	"github.com/hearth-run/hearth/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.Main(os.Args) {
		return
	}
	os.Exit(m.Run())
}

// interpreters are found once for all tests: asking them takes a while.
var interpreters = runtime.Once(runtime.Find)

func open(t testing.TB, change func(*Options)) (*Engine, func(files map[string]string) string, chan engine.Line) {
	t.Helper()
	blobs := memory.NewBlobs()
	lines := make(chan engine.Line, 10_000)
	o := Options{
		State: t.TempDir(), Blobs: blobs, Sink: func(l engine.Line) { lines <- l },
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), Grace: 2 * time.Second,
		Find: interpreters,
	}
	if change != nil {
		change(&o)
	}
	e, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	artifact := func(files map[string]string) string {
		t.Helper()
		info, err := blobs.Put(t.Context(), bytes.NewReader(pack(t, files)))
		if err != nil {
			t.Fatal(err)
		}
		return string(info.Digest)
	}
	return e, artifact, lines
}

// pack makes a tar; a name that ends with * is executable.
func pack(t testing.TB, files map[string]string) []byte {
	t.Helper()
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, n := range names {
		h := &tar.Header{Name: n, Mode: 0o644, Size: int64(len(files[n])), Typeflag: tar.TypeReg}
		if n[len(n)-1] == '*' {
			h.Name, h.Mode = n[:len(n)-1], 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, files[n])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func spec(rt, artifact string) engine.Spec {
	b, _ := runtime.ByName(rt)
	return engine.Spec{
		Tenant: "default", Function: "f", Revision: "f-1", Artifact: artifact, Concurrency: 8, Timeout: time.Minute,
		Runtime: engine.Runtime{Name: rt, Base: rt, Shared: true, Protocol: b.Protocol, PoolSize: -1},
	}
}

// call makes one call in the instance's own protocol.
func call(ctx context.Context, in engine.Instance, r *http.Request) (*http.Response, error) {
	nc, err := in.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if in.Protocol() == api.ProtocolHTTP {
		return callHTTP(ctx, nc, r)
	}
	c := frame.NewClient(nc, frame.Options{})
	rq := &frame.Request{Method: r.Method, Target: r.URL.RequestURI(), Authority: "localhost", Scheme: "http", ID: "test", Body: r.Body}
	for k, v := range r.Header {
		rq.Header = append(rq.Header, frame.Field{Name: k, Value: v[0]})
	}
	answer, err := c.Do(ctx, rq)
	if err != nil {
		c.Close()
		return nil, err
	}
	h := http.Header{}
	for _, f := range answer.Header {
		h.Add(f.Name, f.Value)
	}
	return &http.Response{StatusCode: answer.Status, Header: h, Body: closer{answer, c}}, nil
}

func callHTTP(ctx context.Context, nc net.Conn, r *http.Request) (*http.Response, error) {
	t := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil }, DisableKeepAlives: true}
	r = r.Clone(ctx)
	r.URL.Scheme, r.URL.Host, r.RequestURI = "http", "localhost", ""
	return t.RoundTrip(r)
}

type closer struct {
	*frame.Response
	c *frame.Client
}

func (c closer) Close() error {
	c.Response.Close()
	return c.c.Close()
}
