package build

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/hearth-run/hearth/api"
)

type tarEntry struct {
	name, text, link string
	kind             byte
	mode             int64
}

func tarOf(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if e.mode == 0 {
			e.mode = 0o644
		}
		if err := w.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.text)), Mode: e.mode}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t testing.TB, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		mode := fs.FileMode(0o644)
		switch e.kind {
		case tar.TypeSymlink:
			mode, e.text = fs.ModeSymlink|0o777, e.link
		case tar.TypeChar:
			mode = fs.ModeDevice | 0o644
		}
		if e.mode != 0 {
			mode = fs.FileMode(e.mode)
		}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func TestHostileArchives(t *testing.T) {
	file := func(name string) tarEntry { return tarEntry{name: name, text: "x"} }
	link := func(name, to string) tarEntry { return tarEntry{name: name, link: to, kind: tar.TypeSymlink} }
	hard := func(name, to string) tarEntry { return tarEntry{name: name, link: to, kind: tar.TypeLink} }
	small := Limits{Unpacked: 64 << 20, Files: 100}
	for _, c := range []struct {
		name string
		data []byte
		code api.Code
		says string
	}{
		{"parent", tarOf(t, file("ok"), file("../evil")), api.CodeUnsafeArchive, "leads out"},
		{"parent inside", tarOf(t, file("a/../../evil")), api.CodeUnsafeArchive, "leads out"},
		{"absolute", tarOf(t, file("/etc/evil")), api.CodeUnsafeArchive, "absolute"},
		{"backslash", zipOf(t, file(`..\evil`)), api.CodeUnsafeArchive, "backslash"},
		{"drive", zipOf(t, file("C:evil")), api.CodeUnsafeArchive, "drive"},
		{"zip parent", zipOf(t, file("ok"), file("../evil")), api.CodeUnsafeArchive, "leads out"},
		{"zip absolute", zipOf(t, file("/evil")), api.CodeUnsafeArchive, "absolute"},
		{"link out", tarOf(t, link("l", "../x")), api.CodeUnsafeArchive, "leads out"},
		{"link absolute", zipOf(t, link("l", "/etc/passwd")), api.CodeUnsafeArchive, "absolute"},
		{"through a link", tarOf(t, link("l", "."), file("l/x")), api.CodeUnsafeArchive, "through a symbolic link"},
		{"links out together", tarOf(t, tarEntry{name: "a/b/c", kind: tar.TypeDir}, link("q", "a/b/c/../../.."), link("a/b/l", "../.."), link("r", "a/b/l/..")), api.CodeUnsafeArchive, "leads out"},
		{"circle", tarOf(t, link("a", "b"), link("b", "a")), api.CodeUnsafeArchive, "circle"},
		{"hard link out", tarOf(t, hard("l", "../../etc/passwd")), api.CodeUnsafeArchive, "hard link"},
		{"hard link to nothing", tarOf(t, hard("l", "x")), api.CodeUnsafeArchive, "hard link"},
		{"hard link through a link", tarOf(t, link("s", "ok"), file("ok"), hard("l", "s")), api.CodeUnsafeArchive, "hard link"},
		{"device", tarOf(t, tarEntry{name: "d", kind: tar.TypeChar}), api.CodeUnsafeArchive, "device"},
		{"pipe", tarOf(t, tarEntry{name: "p", kind: tar.TypeFifo}), api.CodeUnsafeArchive, "special"},
		{"zip device", zipOf(t, tarEntry{name: "d", kind: tar.TypeChar}), api.CodeUnsafeArchive, "device"},
		{"twice", tarOf(t, file("a"), file("a")), api.CodeUnsafeArchive, "twice"},
		{"twice, other spelling", tarOf(t, file("a"), file("./a")), api.CodeUnsafeArchive, "twice"},
		{"zip twice", zipOf(t, file("a"), file("a")), api.CodeUnsafeArchive, "twice"},
		{"case", tarOf(t, file("Index.js"), file("index.js")), api.CodeUnsafeArchive, "case"},
		{"case of a folder", tarOf(t, file("Lib/a"), file("lib/b")), api.CodeUnsafeArchive, "case"},
		{"case, long s", tarOf(t, file("ſ"), file("S")), api.CodeUnsafeArchive, "case"},
		{"file as folder", tarOf(t, file("a"), file("a/b")), api.CodeUnsafeArchive, "is a file"},
		{"folder as file", tarOf(t, file("a/b"), file("a")), api.CodeUnsafeArchive, "twice"},
		{"itself", tarOf(t, file(".")), api.CodeUnsafeArchive, "itself"},
		{"control", zipOf(t, file("a\nb")), api.CodeUnsafeArchive, "control"},
		{"long", zipOf(t, file(strings.Repeat("a/", 600)+"b")), api.CodeUnsafeArchive, "long"},
		{"bomb", gzipped(tarOf(t, tarEntry{name: "zeros", text: strings.Repeat("\x00", 40<<20)})), api.CodeUnsafeArchive, "200 times"},
		{"zip bomb", zipOf(t, tarEntry{name: "zeros", text: strings.Repeat("\x00", 40<<20)}), api.CodeUnsafeArchive, "200 times"},
		{"too large", tarOf(t, tarEntry{name: "zeros", text: strings.Repeat("\x00", 65<<20)}), api.CodeTooLarge, "64Mi"},
		{"too many", tarOf(t, many(101)...), api.CodeUnsafeArchive, "100 entries"},
		{"zip too many", zipOf(t, many(101)...), api.CodeUnsafeArchive, "100 entries"},
		{"cut short", gzipped(tarOf(t, file("a")))[:40], api.CodeInvalid, "damaged"},
		{"no archive", []byte("hello"), api.CodeInvalid, "no zip"},
		{"empty", nil, api.CodeInvalid, "no zip"},
	} {
		t.Run(c.name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in", "src")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Unpack(t.Context(), bytes.NewReader(c.data), dir, small)
			if !api.IsCode(err, c.code) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v (%s), want %s with %q", err, api.AsError(err).Code, c.code, c.says)
			}
			onlyFolder(t, outer, "in/src")
		})
	}
}

