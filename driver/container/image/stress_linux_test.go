package image_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/driver/container/image"
)

// TestCollectWhileFetching: whoever holds an image has all of it, whatever is
// dropped meanwhile.
func TestCollectWhileFetching(t *testing.T) {
	h := newHub(t)
	shared := layerOf(t, entries{file("shared", "s")}.archive(t), types.OCILayer)
	var refs []string
	for n := range 3 {
		refs = append(refs, h.push(t, imageOf(t, shared, layerOf(t, entries{file("own", fmt.Sprint(n))}.archive(t), types.OCILayer)), fmt.Sprintf("s/i%d:1", n)))
	}
	dir := filepath.Join(t.TempDir(), "images")
	s := open(t, image.Options{Dir: dir})
	var users, sweeper sync.WaitGroup
	stop := make(chan struct{})
	sweeper.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.Collect(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
	})
	for g := range 4 {
		users.Go(func() {
			for n := range 15 {
				k := (g + n) % len(refs)
				i, err := s.Fetch(t.Context(), refs[k], image.Auth{})
				if err != nil {
					t.Error(err)
					return
				}
				for layer, name := range map[int]string{0: "shared", 1: "own"} {
					want := map[string]string{"shared": "s", "own": fmt.Sprint(k)}[name]
					if got, err := os.ReadFile(filepath.Join(i.Layers[layer], name)); err != nil || string(got) != want {
						t.Errorf("%s is %q: %v", name, got, err)
					}
				}
				i.Release()
			}
		})
	}
	users.Wait()
	close(stop)
	sweeper.Wait()
	if _, err := s.Collect(t.Context(), nil); err != nil {
		t.Error(err)
	}
	s.Close()
	for _, d := range []string{"new", "partial", "layers", "images"} {
		isEmpty(t, filepath.Join(dir, d))
	}
}

// TestFullDisk: an image for which there is no room is told as that, and leaves
// nothing behind.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=2m,mode=700"); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			t.Skip("no disk can be made here")
		}
		t.Fatal(err)
	}
	defer unix.Unmount(disk, unix.MNT_DETACH)
	h := newHub(t)
	small := h.push(t, imageOf(t, layerOf(t, entries{file("a", "a")}.archive(t), types.OCILayer)), "f/small:1")
	unpacks := h.push(t, imageOf(t, layerOf(t, entries{file("a", strings.Repeat("a", 4<<20))}.archive(t), types.OCILayer)), "f/unpacks:1")
	downloads := h.push(t, imageOf(t, layerOf(t, entries{file("a", strings.Repeat("b", 4<<20))}.archive(t), types.OCIUncompressedLayer)), "f/downloads:1")
	dir := filepath.Join(disk, "images")
	s := open(t, image.Options{Dir: dir})
	for _, ref := range []string{unpacks, downloads} {
		if _, err := s.Fetch(t.Context(), ref, image.Auth{}); !api.IsCode(err, api.CodeDisk) || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%s: %v", ref, err)
		}
		isEmpty(t, filepath.Join(dir, "new"), filepath.Join(dir, "layers"), filepath.Join(dir, "images"), filepath.Join(dir, "partial"))
	}
	i := fetch(t, s, small)
	if got := listing(t, i.Layers[0]); got["a"] != "a" {
		t.Error(got)
	}
}
