package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
)

// lock holds the state folder for this process. The kernel gives it up when the
// process ends, however that happens, so a dead hearth never blocks the next.
type lock struct{ file *os.File }

func acquire(state string) (*lock, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, api.Errorf(api.CodeDisk, "cannot make the state folder %s: %v", state, err).WithHint("hearth up --state FOLDER uses another")
	}
	path := filepath.Join(state, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, api.Errorf(api.CodeDisk, "cannot open %s: %v", path, err).WithHint("hearth up --state FOLDER uses another")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		b, _ := os.ReadFile(path)
		holder := "another hearth"
		if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			holder = fmt.Sprintf("hearth, pid %d", pid)
		}
		return nil, api.Errorf(api.CodeHeld, "cannot use the state folder %s: it is held by %s", state, holder)
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return &lock{f}, nil
}

func (l *lock) release() { l.file.Close() }
