package image_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/driver/container/image"
)

func TestFetchKinds(t *testing.T) {
	lower := entries{dir("etc"), file("etc/a", "one"), file("etc/b", "lower"), symlink("etc/l", "/etc/a"), dir("gone"), file("gone/x", "x")}.archive(t)
	upper := entries{dir("etc"), file("etc/b", "upper"), file(".wh.gone", "")}.archive(t)
	want := map[string]string{"etc": "dir", "etc/a": "one", "etc/b": "upper", "etc/l": "-> /etc/a"}
	oci := func(mt types.MediaType) v1.Image {
		return imageOf(t, layerOf(t, lower, mt), layerOf(t, upper, mt))
	}
	docker := mutate.ConfigMediaType(mutate.MediaType(imageOf(t, layerOf(t, lower, types.DockerLayer), layerOf(t, upper, types.DockerLayer)), types.DockerManifestSchema2), types.DockerConfigJSON)
	other := imageFor(t, v1.Platform{OS: "linux", Architecture: "s390x"}, layerOf(t, entries{file("wrong", "")}.archive(t), types.OCILayer))
	index := func(mt types.MediaType, img v1.Image) v1.ImageIndex {
		x := mutate.AppendManifests(empty.Index,
			mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}},
			mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}}},
			mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH}}})
		return mutate.IndexMediaType(x, mt)
	}
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index(types.OCIImageIndex, oci(types.OCILayer))})
	h := newHub(t)
	for name, what := range map[string]remote.Taggable{
		"oci-gzip": oci(types.OCILayer), "oci-zstd": oci(types.OCILayerZStd), "oci-plain": oci(types.OCIUncompressedLayer),
		"docker": docker, "oci-index": index(types.OCIImageIndex, oci(types.OCILayer)),
		"docker-list": index(types.DockerManifestList, docker), "index-in-index": nested,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, image.Options{})
			ref := h.push(t, what, "kinds/"+name+":v1")
			resolved, err := s.Resolve(t.Context(), ref, image.Auth{})
			if err != nil {
				t.Fatal(err)
			}
			digest, err := what.(interface{ Digest() (v1.Hash, error) }).Digest()
			if err != nil || resolved != h.host()+"/kinds/"+name+"@"+digest.String() {
				t.Errorf("resolved to %s, want the digest %s %v", resolved, digest, err)
			}
			i := fetch(t, s, resolved)
			if d := cmp.Diff(want, tree(t, i)); d != "" {
				t.Error(d)
			}
			if i.Digest != digest.String() || len(i.Layers) != 2 || i.Size == 0 {
				t.Errorf("%+v", i)
			}
			wc := image.Config{
				Entrypoint: []string{"/app"}, Cmd: []string{"serve"}, Env: []string{"A=b"}, WorkingDir: "/srv", User: "1000:1000", StopSignal: "SIGINT",
				ExposedPorts: []string{"8080/tcp", "9000/tcp"}, Volumes: []string{"/data"}, Platform: "linux/" + runtime.GOARCH,
			}
			if !reflect.DeepEqual(i.Config, wc) {
				t.Error(cmp.Diff(wc, i.Config))
			}
			// By digest it needs no network, and gives the same.
			before := h.count("/kinds/" + name + "/")
			again := fetch(t, s, resolved)
			if d := cmp.Diff(i.Layers, again.Layers); d != "" || h.count("/kinds/"+name+"/") != before {
				t.Errorf("the second fetch asked the registry, or gave others: %s", d)
			}
		})
	}
}

