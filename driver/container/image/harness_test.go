package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/driver/container/image"
)

// entries are written to an archive as they are, so that tests can say what no
// honest tool would.
type entries []tar.Header

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: content, Mode: 0o644}
}

func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }

func symlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}
}

func hardlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

// archive makes the tar; a file's content is in its Linkname.
func (es entries) archive(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range es {
		content := ""
		if e.Typeflag == tar.TypeReg {
			content, e.Linkname = e.Linkname, ""
			e.Size = int64(len(content))
		}
		if len(e.PAXRecords) > 0 {
			e.Format = tar.FormatPAX
		}
		if err := w.WriteHeader(&e); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// layer is a v1.Layer of bytes, compressed or not.
type layer struct {
	v1.Layer
	diff v1.Hash
}

func (l layer) DiffID() (v1.Hash, error) { return l.diff, nil }

func layerOf(t testing.TB, plain []byte, mt types.MediaType) v1.Layer {
	t.Helper()
	diff, _, err := v1.SHA256(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	return layer{static.NewLayer(compress(t, plain, mt), mt), diff}
}

func compress(t testing.TB, plain []byte, mt types.MediaType) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch mt {
	case types.OCIUncompressedLayer, types.DockerUncompressedLayer:
		return plain
	case types.OCILayerZStd:
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		w = gzip.NewWriter(&b)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// imageOf makes an OCI image of this platform.
func imageOf(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	return imageFor(t, v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, layers...)
}

func imageFor(t testing.TB, p v1.Platform, layers ...v1.Layer) v1.Image {
	t.Helper()
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(base, &v1.ConfigFile{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, Config: v1.Config{
		Entrypoint: []string{"/app"}, Cmd: []string{"serve"}, Env: []string{"A=b"}, WorkingDir: "/srv", User: "1000:1000", StopSignal: "SIGINT",
		ExposedPorts: map[string]struct{}{"9000/tcp": {}, "8080/tcp": {}}, Volumes: map[string]struct{}{"/data": {}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

// hub is a registry others run. Before is asked first; true means it answered.
type hub struct {
	*httptest.Server
	mu     sync.Mutex
	before func(w http.ResponseWriter, r *http.Request) bool
	gets   map[string]int // by path
}

func newHub(t testing.TB) *hub {
	h := &hub{gets: map[string]int{}}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		before := h.before
		if r.Method == http.MethodGet {
			h.gets[r.URL.Path]++
		}
		h.mu.Unlock()
		if before == nil || !before(w, r) {
			reg.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hub) host() string { return strings.TrimPrefix(h.URL, "http://") }

func (h *hub) on(f func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before = f
}

// count is how often a path that holds part was read.
func (h *hub) count(part string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p, c := range h.gets {
		if strings.Contains(p, part) {
			n += c
		}
	}
	return n
}

// push stores an image or index and returns its name.
func (h *hub) push(t testing.TB, what remote.Taggable, repo string) string {
	t.Helper()
	ref, err := name.ParseReference(h.host()+"/"+repo, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	switch w := what.(type) {
	case v1.Image:
		err = remote.Write(ref, w)
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, w)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

func open(t testing.TB, o image.Options) *image.Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "images")
	}
	s, err := image.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func fetch(t testing.TB, s *image.Store, ref string) *image.Image {
	t.Helper()
	i, err := s.Fetch(t.Context(), ref, image.Auth{})
	if err != nil {
		t.Fatalf("%v\n  hint: %s\n  cause: %v", err, api.AsError(err).Help(), api.AsError(err).Cause)
	}
	t.Cleanup(i.Release)
	return i
}

// tree is the merged content of an image: path → what is there.
func tree(t testing.TB, i *image.Image) map[string]string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "root")
	if err := i.Copy(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	return listing(t, to)
}

func listing(t testing.TB, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		switch {
		case e.IsDir():
			all[rel] = "dir"
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(p)
			all[rel] = "-> " + to
			return err
		case e.Type().IsRegular():
			b, err := os.ReadFile(p)
			all[rel] = string(b)
			return err
		default:
			all[rel] = e.Type().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// isEmpty fails unless the folder of a store holds nothing half made.
func isEmpty(t testing.TB, dirs ...string) {
	t.Helper()
	for _, d := range dirs {
		es, err := os.ReadDir(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			t.Errorf("%s is left in %s", e.Name(), d)
		}
	}
}
