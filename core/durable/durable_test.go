package durable_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/durable"
)

func TestSyncFolder(t *testing.T) {
	dir := t.TempDir()
	if err := durable.SyncFolder(dir); err != nil {
		t.Error(err)
	}
	if err := durable.SyncFolder(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestMkdirAndRename(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	for range 2 {
		if err := durable.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(dir); err != nil {
		t.Error(err)
	} else if st.Mode() != fs.ModeDir|0o700 {
		t.Error(st.Mode())
	}
	if err := durable.Mkdir(filepath.Join(dir, "none", "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a folder that is not there: %v", err)
	}
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := os.WriteFile(from, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(to); string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
	if err := durable.Rename(from, to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestRefused(t *testing.T) {
	full := &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	for _, c := range []struct {
		err           error
		refused, full bool
	}{
		{nil, false, false},
		{context.Canceled, false, false},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), false, false},
		{fmt.Errorf("x: %w", api.Errorf(api.CodeNotFound, "no such thing")), false, false},
		{api.Errorf(api.CodeDisk, "said already").WithCause(full), false, false},
		{os.ErrPermission, true, false},
		{syscall.EIO, true, false},
		{full, true, true},
		{errors.Join(errors.New("close"), full), true, true},
		{&fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}, true, true},
	} {
		if refused, full := durable.Refused(c.err); refused != c.refused || full != c.full {
			t.Errorf("%v: refused %v, full %v", c.err, refused, full)
		}
	}
}
