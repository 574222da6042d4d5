package image_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/hearth-run/hearth/driver/container/image"
)

const asChild = "HEARTH_IMAGE_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "" {
		os.Exit(m.Run())
	}
	if err := act(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// act is what the child does: fetch an image and list it; "fetch" drops
// everything afterwards.
func act(what, ref, dir string) error {
	s, err := image.Open(image.Options{Dir: dir, Overlay: true, UserXattr: true})
	if err != nil {
		return err
	}
	fmt.Println("open")
	i, err := s.Fetch(context.Background(), ref, image.Auth{})
	if err != nil {
		return errors.Join(err, errors.Unwrap(err))
	}
	fmt.Println("fetched")
	if what == "keep" {
		return nil
	}
	to := dir + "-copy"
	if err := i.Copy(context.Background(), to); err != nil {
		return err
	}
	err = filepath.WalkDir(to, func(p string, _ os.DirEntry, err error) error {
		if err == nil {
			fmt.Println(strings.TrimPrefix(p, to))
		}
		return err
	})
	i.Release()
	_, collected := s.Collect(context.Background(), nil)
	return errors.Join(err, collected)
}

func child(t *testing.T, exe, what, ref, dir string) *exec.Cmd {
	c := exec.CommandContext(t.Context(), exe, what, ref, dir)
	c.Env = append(os.Environ(), asChild+"=1")
	return c
}

// TestKilled: a fetch that is killed at any time leaves nothing that is later
// taken for whole, and the next goes on.
func TestKilled(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(t)
	var layers []v1.Layer
	want := map[string]string{}
	for l := range 4 {
		var es entries
		for n := range 150 {
			name, content := fmt.Sprintf("%d-%d", l, n), strings.Repeat(fmt.Sprint(n), 1000)
			es = append(es, file(name, content))
			want[name] = content
		}
		layers = append(layers, layerOf(t, es.archive(t), types.OCIUncompressedLayer))
	}
	ref := h.push(t, imageOf(t, layers...), "k/k:1")
	// The network is slow enough for the child to be met everywhere.
	h.on(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		for _, l := range layers {
			if d, _ := l.Digest(); strings.HasSuffix(r.URL.Path, d.String()) {
				body, err := l.Compressed()
				if err != nil {
					t.Error(err)
					return true
				}
				defer body.Close()
				all, _ := io.ReadAll(body)
				http.ServeContent(&slow{w, 2 * time.Millisecond}, r, "", time.Time{}, strings.NewReader(string(all)))
				return true
			}
		}
		return false
	})
	dir := filepath.Join(t.TempDir(), "images")
	seen := map[string]bool{}
	for n := range 25 {
		c := child(t, exe, "keep", ref, dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan() // it is open
		die := time.AfterFunc(time.Duration(rand.Int64N(int64(150*time.Millisecond))), func() { c.Process.Kill() })
		for lines.Scan() {
		}
		err = c.Wait()
		die.Stop()
		for _, f := range []string{"new", "partial", "layers", "images"} {
			if es, _ := os.ReadDir(filepath.Join(dir, f)); len(es) > 0 {
				seen[f] = true
			}
		}
		if err == nil { // whole: begin again with nothing
			s := open(t, image.Options{Dir: dir, Overlay: true, UserXattr: true})
			if d := cmp.Diff(want, tree(t, fetch(t, s, ref))); d != "" {
				t.Fatalf("round %d: %s", n, d)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("met with %v", seen)
	s := open(t, image.Options{Dir: dir, Overlay: true, UserXattr: true})
	isEmpty(t, filepath.Join(dir, "new"))
	if d := cmp.Diff(want, tree(t, fetch(t, s, ref))); d != "" {
		t.Error(d)
	}
}

// slow writes piece by piece.
type slow struct {
	http.ResponseWriter
	pause time.Duration
}

func (s *slow) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		k := min(len(p), 16<<10)
		_, err = s.ResponseWriter.Write(p[:k])
		http.NewResponseController(s.ResponseWriter).Flush()
		n, p = n+k, p[k:]
		<-time.After(s.pause)
	}
	return n, err
}

// TestPowerLoss: a layer that may not have been on the disk when the machine
// went down is not trusted; one that was, or of this run of the kernel, is.
func TestPowerLoss(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no boot id")
	}
	h := newHub(t)
	ref := h.push(t, imageOf(t, layerOf(t, entries{file("a", "a")}.archive(t), types.OCILayer)), "k/p:1")
	dir := filepath.Join(t.TempDir(), "images")
	s := open(t, image.Options{Dir: dir})
	i := fetch(t, s, ref)
	s.Close()
	state := filepath.Join(filepath.Dir(i.Layers[0]), "state")
	settled, err := os.ReadFile(state)
	if err != nil || !strings.HasPrefix(string(settled), "settled") {
		t.Fatal(string(settled), err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	another := strings.Repeat("0", len(strings.TrimSpace(string(boot))))
	for _, c := range []struct {
		name, state string
		kept        bool
	}{
		{"this boot", strings.TrimSpace(string(boot)), true},
		{"settled, whenever it was", string(settled), true},
		{"another boot", another, false},
		{"torn", "sett", false},
		{"empty", "", false},
	} {
		if err := os.WriteFile(state, []byte(c.state), 0o600); err != nil {
			t.Fatal(err)
		}
		before := h.count("/blobs/")
		s := open(t, image.Options{Dir: dir})
		got := fetch(t, s, ref)
		if d := cmp.Diff(map[string]string{"a": "a"}, tree(t, got)); d != "" {
			t.Error(d)
		}
		if kept := h.count("/blobs/") == before; kept != c.kept {
			t.Errorf("%s: kept is %v", c.name, kept)
		}
		s.Close()
		if got, err := os.ReadFile(state); err != nil || string(got) != string(settled) {
			t.Errorf("%s: it is not settled: %q %v", c.name, got, err)
		}
	}
}