// TestShared: a layer that several images have is fetched and unpacked once,
// however many ask at the same time.
func TestShared(t *testing.T) {
	h := newHub(t)
	base := layerOf(t, entries{file("base", strings.Repeat("x", 1<<20))}.archive(t), types.OCIUncompressedLayer)
	digest, _ := base.Digest()
	var refs []string
	for _, n := range []string{"a", "b", "c", "d"} {
		refs = append(refs, h.push(t, imageOf(t, base, layerOf(t, entries{file(n, n)}.archive(t), types.OCILayer)), "shared/"+n+":1"))
	}
	s := open(t, image.Options{})
	var wg sync.WaitGroup
	for range 4 {
		for _, r := range refs {
			wg.Go(func() {
				i, err := s.Fetch(t.Context(), r, image.Auth{})
				if err != nil {
					t.Error(err)
					return
				}
				defer i.Release()
				if _, err := os.Stat(filepath.Join(i.Layers[0], "base")); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if n := h.count(digest.String()); n != 1 {
		t.Errorf("the shared layer was asked for %d times", n)
	}
}

func TestProgress(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, imageOf(t, layerOf(t, entries{file("a", strings.Repeat("a", 1000))}.archive(t), types.OCIUncompressedLayer), layerOf(t, entries{file("b", "b")}.archive(t), types.OCILayer)), "p/p:1")
	s := open(t, image.Options{})
	var last image.Progress
	for _, want := range []bool{true, false} { // fetched, then held
		ctx := image.WithProgress(t.Context(), func(p image.Progress) { last = p })
		i, err := s.Fetch(ctx, ref, image.Auth{})
		if err != nil {
			t.Fatal(err)
		}
		i.Release()
		if last.Layers != 2 || last.Ready != 2 || last.Bytes != last.Total || (last.Total > 0) != want {
			t.Errorf("at the end: %+v", last)
		}
	}
}

// TestCancel: the work goes on while anybody waits, and ends with the last.
func TestCancel(t *testing.T) {
	h := newHub(t)
	img := imageOf(t, layerOf(t, entries{file("a", strings.Repeat("a", 5000))}.archive(t), types.OCIUncompressedLayer))
	ref := h.push(t, img, "c/c:1")
	ls, _ := img.Layers()
	digest, _ := ls[0].Digest()
	began, goOn, ended := make(chan struct{}, 9), make(chan struct{}), make(chan struct{}, 9)
	h.on(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, digest.String()) {
			return false
		}
		began <- struct{}{}
		select {
		case <-goOn:
			return false
		case <-r.Context().Done():
			ended <- struct{}{}
			return true
		}
	})
	dir := filepath.Join(t.TempDir(), "images")
	s := open(t, image.Options{Dir: dir})
	start := func() (context.CancelFunc, chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() {
			i, err := s.Fetch(ctx, ref, image.Auth{})
			if err == nil {
				i.Release()
			}
			got <- err
		}()
		return cancel, got
	}
	cancel, got := start()
	<-began
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled fetch: %v", err)
	}
	<-ended
	isEmpty(t, filepath.Join(dir, "new"), filepath.Join(dir, "layers"), filepath.Join(dir, "images"))
	// Two wait; the one that began it goes away.
	cancel, got = start()
	<-began
	cancel2, got2 := start()
	defer cancel2()
	waitFor(t, func() bool { return h.count("/c/manifests/") >= 3 })
	cancel()
	<-got
	close(goOn)
	if err := <-got2; err != nil {
		t.Error(err)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it did not come")
		}
	}
}