func many(n int) (out []tarEntry) {
	for i := range n {
		out = append(out, tarEntry{name: fmt.Sprint(i)})
	}
	return out
}

// onlyFolder checks that below outer there is the empty folder dir alone.
func onlyFolder(t testing.TB, outer, dir string) {
	t.Helper()
	err := filepath.WalkDir(outer, func(p string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(outer, p)
		if err == nil && rel != "." && !strings.HasPrefix(dir+"/", rel+"/") {
			t.Errorf("a refused archive left %s", rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnpack(t *testing.T) {
	entries := []tarEntry{
		{name: "./", kind: tar.TypeDir, mode: 0o755}, {name: "bin/run", text: "#!/bin/sh", mode: 0o700}, {name: "lib/", kind: tar.TypeDir, mode: 0o700},
		{name: "lib/a.js", text: "a"}, {name: "link", link: "lib/a.js", kind: tar.TypeSymlink}, {name: "dangling", link: "built/later", kind: tar.TypeSymlink},
	}
	packed := tarOf(t, append(entries, tarEntry{name: "hard", link: "lib/a.js", kind: tar.TypeLink})...)
	for name, data := range map[string][]byte{"tar": packed, "gzip": gzipped(packed), "zstd": zstded(packed), "zip": zipOf(t, entries[1], entries[3], entries[4])} {
		dir := t.TempDir()
		if err := Unpack(t.Context(), bytes.NewReader(data), dir, Limits{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "link"))
		if err != nil || string(b) != "a" {
			t.Errorf("%s: through the link: %q, %v", name, b, err)
		}
		info, err := os.Stat(filepath.Join(dir, "bin/run"))
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestArchiveSources(t *testing.T) {
	data := gzipped(tarOf(t, tarEntry{name: "main.py", text: "x = 1\n"}))
	sum := sha256.Sum256(data)
	hexSum := hex.EncodeToString(sum[:])
	mux := http.NewServeMux()
	mux.HandleFunc("/a.tgz", func(w http.ResponseWriter, r *http.Request) { w.Write(data) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/a.tgz", http.StatusFound) })
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	mux.HandleFunc("/big", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 2<<20)) })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	b, blobs := newBuilder(t, func(c *Config) { c.Limits.Archive, c.Fetch = 1<<20, srv.Client() })
	other := strings.Repeat("0", 64)
	for _, c := range []struct {
		url, sum string
		code     api.Code
		says     []string
	}{
		{srv.URL + "/a.tgz", hexSum, "", nil},
		{srv.URL + "/moved", hexSum, "", nil},
		{srv.URL + "/a.tgz?token=hush", other, api.CodeChecksum, []string{hexSum, other}},
		{srv.URL + "/round", other, api.CodeUnreachable, []string{"10 redirects"}},
		{srv.URL + "/file", other, api.CodeUnreachable, []string{`scheme "file"`}},
		{srv.URL + "/absent?token=hush", other, api.CodeNotFound, []string{"404"}},
		{srv.URL + "/big", other, api.CodeTooLarge, []string{"1Mi"}},
		{"file:///etc/passwd", other, api.CodeInvalid, []string{"http"}},
		{"http://user:hush@127.0.0.1:1/x", other, api.CodeUnreachable, []string{"127.0.0.1:1/x"}},
	} {
		r := function("python", api.Source{Archive: &api.Archive{URL: c.url, Checksum: &api.Checksum{Sum: c.sum}}})
		r.Function.Metadata.Annotations = map[string]string{api.AnnotationRebuild: c.url}
		_, err := b.Build(t.Context(), r)
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", c.url, err)
			}
			continue
		}
		if !api.IsCode(err, c.code) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %v does not say %q", c.url, err, s)
			}
		}
	}
	info, err := blobs.Put(t.Context(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	res := mustBuild(t, b, function("python", api.Source{Archive: &api.Archive{Blob: string(info.Digest)}}))
	if res.SourceDigest != string(info.Digest) {
		t.Errorf("source %s", res.SourceDigest)
	}
	_, err = b.Build(t.Context(), function("python", api.Source{Archive: &api.Archive{Blob: "sha256:" + other}}))
	if !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("an archive that was never uploaded: %v", err)
	}
}

func TestFolderSource(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"index.js": "", "package.json": `{"dependencies":{}}`, "node_modules/kept/index.js": "", ".git/config": "", ".hearth/state": "", "dist/out.js": "", "secret.env": "",
		"a/__pycache__/x.pyc": "", ".venv/pyvenv.cfg": "", "env/pyvenv.cfg": "", "notes.log": "", "keep.log": "", ".gitignore": "dist/\n*.log\n!keep.log\n", ".hearthignore": "/secret.env\n!dist/\n",
		"b/package.json": `{"dependencies":{"x":"1"}}`, "b/node_modules/x/index.js": "",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, blobs := newBuilder(t, nil)
	res := mustBuild(t, b, function("node", api.Source{Folder: dir}))
	var got []string
	for name := range entries(t, blobs, res.Artifact) {
		if !strings.HasSuffix(name, "/") {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	want := []string{"b/package.json", "dist/out.js", "index.js", "keep.log", "node_modules/kept/index.js", "package.json"}
	if !slices.Equal(got, want) {
		t.Errorf("took %v, want %v", got, want)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "passwd")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Build(t.Context(), function("node", api.Source{Folder: dir})); !api.IsCode(err, api.CodeUnsafeArchive) {
		t.Errorf("a link out of the folder: %v", err)
	}
	one := mustBuild(t, b, function("", api.Source{Folder: filepath.Join(dir, "index.js")}))
	if got := entries(t, blobs, one.Artifact); len(got) != 1 || one.Runtime != "node" {
		t.Errorf("a single file: %v of %s", got, one.Runtime)
	}
	if _, err := b.Build(t.Context(), function("node", api.Source{Folder: filepath.Join(dir, "absent")})); !api.IsCode(err, api.CodeNotFound) {
		t.Errorf("no folder: %v", err)
	}
	b.cfg.Folders = false
	if _, err := b.Build(t.Context(), function("node", api.Source{Folder: dir})); !api.IsCode(err, api.CodeForbidden) {
		t.Errorf("not allowed: %v", err)
	}
}

func TestIgnore(t *testing.T) {
	var ig ignore
	ig.add("# comment\n*.log\n!keep.log\nbuild/\n/top\ndocs/*.md\n**/deep/x\na/**/z\n\\#odd\n")
	for name, want := range map[string]bool{
		"a.log": true, "x/a.log": true, "keep.log": false, "build/": true, "x/build/": true, "build": false, "top": true, "x/top": false,
		"docs/a.md": true, "docs/x/a.md": false, "deep/x": true, "q/deep/x": true, "a/z": true, "a/b/c/z": true, "#odd": true, "main.js": false,
	} {
		clean, dir := strings.CutSuffix(name, "/")
		if got := ig.match(clean, dir); got != want {
			t.Errorf("%s: left out %v", name, got)
		}
	}
}

// FuzzUnpack holds what no archive may break: nothing outside the folder, no
// link that leads out, and nothing at all after an error.
func FuzzUnpack(f *testing.F) {
	seeds := []tarEntry{{name: "a/b", text: "x"}, {name: "l", link: "a/b", kind: tar.TypeSymlink}, {name: "a/m", link: "../l", kind: tar.TypeSymlink}, {name: "d/", kind: tar.TypeDir}}
	packed := tarOf(f, append(seeds, tarEntry{name: "h", link: "a/b", kind: tar.TypeLink})...)
	f.Add(packed)
	f.Add(gzipped(packed))
	f.Add(zstded(packed))
	f.Add(zipOf(f, seeds[:3]...))
	f.Add(tarOf(f, tarEntry{name: "../x", text: "x"}))
	f.Add([]byte("PK\x05\x06"))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "src")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := Unpack(context.Background(), bytes.NewReader(data), dir, Limits{Unpacked: 1 << 20, Files: 50}); err != nil {
			onlyFolder(t, outer, "src")
			return
		}
		top, err := os.ReadDir(outer)
		if err != nil || len(top) != 1 {
			t.Fatalf("outside the folder: %v, %v", top, err)
		}
		if err := pack(context.Background(), dir, &bytes.Buffer{}, Limits{}.withDefaults()); err != nil {
			t.Fatalf("what was unpacked cannot be packed: %v", err)
		}
		err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.Type() == fs.ModeSymlink {
				if to, err := filepath.EvalSymlinks(p); err == nil && to != dir && !strings.HasPrefix(to, dir+"/") {
					t.Errorf("%s leads to %s", p, to)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
