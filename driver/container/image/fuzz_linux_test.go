package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/api"
)

// FuzzUnpack builds archives of entries that mean harm and holds that whatever
// comes of them stays inside.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte{2, 9, 1, 0, 9, 3, 1, 9, 10})
	f.Add([]byte{2, 0, 7, 0, 4, 1, 1, 2, 4, 5, 0, 1})
	f.Add([]byte{2, 0, 8, 2, 1, 0, 0, 3, 9, 1, 4, 9, 3, 0, 2})
	f.Add([]byte{5, 0, 0, 5, 1, 0, 2, 0, 6, 1, 3, 0, 0, 12, 0})
	f.Fuzz(func(t *testing.T, program []byte) {
		around := t.TempDir()
		outside := filepath.Join(around, "outside")
		root := filepath.Join(around, "x", "root")
		for _, d := range []string{outside, root} {
			if err := os.MkdirAll(d, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(outside, "file"), []byte("untouched"), 0o600); err != nil {
			t.Fatal(err)
		}
		names := []string{"a", "b", "a/b", "b/a", "a/file", "..", "../..", "../../outside", outside, "a/../b", "b/file", ".wh.a", "a/.wh.b", "b/.wh..wh..opq", ".", "a/b/a", "/", "../outside/file"}
		kinds := []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeChar}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for len(program) >= 3 && b.Len() < 1<<20 {
			e := tar.Header{Typeflag: kinds[int(program[0])%len(kinds)], Name: names[int(program[1])%len(names)], Linkname: names[int(program[2])%len(names)], Mode: 0o700}
			program = program[3:]
			content := ""
			switch e.Typeflag {
			case tar.TypeReg:
				content, e.Linkname = "evil", ""
				e.Size = int64(len(content))
			case tar.TypeDir, tar.TypeFifo, tar.TypeChar:
				e.Linkname = ""
			}
			if w.WriteHeader(&e) == nil {
				_, _ = io.WriteString(w, content)
			}
		}
		w.Close()
		for _, overlay := range []bool{true, false} {
			dir := filepath.Join(root, map[bool]string{true: "o", false: "p"}[overlay])
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			limits := Limits{Unpacked: 1 << 20, Files: 1000}
			a, err := unpack(t.Context(), dir, bufio.NewReader(bytes.NewReader(b.Bytes())), unpackOptions{limits: limits, overlay: overlay, userXattr: true, log: slog.New(slog.DiscardHandler)})
			if err != nil {
				if !api.IsCode(err, api.CodeUnsafeArchive) && !api.IsCode(err, api.CodeTooLarge) && !api.IsCode(err, api.CodeInvalid) {
					t.Errorf("an error that blames us: %v", err)
				}
				continue
			}
			to := filepath.Join(around, "x", "copy"+filepath.Base(dir))
			for range 2 { // a layer over itself is itself
				if err := mergeInto(t.Context(), dir, to, a); err != nil {
					t.Error(err)
				}
			}
		}
		_ = filepath.WalkDir(around, func(p string, e fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(around, p)
			if err != nil || rel != "." && rel != "outside" && rel != "outside/file" && rel != "x" && !strings.HasPrefix(rel, "x/root") && !strings.HasPrefix(rel, "x/copy") {
				t.Errorf("%s was written outside: %v", rel, err)
			}
			if e != nil && e.Type() == fs.ModeDevice {
				t.Errorf("%s is a device", rel)
			}
			return nil
		})
		if got, err := os.ReadFile(filepath.Join(outside, "file")); err != nil || string(got) != "untouched" {
			t.Errorf("a file outside is %q %v", got, err)
		}
		if st, err := os.Stat(filepath.Join(outside, "file")); err != nil || st.Mode() != 0o600 {
			t.Errorf("a file outside has mode %v %v", st.Mode(), err)
		}
	})
}

// FuzzStream gives the unpacker bytes that are no archive, or a damaged one.
func FuzzStream(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Size: 1, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}, Format: tar.FormatPAX})
	_, _ = w.Write([]byte("x"))
	w.Close()
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:700])
	f.Add([]byte{0x1f, 0x8b, 8})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x04})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := unpack(t.Context(), t.TempDir(), bufio.NewReader(bytes.NewReader(data)), unpackOptions{limits: Limits{Unpacked: 1 << 20, Files: 1000}, log: slog.New(slog.DiscardHandler)})
		if err != nil && api.AsError(err).Code == api.CodeInternal {
			t.Errorf("an error that blames us: %v", err)
		}
	})
}
