package image_test

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/driver/container/image"
)

// TestAttributes: what of a file is kept, in a layer and in a copy.
func TestAttributes(t *testing.T) {
	at := time.Unix(1_600_000_000, 123_456_000)
	es := entries{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o711, ModTime: at},
		{Typeflag: tar.TypeDir, Name: "d", Mode: 0o1777, Uid: 7, Gid: 8, ModTime: at},
		{Typeflag: tar.TypeReg, Name: "d/f", Linkname: "content", Mode: 0o4755, Uid: 1234, Gid: 70_000, ModTime: at, PAXRecords: map[string]string{
			"SCHILY.xattr.user.mine": "kept", "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/etc",
			"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		}},
		{Typeflag: tar.TypeLink, Name: "d/h", Linkname: "d/f"},
		{Typeflag: tar.TypeSymlink, Name: "s", Linkname: "/no/where", Uid: 5, Gid: 6, ModTime: at},
		{Typeflag: tar.TypeFifo, Name: "p", Mode: 0o640, Uid: 1, Gid: 2, ModTime: at},
		{Typeflag: tar.TypeReg, Name: "locked/f", Linkname: "x", Mode: 0},
		{Typeflag: tar.TypeDir, Name: "locked", Mode: 0, ModTime: at},
		{Typeflag: tar.TypeReg, Name: "old", ModTime: time.Unix(-5, 0)},
	}
	for _, overlay := range []bool{true, false} {
		i := fetchLayers(t, image.Options{Overlay: overlay, UserXattr: overlay}, es)
		to := filepath.Join(t.TempDir(), "root")
		if err := i.Copy(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		for _, root := range []string{i.Layers[0], to} {
			check := func(name string, mode uint32, uid, gid uint32) {
				t.Helper()
				var st unix.Stat_t
				if err := unix.Lstat(filepath.Join(root, name), &st); err != nil {
					t.Fatal(err)
				}
				if os.Geteuid() != 0 {
					uid, gid, mode, st.Mode = st.Uid, st.Gid, mode|0o700, st.Mode|0o700
				}
				if st.Mode != mode || st.Uid != uid || st.Gid != gid || st.Mtim.Sec != at.Unix() {
					t.Errorf("%s: mode %o owner %d:%d time %d, want %o %d:%d %d", name, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, mode, uid, gid, at.Unix())
				}
			}
			check(".", unix.S_IFDIR|0o711, 0, 0)
			check("d", unix.S_IFDIR|0o1777, 7, 8)
			check("d/f", unix.S_IFREG|0o4755, 1234, 70_000)
			check("d/h", unix.S_IFREG|0o4755, 1234, 70_000)
			check("s", unix.S_IFLNK|0o777, 5, 6)
			check("p", unix.S_IFIFO|0o640, 1, 2)
			check("locked", unix.S_IFDIR, 0, 0)
			f, h := filepath.Join(root, "d/f"), filepath.Join(root, "d/h")
			a, _ := os.Stat(f)
			b, _ := os.Stat(h)
			if !os.SameFile(a, b) {
				t.Error("the hard link is a file of its own")
			}
			buf := make([]byte, 1000)
			n, err := unix.Llistxattr(f, buf)
			if err != nil || string(buf[:n]) != "user.mine\x00" {
				t.Errorf("attributes %q %v", buf[:n], err)
			}
		}
	}
}

// fetchLayers makes an image of layers and fetches it.
func fetchLayers(t testing.TB, o image.Options, layers ...entries) *image.Image {
	t.Helper()
	h := newHub(t)
	var ls []v1.Layer
	for _, es := range layers {
		ls = append(ls, layerOf(t, es.archive(t), types.OCIUncompressedLayer))
	}
	return fetch(t, open(t, o), h.push(t, imageOf(t, ls...), "t/t:1"))
}

// TestHostile: what such layers may do is nothing outside, and what they are
// told. The folder around the store is looked at afterwards.
func TestHostile(t *testing.T) {
	const refused = "refused"
	inside := map[string]struct {
		es   entries
		want any // the merged tree, or why it is refused
	}{
		"dotdot":                    {entries{file("../evil", "x")}, "leads out"},
		"dotdot inside":             {entries{file("a/../../evil", "x")}, "leads out"},
		"absolute":                  {entries{file("/evil", "x")}, map[string]string{"evil": "x"}},
		"absolute link, write":      {entries{symlink("l", "/tmp"), file("l/evil", "x")}, map[string]string{"l": "-> /tmp", "tmp": "dir", "tmp/evil": "x"}},
		"relative link, write":      {entries{symlink("l", "../../../.."), file("l/evil", "x")}, map[string]string{"l": "-> ../../../..", "evil": "x"}},
		"links of links":            {entries{symlink("a", "b/../.."), symlink("b", "/c"), file("a/evil", "x")}, map[string]string{"a": "-> b/../..", "b": "-> /c", "c": "dir", "evil": "x"}},
		"circle":                    {entries{symlink("a", "b"), symlink("b", "a"), file("a/evil", "x")}, "in circles"},
		"file over link":            {entries{symlink("l", "/etc/passwd"), file("l", "x")}, map[string]string{"l": "x"}},
		"link to itself":            {entries{symlink("l", "l"), file("l/x", "x")}, "in circles"},
		"through a file":            {entries{file("f", "x"), file("f/x", "x")}, "a file and a folder"},
		"hard link out":             {entries{hardlink("h", "../../etc/passwd")}, "leads out"},
		"hard link absolute":        {entries{hardlink("h", "/etc/passwd")}, "not in the layer"},
		"hard link by symlink":      {entries{symlink("e", "/etc"), hardlink("h", "e/passwd")}, "not in the layer"},
		"hard link to folder":       {entries{dir("d"), hardlink("h", "d")}, "no file of the layer"},
		"hard link to nothing":      {entries{hardlink("h", "x")}, "no file of the layer"},
		"hard link to itself":       {entries{file("h", "x"), hardlink("h", "h")}, map[string]string{"h": "x"}},
		"hard link, then write":     {entries{symlink("s", "/etc/passwd"), hardlink("h", "s"), file("h", "x")}, map[string]string{"s": "-> /etc/passwd", "h": "x"}},
		"hard link over its folder": {entries{file("d/f", "x"), hardlink("d", "d/f")}, "takes the place"},
		"device":                    {entries{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}, {Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 8}, file("f", "x")}, map[string]string{"f": "x"}},
		"whiteout of dotdot":        {entries{file(".wh...", "")}, "hides nothing"},
		"whiteout of dot":           {entries{file("a/.wh..", "")}, "hides nothing"},
		"whiteout of nothing":       {entries{file(".wh.", "")}, "hides nothing"},
		"whiteout by link":          {entries{symlink("l", "/"), file("l/.wh.x", "")}, map[string]string{"l": "-> /"}},
		"folder over link":          {entries{symlink("l", "/etc"), dir("l"), file("l/x", "x")}, map[string]string{"l": "dir", "l/x": "x"}},
		"link over folder":          {entries{dir("l"), file("l/x", "x"), symlink("l", "/m"), file("l/y", "y")}, map[string]string{"l": "-> /m", "m": "dir", "m/y": "y"}},
		"twice":                     {entries{file("f", "1"), file("f", "2"), dir("f"), file("f/x", "3"), file("f", "4")}, map[string]string{"f": "4"}},
		"root is a file":            {entries{file(".", "x"), file("f", "x")}, map[string]string{"f": "x"}},
		"root is a link":            {entries{symlink(".", "/etc"), file("passwd", "x")}, map[string]string{"passwd": "x"}},
		"long name":                 {entries{file(strings.Repeat("n", 300), "")}, "longer than"},
		"long path":                 {entries{file(strings.Repeat("n/", 3000)+"n", "")}, "too long"},
		"deep by links":             {entries{symlink("a", strings.Repeat("d/", 2000)), symlink("b", "a/"+strings.Repeat("d/", 1000)), file("b/f", "")}, refused},
		"odd kind":                  {entries{{Typeflag: 'V', Name: "volume"}}, "unknown type"},
		"mark that is no whiteout":  {entries{file(".wh..wh.plnk", ""), file("f", "x")}, map[string]string{"f": "x"}},
	}
	for name, c := range inside {
		t.Run(name, func(t *testing.T) {
			around := t.TempDir()
			store := filepath.Join(around, "a/b/c/d/images")
			h := newHub(t)
			img := imageOf(t, layerOf(t, c.es.archive(t), types.OCILayer))
			ref := h.push(t, img, "h/h:1")
			s := open(t, image.Options{Dir: store, Overlay: true, UserXattr: true})
			i, err := s.Fetch(t.Context(), ref, image.Auth{})
			switch want := c.want.(type) {
			case string:
				if want == refused {
					want = ""
				}
				if !api.IsCode(err, api.CodeUnsafeArchive) || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
				isEmpty(t, filepath.Join(store, "new"), filepath.Join(store, "layers"), filepath.Join(store, "images"))
			case map[string]string:
				if err != nil {
					t.Fatal(err)
				}
				defer i.Release()
				if d := cmp.Diff(want, tree(t, i)); d != "" {
					t.Error(d)
				}
			}
			if outside := listing(t, filepath.Join(around, "a")); len(outside) > 0 {
				for p := range outside {
					if !strings.HasPrefix("b/c/d/images", p) && !strings.HasPrefix(p, "b/c/d/images/") {
						t.Errorf("%s was written outside", p)
					}
				}
			}
			if es, _ := os.ReadDir(around); len(es) != 1 {
				t.Errorf("outside there is %v", es)
			}
		})
	}
}

// TestMerge holds the copy and the kernel's overlay to a model of what layers
// mean.
func TestMerge(t *testing.T) {
	mountable := canMount(t)
	h := newHub(t)
	rapid.Check(t, func(rt *rapid.T) {
		names := []string{"a", "b", "c"}
		model := map[string]string{}
		remove := func(p string) {
			delete(model, p)
			for k := range model {
				if strings.HasPrefix(k, p+"/") {
					delete(model, k)
				}
			}
		}
		var layers []v1.Layer
		for range rapid.IntRange(1, 4).Draw(rt, "layers") {
			var es entries
			done := map[string]string{} // what this layer has under a name
			hidden := map[string]bool{}
			type add struct{ path, what string }
			var adds []add
			for range rapid.IntRange(1, 6).Draw(rt, "entries") {
				depth := rapid.IntRange(1, 3).Draw(rt, "depth")
				var parts []string
				for range depth {
					parts = append(parts, rapid.SampledFrom(names).Draw(rt, "name"))
				}
				ok := true
				for n := 1; n < depth; n++ { // parents are folders of this layer
					p := strings.Join(parts[:n], "/")
					if done[p] != "" && done[p] != "dir" {
						ok = false
						break
					}
				}
				p := strings.Join(parts, "/")
				if !ok || done[p] != "" {
					continue
				}
				for n := 1; n < depth; n++ {
					q := strings.Join(parts[:n], "/")
					if done[q] == "" {
						done[q] = "dir"
						es = append(es, dir(q))
						adds = append(adds, add{q, "dir"})
					}
				}
				parent := ""
				if depth > 1 {
					parent = strings.Join(parts[:depth-1], "/") + "/"
				}
				switch k := rapid.IntRange(0, 4).Draw(rt, "kind"); k {
				case 0:
					es, done[p] = append(es, dir(p)), "dir"
					adds = append(adds, add{p, "dir"})
				case 1:
					es, done[p] = append(es, symlink(p, "/a")), "link"
					adds = append(adds, add{p, "-> /a"})
				case 2:
					es = append(es, file(parent+".wh."+parts[depth-1], ""))
					hidden[p] = true
				case 3:
					es = append(es, file(parent+".wh..wh..opq", ""))
					hidden[parent+"*"] = true
				default:
					content := rapid.StringMatching("[a-z]{3}").Draw(rt, "content")
					es, done[p] = append(es, file(p, content)), "file"
					adds = append(adds, add{p, content})
				}
			}
			for p := range hidden {
				if in, all := strings.CutSuffix(p, "*"); all {
					for k := range model {
						if strings.HasPrefix(k, in) {
							delete(model, k)
						}
					}
				} else {
					remove(p)
				}
			}
			for _, a := range adds {
				if !(a.what == "dir" && model[a.path] == "dir") {
					remove(a.path)
				}
				model[a.path] = a.what
			}
			layers = append(layers, layerOf(t, es.archive(t), types.OCIUncompressedLayer))
		}
		// A whiteout's parents exist in this layer; a name hidden and given in
		// one layer is the new one, as in the model.
		ref := h.push(t, imageOf(t, layers...), "m/m:1")
		for _, overlay := range []bool{false, true} {
			d, err := os.MkdirTemp(t.TempDir(), "")
			if err != nil {
				rt.Fatal(err)
			}
			s, err := image.Open(image.Options{Dir: filepath.Join(d, "images"), Overlay: overlay})
			if err != nil {
				rt.Fatal(err)
			}
			i, err := s.Fetch(t.Context(), ref, image.Auth{})
			if err != nil {
				rt.Fatal(err)
			}
			if d := cmp.Diff(model, tree(t, i)); d != "" {
				rt.Fatalf("the copy (overlay %v) differs: %s", overlay, d)
			}
			if overlay && mountable {
				if d := cmp.Diff(model, mounted(t, i)); d != "" {
					rt.Fatalf("the overlay differs: %s", d)
				}
			}
			i.Release()
			s.Close()
		}
	})
}

// canMount reports whether this process may mount an overlay; a test goes on
// without where it may not.
func canMount(t *testing.T) bool {
	d := t.TempDir()
	for _, n := range []string{"l", "u", "w", "m"} {
		if err := os.Mkdir(filepath.Join(d, n), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	err := unix.Mount("overlay", filepath.Join(d, "m"), "overlay", 0, "lowerdir="+filepath.Join(d, "l")+",upperdir="+filepath.Join(d, "u")+",workdir="+filepath.Join(d, "w"))
	if err != nil {
		t.Logf("overlayfs is not compared: %v", err)
		return false
	}
	if err := unix.Unmount(filepath.Join(d, "m"), 0); err != nil {
		t.Fatal(err)
	}
	return true
}

func mounted(t *testing.T, i *image.Image) map[string]string {
	d, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"u", "w", "m"} {
		if err := os.Mkdir(filepath.Join(d, n), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var lower []string
	for n := len(i.Layers) - 1; n >= 0; n-- {
		lower = append(lower, i.Layers[n])
	}
	to := filepath.Join(d, "m")
	if err := unix.Mount("overlay", to, "overlay", 0, "lowerdir="+strings.Join(lower, ":")+",upperdir="+filepath.Join(d, "u")+",workdir="+filepath.Join(d, "w")); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(to, 0)
	all := listing(t, to)
	for name := range all {
		// Where no layer below has the folder, the kernel lists whiteouts that
		// hide nothing, although there is no such file.
		if _, err := os.Lstat(filepath.Join(to, name)); errors.Is(err, fs.ErrNotExist) {
			delete(all, name)
		}
	}
	return all
}

// TestUnprivileged: another user than root gets files of his own, can read
// them, and nothing keeps him from dropping them.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		return // every other test shows it
	}
	d := t.TempDir()
	if err := os.Chown(d, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	for p := d; p != "/"; p = filepath.Dir(p) {
		if st, err := os.Stat(p); err == nil && st.Mode().Perm()&0o001 == 0 {
			if err := os.Chmod(p, st.Mode().Perm()|0o011); err != nil {
				t.Fatal(err)
			}
		}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(d, "test")
	if err := os.WriteFile(own, data, 0o755); err != nil {
		t.Fatal(err)
	}
	h := newHub(t)
	ref := h.push(t, imageOf(t,
		layerOf(t, entries{{Typeflag: tar.TypeDir, Name: "locked"}, {Typeflag: tar.TypeReg, Name: "locked/f", Linkname: "x", Uid: 5}, dir("gone"), file("gone/x", "x")}.archive(t), types.OCILayer),
		layerOf(t, entries{file(".wh.gone", ""), file("locked/g", "y")}.archive(t), types.OCILayer)), "u/u:1")
	c := child(t, own, "fetch", ref, filepath.Join(d, "images"))
	c.Dir = d
	c.Env = append(c.Env, "TMPDIR="+d)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "locked/g") || strings.Contains(string(out), "gone") {
		t.Errorf("%v: %s", err, out)
	}
	isEmpty(t, filepath.Join(d, "images/layers"))
}
