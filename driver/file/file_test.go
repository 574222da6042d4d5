package file_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/blob"
	"github.com/hearth-run/hearth/core/blob/blobtest"
	"github.com/hearth-run/hearth/driver/file"
)

const crashDir = "HEARTH_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		putForEver(dir)
	}
	os.Exit(m.Run())
}

func open(t testing.TB, dir string) *file.Blobs {
	t.Helper()
	b, err := file.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBlobs(t *testing.T) {
	blobtest.Run(t, func(t testing.TB) blob.Store { return open(t, filepath.Join(t.TempDir(), "blobs")) })
}

func put(t testing.TB, b *file.Blobs, content string) blob.Info {
	t.Helper()
	i, err := b.Put(t.Context(), strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// fileOf returns the file of a blob.
func fileOf(t testing.TB, dir string, d blob.Digest) string {
	t.Helper()
	hex, _ := d.Hex()
	found, err := filepath.Glob(filepath.Join(dir, "*", "*", hex))
	if err != nil || len(found) != 1 {
		t.Fatalf("files of %s: %v, %v", d, found, err)
	}
	return found[0]
}

func TestDamage(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	content := strings.Repeat("hearth", 20_000)
	i := put(t, b, content)
	path := fileOf(t, dir, i.Digest)
	flipped := []byte(content)
	flipped[77_777] ^= 1
	for name, damaged := range map[string][]byte{
		"one bit": flipped, "cut": []byte(content[:len(content)-1]), "longer": []byte(content + "x"), "empty": nil,
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			r, _, err := b.Open(t.Context(), i.Digest)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := io.ReadAll(r); !api.IsCode(err, api.CodeChecksum) {
				t.Fatalf("read to the end with %v, want code %s", err, api.CodeChecksum)
			}
			if _, err := r.Read(make([]byte, 1)); !api.IsCode(err, api.CodeChecksum) {
				t.Fatalf("another read: %v", err)
			}
			put(t, b, content) // mends it
			r, _, err = b.Open(t.Context(), i.Digest)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || string(got) != content {
				t.Fatalf("after Put: %v", err)
			}
		})
	}
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	i := put(t, open(t, dir), "kept")
	stray := filepath.Join(filepath.Dir(fileOf(t, dir, i.Digest)), "notes.txt")
	if err := os.WriteFile(stray, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir)
	n := 0
	for got, err := range b.All(t.Context()) {
		if err != nil || got != i {
			t.Fatalf("%+v, %v", got, err)
		}
		n++
	}
	if n != 1 {
		t.Fatalf("%d blobs", n)
	}
	if st, err := os.Stat(fileOf(t, dir, i.Digest)); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	if _, err := file.Open(filepath.Join(stray, "blobs")); !api.IsCode(err, api.CodeDisk) {
		t.Fatalf("a folder below a file: %v", err)
	}
}

// putForEver puts random blobs of many sizes and prints each digest it got,
// until it is killed.
func putForEver(dir string) {
	b, err := file.Open(dir)
	for err == nil {
		content := make([]byte, rand.IntN(300_000))
		for i := range content {
			content[i] = byte(rand.Uint32())
		}
		var i blob.Info
		if i, err = b.Put(context.Background(), bytes.NewReader(content)); err == nil {
			os.Stdout.WriteString(string(i.Digest) + "\n")
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestCrash kills a process in the middle of Put, many times: every blob that
// was acknowledged is whole, every blob that is visible is whole, and the
// halves are gone.
func TestCrash(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	acked := map[blob.Digest]bool{}
	halves := 0
	for round := 0; round < 20 || halves == 0 && round < 200; round++ {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), crashDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for lines := bufio.NewReader(out); ; n++ {
			line, err := lines.ReadString('\n')
			if err != nil {
				break
			}
			if n == 0 {
				time.AfterFunc(time.Duration(rand.IntN(50_000))*time.Microsecond, func() { cmd.Process.Kill() })
			}
			acked[blob.Digest(strings.TrimSpace(line))] = true
		}
		cmd.Wait()
		if n == 0 || cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("round %d: the writer ended by itself: %v", round, cmd.ProcessState)
		}
		left, _ := filepath.Glob(filepath.Join(dir, "new", "*"))
		halves += len(left)
		b := open(t, dir)
		if left, _ := filepath.Glob(filepath.Join(dir, "new", "*")); len(left) != 0 {
			t.Fatalf("round %d: halves stayed: %v", round, left)
		}
		for d := range acked {
			if _, _, err := b.Open(t.Context(), d); err != nil {
				t.Fatalf("round %d: %s was acknowledged: %v", round, d, err)
			}
		}
	}
	b := open(t, dir)
	n := 0
	for i, err := range b.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := b.Open(t.Context(), i.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		r.Close()
		n++
	}
	if n < len(acked) {
		t.Fatalf("%d blobs, %d were acknowledged", n, len(acked))
	}
	if halves == 0 {
		t.Fatal("no kill came in the middle of a Put: the test shows nothing")
	}
	t.Logf("%d acknowledged, %d visible, %d halves removed", len(acked), n, halves)
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			if st, _ := d.Info(); st.Mode().Perm()&0o077 != 0 && path != dir {
				t.Errorf("%s has mode %v", path, st.Mode())
			}
		}
		return nil
	})
}
