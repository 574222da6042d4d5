package sql_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/sql"
)

const diskDir = "HEARTH_TEST_DISK_DIR"

// TestRealDiskFull fills a real file system, a small one in memory that only a
// child in namespaces of its own sees.
func TestRealDiskFull(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), diskDir+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("this host gives no user namespaces: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// diskChild is the child of TestRealDiskFull, when this process is it.
func diskChild() bool {
	dir := os.Getenv(diskDir)
	if dir == "" {
		return false
	}
	err := syscall.Mount("hearth", dir, "tmpfs", 0, "size=3m")
	if err == nil {
		err = fillDisk(dir)
	}
	if err != nil {
		fmt.Println(err, errors.Unwrap(err))
		os.Exit(1)
	}
	return true
}

// fillDisk writes until the disk is full, several times, makes space again and
// looks for everything that was acknowledged.
func fillDisk(dir string) error {
	ctx := context.Background()
	ballast := dir + "/ballast"
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		return err
	}
	s, err := sql.Open(ctx, dir+"/state.db", sql.Options{})
	if err != nil {
		return err
	}
	kept := map[store.Key]store.Record{}
	refused := 0
	for i := 0; refused < 20; i++ {
		k := store.Key{Resource: "things", Name: fmt.Sprint(i)}
		r, err := s.Apply(ctx, k, []byte(strings.Repeat(fmt.Sprint(i%10), 30_000)), store.New)
		switch {
		case err == nil:
			kept[k] = r
		case api.IsCode(err, api.CodeDisk):
			refused++
		default:
			return fmt.Errorf("write %d on a full disk: %w", i, err)
		}
	}
	check := func() error {
		l, err := s.List(ctx, store.Query{})
		if err != nil || len(l.Records) != len(kept) {
			return fmt.Errorf("%d records, %d were acknowledged, %w", len(l.Records), len(kept), err)
		}
		for _, r := range l.Records {
			if w := kept[r.Key]; w.Revision != r.Revision || !bytes.Equal(w.Value, r.Value) {
				return fmt.Errorf("%s is not what was acknowledged", r.Key)
			}
		}
		return nil
	}
	if err := check(); err != nil {
		return fmt.Errorf("while the disk is full: %w", err)
	}
	if err := os.Remove(ballast); err != nil {
		return err
	}
	k := store.Key{Resource: "things", Name: "after"}
	if kept[k], err = s.Apply(ctx, k, []byte("there is space again"), store.New); err != nil {
		return fmt.Errorf("with space again: %w", err)
	}
	if err := s.Close(); err != nil {
		return err
	}
	if s, err = sql.Open(ctx, dir+"/state.db", sql.Options{}); err != nil {
		return err
	}
	defer s.Close()
	if err := check(); err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	fmt.Printf("%d writes kept, %d refused\n", len(kept), refused)
	return nil
}