func TestRefused(t *testing.T) {
	h := newHub(t)
	plain := layerOf(t, entries{file("a", "a")}.archive(t), types.OCILayer)
	other := imageFor(t, v1.Platform{OS: "linux", Architecture: "s390x"}, plain)
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})
	chart := mutate.ConfigMediaType(imageOf(t, plain), "application/vnd.cncf.helm.config.v1+json")
	foreign := imageOf(t, layerOf(t, entries{file("a", "a")}.archive(t), types.OCIRestrictedLayer))
	lying, err := mutate.ConfigFile(imageOf(t, plain), &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{DiffIDs: []v1.Hash{{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}}}})
	if err != nil {
		t.Fatal(err)
	}
	missing := h.host() + "/no/such:thing"
	for name, c := range map[string]struct {
		ref  string
		code api.Code
		says string
	}{
		"no name":              {"Not A Name", api.CodeInvalid, "is no name of an image"},
		"missing":              {missing, api.CodeNotFound, "there is no image " + missing},
		"other architecture":   {h.push(t, other, "r/other:1"), api.CodeUnsupported, "only for linux/s390x"},
		"index without ours":   {h.push(t, index, "r/index:1"), api.CodeUnsupported, "only for linux/s390x"},
		"a chart":              {h.push(t, chart, "r/chart:1"), api.CodeUnsupported, "no container image"},
		"a foreign layer":      {h.push(t, foreign, "r/foreign:1"), api.CodeUnsupported, "has a layer of type"},
		"another content":      {h.push(t, lying, "r/lying:1"), api.CodeChecksum, "other content"},
		"nobody there":         {"127.0.0.1:1/x:y", api.CodeUnreachable, "cannot fetch 127.0.0.1:1/x:y"},
		"own, not served here": {"hearth.local/default/x:1", api.CodeUnsupported, "own registry"},
		"own, without tenant":  {"hearth.local/x:1", api.CodeInvalid, "names no tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "images")
			_, err := open(t, image.Options{Dir: dir, Limits: image.Limits{Tries: 1}}).Fetch(t.Context(), c.ref, image.Auth{})
			e := api.AsError(err)
			if e == nil || e.Code != c.code || !strings.Contains(e.Message, c.says) || e.Help() == "" {
				t.Errorf("%+v", e)
			}
			isEmpty(t, filepath.Join(dir, "new"), filepath.Join(dir, "layers"), filepath.Join(dir, "images"), filepath.Join(dir, "partial"))
		})
	}
}

func TestLimits(t *testing.T) {
	h := newHub(t)
	big := layerOf(t, entries{file("a", strings.Repeat("\x00", 10<<20))}.archive(t), types.OCILayer) // some 10 kB
	many := make(entries, 300)
	for i := range many {
		many[i] = file("f", "")
	}
	for name, c := range map[string]struct {
		img    v1.Image
		limits image.Limits
	}{
		"unpacked": {imageOf(t, big), image.Limits{Unpacked: 1 << 20}},
		"sparse":   {imageOf(t, layerOf(t, sparse(3<<20), types.OCILayer)), image.Limits{Unpacked: 1 << 20}},
		"download": {imageOf(t, big), image.Limits{Download: 1000}},
		"entries":  {imageOf(t, layerOf(t, many.archive(t), types.OCILayer)), image.Limits{Files: 299}},
		"layers":   {imageOf(t, big, big), image.Limits{Layers: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			ref := h.push(t, c.img, "l/"+name+":1")
			dir := filepath.Join(t.TempDir(), "images")
			if _, err := open(t, image.Options{Dir: dir, Limits: c.limits}).Fetch(t.Context(), ref, image.Auth{}); !api.IsCode(err, api.CodeTooLarge) {
				t.Errorf("%v", err)
			}
			isEmpty(t, filepath.Join(dir, "new"), filepath.Join(dir, "layers"), filepath.Join(dir, "images"))
			fetch(t, open(t, image.Options{}), ref) // nothing else is wrong with it
		})
	}
}

// sparse is an archive of one file that has this size and no data, in the form
// of GNU tar.
func sparse(size int64) []byte {
	b := make([]byte, 3*512)
	octal := func(at, n int, v int64) { copy(b[at:], fmt.Sprintf("%0*o", n-1, v)) }
	copy(b, "a")
	octal(100, 8, 0o644)
	octal(108, 8, 0)
	octal(116, 8, 0)
	octal(124, 12, 0)
	octal(136, 12, 0)
	b[156] = 'S'
	copy(b[257:], "ustar  ")
	octal(386, 12, size) // a piece of nothing at the end
	octal(398, 12, 0)
	octal(483, 12, size)
	copy(b[148:156], "        ")
	sum := int64(0)
	for _, c := range b[:512] {
		sum += int64(c)
	}
	octal(148, 7, sum)
	b[154] = 0
	return b
}
