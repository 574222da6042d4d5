package keyfile_test

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/keyfile"
)

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	keys := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = keyfile.Load(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if len(k) != keyfile.Size || !bytes.Equal(k, keys[0]) {
			t.Fatalf("keys differ: %x, %x", k, keys[0])
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", st.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*key*")); len(left) != 1 {
		t.Fatalf("files left: %v", left)
	}
	other, err := keyfile.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil || bytes.Equal(other, keys[0]) {
		t.Fatalf("two key files hold the same key, %v", err)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		mode os.FileMode
		data []byte
		want api.Code
	}{
		{"group may read", 0o640, make([]byte, keyfile.Size), api.CodeForbidden},
		{"all may read", 0o604, make([]byte, keyfile.Size), api.CodeForbidden},
		{"all may write", 0o602, make([]byte, keyfile.Size), api.CodeForbidden},
		{"empty", 0o600, nil, api.CodeInvalid},
		{"short", 0o600, make([]byte, keyfile.Size-1), api.CodeInvalid},
		{"long", 0o600, make([]byte, keyfile.Size+1), api.CodeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := keyfile.Load(path); !api.IsCode(err, c.want) {
				t.Fatalf("got %v, want code %s", err, c.want)
			}
			if now, _ := os.ReadFile(path); !bytes.Equal(now, c.data) {
				t.Fatal("the refused file was changed")
			}
		})
	}
	if _, err := keyfile.Load(filepath.Join(t.TempDir(), "none", "key")); !api.IsCode(err, api.CodeDisk) {
		t.Fatalf("no folder: %v", err)
	}
}
