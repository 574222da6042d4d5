package process

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/runtime"
)

// bootID is four characters that tell this run's instances from those of
// earlier ones in logs and file names.
func bootID() string {
	var b [3]byte
	rand.Read(b[:])
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:])[:4])
}

// socketFolder makes a folder for listening sockets. It is not below the state
// folder, because the path of a socket has at most about 100 characters.
func socketFolder(state string) (string, error) {
	abs, err := filepath.Abs(state)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(abs))
	base := os.TempDir()
	if os.Geteuid() == 0 {
		base = "/run"
		if _, err := os.Stat(base); err != nil {
			base = os.TempDir()
		}
	} else if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		base = d
	}
	dir := filepath.Join(base, "hearth-"+hex.EncodeToString(sum[:6]))
	if err := os.RemoveAll(dir); err != nil {
		return "", api.Errorf(api.CodeDisk, "clear old sockets: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", api.Errorf(api.CodeDisk, "make a folder for sockets: %w", err)
	}
	return dir, nil
}

// listen makes the socket an instance will accept on. The file is the
// instance's copy; ours is closed, so that dialling fails once it has ended.
func (e *Engine) listen(id string) (path string, file *os.File, err error) {
	path = filepath.Join(e.sockets, id)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return "", nil, api.Errorf(api.CodeStartFailed, "listen for instance %s: %w", id, err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	file, err = l.File()
	if err != nil {
		os.Remove(path)
		return "", nil, api.Errorf(api.CodeStartFailed, "listen for instance %s: %w", id, err)
	}
	return path, file, nil
}

// writeLoaders puts the embedded loaders where boxes can bind them.
func writeLoaders(dir string) (string, error) {
	if err := os.RemoveAll(dir); err != nil {
		return "", api.Errorf(api.CodeDisk, "write loaders: %w", err)
	}
	if err := runtime.Write(dir); err != nil {
		return "", api.Errorf(api.CodeDisk, "write loaders: %w", err)
	}
	return dir, nil
}

// compile keeps what Node makes of its loader, in the background and once: an
// instance that starts before has it made anew.
func (e *Engine) compile(i runtime.Interpreter) {
	e.compiled.Do(func() {
		e.background.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			go func() {
				select {
				case <-e.tick:
					cancel()
				case <-ctx.Done():
				}
			}()
			if err := runtime.CompileNode(ctx, i, e.loaders); err != nil && ctx.Err() == nil {
				e.log.Debug("instances of node start without a compiled loader", "err", err)
			}
		})
	})
}
