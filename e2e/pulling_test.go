package e2e

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// half writes the first half of a large answer, and the rest once goOn is closed.
type half struct {
	http.ResponseWriter
	left int
	goOn <-chan struct{}
}

func (h *half) Write(p []byte) (int, error) {
	if h.left > len(p) || h.goOn == nil {
		h.left -= len(p)
		return h.ResponseWriter.Write(p)
	}
	n, err := h.ResponseWriter.Write(p[:h.left])
	if err != nil {
		return n, err
	}
	h.ResponseWriter.(http.Flusher).Flush()
	<-h.goOn
	h.goOn = nil
	m, err := h.ResponseWriter.Write(p[n:])
	return n + m, err
}

// TestPullingIsShown has a registry that stands still in the middle of a layer.
func TestPullingIsShown(t *testing.T) {
	s := up(t)
	k := s.kubectl(t)
	l := func(p ...string) []string { return p }
	app, err := os.ReadFile(compile(t, echoProgram))
	if err != nil {
		t.Fatal(err)
	}
	program := layer(t, "app", app)
	digest, err := program.Digest()
	if err != nil {
		t.Fatal(err)
	}
	goOn := make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	all := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	reg := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, digest.String()) {
			w = &half{w, len(app) / 2, goOn}
		}
		all.ServeHTTP(w, r)
	}))
	defer reg.Close()
	defer release()
	img, err := mutate.AppendLayers(empty.Image, program)
	if err == nil {
		img, err = mutate.Config(img, v1.Config{Entrypoint: []string{"/app"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	ref := strings.TrimPrefix(reg.URL, "http://") + "/team/slow:1"
	tag, err := name.ParseReference(ref)
	if err == nil {
		err = remote.Write(tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	k.okIn("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: slow}\nspec: {template: {spec: {containers: [{image: "+ref+"}]}}}\n", l("slow created"), "apply", "-f", "-")
	k.soon(l(`^Unknown Deploying fetching the image: [1-9][0-9.]* of [1-9][0-9.]* MiB$`), "get", "ksvc", "slow", "-o", `jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.reason} {.message}{end}`)
	release()
	k.ok(l("condition met"), "wait", "--for=condition=Ready", "ksvc/slow", "--timeout=120s")
}
