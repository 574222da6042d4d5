package registry_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/hearth-run/hearth/control/registry"
)

// TestSweep: what is dropped when nobody needs it, and what stays.
func TestSweep(t *testing.T) {
	used := map[string]bool{}
	gone := map[string]bool{}
	s := serve(t, func(o *registry.Options) {
		o.Grace = time.Nanosecond
		o.Used = func(context.Context) (map[string]bool, error) { return used, nil }
		o.Exists = func(_ context.Context, ns string) (bool, error) { return !gone[ns], nil }
	})
	layer, err := random.Layer(5000, types.DockerLayer)
	if err != nil {
		t.Fatal(err)
	}
	images := map[string]v1.Image{}
	for _, tag := range []string{"kept", "used", "lost"} {
		img, err := mutate.AppendLayers(randomImage(t), layer)
		if err != nil {
			t.Fatal(err)
		}
		images[tag] = img
		if err := remote.Write(s.ref("shop/s:"+tag), img, s.as("ada")); err != nil {
			t.Fatal(err)
		}
	}
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: randomImage(t)})
	if err := remote.WriteIndex(s.ref("shop/ix:1"), index, s.as("ada")); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(s.ref("bank/b:1"), images["kept"], s.as("bob")); err != nil {
		t.Fatal(err)
	}
	d, _ := images["used"].Digest()
	used[d.String()] = true
	for _, tag := range []string{"used", "lost"} {
		if err := remote.Delete(s.ref("shop/s:"+tag), s.as("ada")); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.reg.Sweep(t.Context()); err != nil || n < 3000 {
		t.Errorf("%d bytes: %v", n, err)
	}
	if n, err := s.reg.Sweep(t.Context()); err != nil || n != 0 {
		t.Errorf("the second sweep freed %d bytes: %v", n, err)
	}
	for tag, there := range map[string]bool{"kept": true, "used": true, "lost": false} {
		d, _ := images[tag].Digest()
		got, err := remote.Image(s.ref("shop/s@"+d.String()), s.as("ada"))
		if (err == nil) != there {
			t.Errorf("%s: %v", tag, err)
		} else if err == nil {
			if err := validate.Image(got); err != nil {
				t.Errorf("%s: %v", tag, err)
			}
		}
	}
	x, err := remote.Index(s.ref("shop/ix:1"), s.as("ada"))
	if err != nil || validate.Index(x) != nil {
		t.Errorf("the index: %v", err)
	}
	// A tenant's images go with it, but not what others have too.
	gone["bank"] = true
	if _, err := s.reg.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "repos", "bank", "b")); !os.IsNotExist(err) {
		t.Errorf("the tenant's images: %v", err)
	}
	if got, err := remote.Image(s.ref("shop/s:kept"), s.as("ada")); err != nil || validate.Image(got) != nil {
		t.Errorf("what both had: %v", err)
	}
	if err := remote.Delete(s.ref("shop/s:kept"), s.as("ada")); err != nil {
		t.Fatal(err)
	}
	if err := remote.Delete(s.ref("shop/ix:1"), s.as("ada")); err != nil {
		t.Fatal(err)
	}
	used = nil
	if _, err := s.reg.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	left := 0
	_ = filepath.WalkDir(s.dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			left++
		}
		return err
	})
	if left != 0 {
		t.Errorf("%d files are left of nothing", left)
	}
}

// TestSweepWhilePushing: an image whose push was acknowledged is whole, however
// often what is not named yet is swept meanwhile. The push itself may fail then.
func TestSweepWhilePushing(t *testing.T) {
	s := serve(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	var sweeper, pushers sync.WaitGroup
	sweeper.Go(func() {
		for ctx.Err() == nil {
			_ = filepath.WalkDir(s.dir, func(p string, e os.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					old := time.Now().Add(-2 * time.Hour)
					_ = os.Chtimes(p, old, old)
				}
				return nil
			})
			if _, err := s.reg.Sweep(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	var mu sync.Mutex
	whole := map[string]bool{}
	for n := range 3 {
		pushers.Go(func() {
			for m := range 8 {
				repo := fmt.Sprintf("shop/p%d:%d-%d", n%2, n, m)
				if err := remote.Write(s.ref(repo), randomImage(t), s.as("ada")); err == nil {
					mu.Lock()
					whole[repo] = true
					mu.Unlock()
				} else if !strings.Contains(err.Error(), "MANIFEST_BLOB_UNKNOWN") {
					t.Error(err)
				}
			}
		})
	}
	pushers.Wait()
	stop()
	sweeper.Wait()
	t.Logf("%d of 24 pushes were acknowledged", len(whole))
	for repo := range whole {
		got, err := remote.Image(s.ref(repo), s.as("ada"))
		if err == nil {
			err = validate.Image(got)
		}
		if err != nil {
			t.Errorf("%s: %v", repo, err)
		}
	}
}
