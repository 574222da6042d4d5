package container

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/driver/container/image"
	"github.com/hearth-run/hearth/sandbox"
)

func TestMain(m *testing.M) {
	if sandbox.Main(os.Args) {
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "hearth" {
		os.Exit(hearth(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// patience is how long anything may take on a machine that has much else to do.
const patience = 2 * time.Minute

// server is the program of all images, compiled once.
var server = sync.OnceValue(func() []byte {
	dir, err := os.MkdirTemp("", "hearth-server-")
	if err != nil {
		return nil
	}
	defer os.RemoveAll(dir)
	c := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "server"), "./testdata/server")
	c.Env, c.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := c.Run(); err != nil {
		return nil
	}
	b, _ := os.ReadFile(filepath.Join(dir, "server"))
	return b
})

// hub is a registry with one image of everything, for all tests.
var hub = sync.OnceValue(func() http.Handler {
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)))
})

const passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n"

// push makes an image of one layer for each map of files, and returns its name
// with digest. A name that ends with * is executable.
func push(t testing.TB, c v1.Config, layers ...map[string]string) string {
	t.Helper()
	if server() == nil {
		t.Fatal("the server does not compile")
	}
	img, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: c})
	base := map[string]string{"bin/server*": string(server()), "etc/passwd": passwd, "etc/group": "app:x:1001:\n"}
	for _, files := range append([]map[string]string{base}, layers...) {
		l, e := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(pack(t, files))), nil })
		if err == nil {
			err = e
		}
		if err == nil {
			img, err = mutate.AppendLayers(img, l)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(hub())
	defer s.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(s.URL, "http://")+"/default/app", name.Insecure)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return image.LocalHost + "/default/app@" + d.String()
}

func pack(t testing.TB, files map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		h := &tar.Header{Name: strings.TrimSuffix(n, "*"), Mode: 0o644, Size: int64(len(files[n])), Typeflag: tar.TypeReg}
		if n != h.Name {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, files[n])
	}
	w.Close()
	return b.Bytes()
}

// served is the image most tests use.
func served(t testing.TB) string { return push(t, v1.Config{Entrypoint: []string{"/bin/server"}}) }

// bench is an engine with what the test needs to see.
type bench struct {
	*Engine
	host  *sandbox.Host
	store *image.Store
	lines chan engine.Line
}

// openIn makes an engine below a folder.
func openIn(ctx context.Context, state string, sink engine.Sink, without ...string) (*Engine, *sandbox.Host, *image.Store, error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h, err := sandbox.Open(ctx, sandbox.Options{State: state, Log: logger, Without: without})
	if err != nil {
		return nil, nil, nil, err
	}
	st, err := image.Open(image.Options{Dir: filepath.Join(state, "images"), Log: logger, Local: hub(), Overlay: h.Overlay()})
	if err != nil {
		return nil, h, nil, err
	}
	e, err := Open(Options{State: filepath.Join(state, "containers"), Host: h, Images: st, Sink: sink, Log: logger, Grace: 20 * time.Second})
	return e, h, st, err
}

func open(t testing.TB, without ...string) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	lines := make(chan engine.Line, 10_000)
	e, h, st, err := openIn(t.Context(), t.TempDir(), func(l engine.Line) { lines <- l }, without...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(e.Close(ctx), h.Close(ctx)); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &bench{e, h, st, lines}
}

// pod is a spec of containers; the first serves.
func pod(cs ...engine.Container) engine.Spec {
	for i := range cs {
		if cs[i].Name == "" {
			cs[i].Name = []string{"user-container", "sidecar", "third"}[i]
		}
	}
	return engine.Spec{Tenant: "default", Function: "app", Revision: "app-00001", Concurrency: 8, Timeout: time.Minute,
		Pod: &engine.Pod{Containers: cs, Port: 8080, Protocol: api.ProtocolHTTP, Progress: patience}}
}

func (b *bench) start(t testing.TB, s engine.Spec) engine.Instance {
	t.Helper()
	in, err := b.Start(t.Context(), s)
	if err != nil {
		t.Fatalf("%v\n%s\ncause %v", err, api.AsError(err).Detail, api.AsError(err).Cause)
	}
	return in
}

// fails starts what cannot come up.
func (b *bench) fails(t testing.TB, s engine.Spec) *api.Error {
	t.Helper()
	in, err := b.Start(t.Context(), s)
	if err == nil {
		in.Stop(context.Background())
		t.Fatal("it started")
	}
	var e *api.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T %v", err, err)
	}
	return e
}

// ask makes a call and returns the answer's body.
func ask(t testing.TB, in engine.Instance, target string) string {
	t.Helper()
	got, err := try(t.Context(), in, target)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	return got
}

func try(ctx context.Context, in engine.Instance, target string) (string, error) {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return in.Dial(ctx) }, DisableKeepAlives: true}
	r, _ := http.NewRequestWithContext(ctx, "GET", "http://app"+target, nil)
	a, err := tr.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	return string(b), err
}

// line waits for a line that holds text.
func (b *bench) line(t testing.TB, text string) engine.Line {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case l := <-b.lines:
			if strings.Contains(l.Text, text) {
				return l
			}
		case <-timeout:
			t.Fatalf("no line with %q", text)
		}
	}
}

func ends(t testing.TB, in engine.Instance) engine.Exit {
	t.Helper()
	select {
	case <-in.Done():
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	return in.Exit()
}

func authOf(tenant string) image.Auth { return image.Auth{Namespace: tenant} }
