package image_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hearth-run/hearth/driver/container/image"
)

// BenchmarkHeld is what every start of an instance pays: an image that is there.
func BenchmarkHeld(b *testing.B) {
	h := newHub(b)
	s := open(b, image.Options{})
	first := fetch(b, s, h.push(b, imageOf(b,
		layerOf(b, entries{file("a", "a")}.archive(b), types.OCILayer), layerOf(b, entries{file("b", "b")}.archive(b), types.OCILayer),
		layerOf(b, entries{file("c", "c")}.archive(b), types.OCILayer), layerOf(b, entries{file("d", "d")}.archive(b), types.OCILayer)), "x/x:1"))
	ref := h.host() + "/x/x@" + first.Digest
	for b.Loop() {
		i, err := s.Fetch(b.Context(), ref, image.Auth{})
		if err != nil {
			b.Fatal(err)
		}
		i.Release()
	}
}

// BenchmarkUnpack fetches a layer of many small files, as those of languages are.
func BenchmarkUnpack(b *testing.B) {
	var es entries
	total := 0
	for d := range 200 {
		es = append(es, dir(fmt.Sprintf("lib/d%d", d)))
		for f := range 50 {
			content := make([]byte, rand.IntN(16<<10))
			for i := range content {
				content[i] = byte(rand.IntN(32))
			}
			es = append(es, file(fmt.Sprintf("lib/d%d/f%d", d, f), string(content)))
			total += len(content)
		}
	}
	h := newHub(b)
	ref := h.push(b, imageOf(b, layerOf(b, es.archive(b), types.OCILayer)), "x/x:1")
	b.SetBytes(int64(total))
	for b.Loop() {
		b.StopTimer()
		s := open(b, image.Options{Dir: filepath.Join(b.TempDir(), "images"), Overlay: true})
		b.StartTimer()
		fetch(b, s, ref)
	}
}
