package e2e

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestTagMoves deploys a tag of a registry, moves the tag and deploys it again.
func TestTagMoves(t *testing.T) {
	s := up(t)
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer reg.Close()
	host := strings.TrimPrefix(reg.URL, "http://")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.go"), `package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	word, err := os.ReadFile("/word")
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, string(word)) })
	panic(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
`)
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "app"), "main.go")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GO111MODULE=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	app, err := os.ReadFile(filepath.Join(dir, "app"))
	if err != nil {
		t.Fatal(err)
	}
	ref := host + "/team/words:latest"
	push := func(word string) {
		t.Helper()
		img, err := mutate.AppendLayers(empty.Image, layer(t, "app", app), layer(t, "word", []byte(word)))
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.Config(img, v1.Config{Entrypoint: []string{"/app"}}); err != nil {
			t.Fatal(err)
		}
		tag, err := name.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(tag, img); err != nil {
			t.Fatal(err)
		}
	}
	for i, word := range []string{"first", "second", "second"} {
		push(word)
		if _, words, code := s.run("deploy", ref); code != 0 {
			t.Fatalf("deploy: status %d\n%s", code, words)
		}
		if a := s.get("words", "/"); a.status != http.StatusOK || a.body != word {
			t.Fatalf("deployment %d: %s, want %s", i+1, a, word)
		}
	}
	if revs := s.revisions("words"); len(revs) != 2 {
		t.Errorf("%d revisions of two images", len(revs))
	}
	// What is wrong with a name of an image is said, with what helps.
	for image, want := range map[string]string{
		host + "/team/nothing:1":  "nothing",
		"127.0.0.1:1/team/gone:1": "127.0.0.1:1",
	} {
		if _, words, code := s.run("deploy", image, "--name", "wrong"); code == 0 || !strings.Contains(words, want) || !strings.Contains(words, "hint: ") {
			t.Errorf("deploy %s: status %d\n%s", image, code, words)
		}
	}
}

// layer is a layer with one executable file.
func layer(t *testing.T, name string, data []byte) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return static.NewLayer(b.Bytes(), types.OCIUncompressedLayer)
}
