package frame

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"github.com/hearth-run/hearth/api"
)

type forkRequest struct {
	ID   string            `json:"id"`
	Env  map[string]string `json:"env,omitempty"`
	Plan json.RawMessage   `json:"plan,omitempty"`
	FDs  []string          `json:"fds"`
}

type forked struct {
	ID    string `json:"id"`
	PID   int    `json:"pid"`
	Error string `json:"error"`
}

// Fork asks a zygote for a child that runs plan and then is a loader of its own
// with the given descriptors; names says what each of files is, in the same
// order ("listen", "stdout", "stderr", then what the plan refers to). id must be
// unique among the forks under way. The files stay the caller's to close. The
// connection must be a unix socket. Forks may run at the same time.
func (c *Client) Fork(ctx context.Context, id string, plan json.RawMessage, env map[string]string, names []string, files []*os.File) (int, error) {
	c.attend()
	p, err := json.Marshal(forkRequest{id, env, plan, names})
	if err != nil {
		return 0, api.Errorf(api.CodeInternal, "fork: %w", err)
	}
	if len(p) > MaxPayload {
		return 0, api.Errorf(api.CodeTooLarge, "a FORK of %d bytes", len(p))
	}
	answer := make(chan forked, 1)
	c.cmu.Lock()
	if c.forks[id] != nil {
		c.cmu.Unlock()
		return 0, api.Errorf(api.CodeInternal, "fork %q is under way already", id)
	}
	c.forks[id] = answer
	c.cmu.Unlock()
	defer func() {
		c.cmu.Lock()
		delete(c.forks, id)
		c.cmu.Unlock()
	}()
	if err := c.sendFiles(AppendFrame(nil, 0, TypeFork, 0, p), files); err != nil {
		return 0, &api.Error{Code: api.CodeStartFailed, Message: "the zygote could not be reached", Cause: err}
	}
	select {
	case f := <-answer:
		if f.Error != "" || f.PID <= 0 {
			return 0, &api.Error{Code: api.CodeStartFailed, Message: "the zygote could not fork: " + f.Error}
		}
		return f.PID, nil
	case <-c.done:
		return 0, c.gone()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// sendFiles writes b with descriptors attached to its first byte. It waits for
// the connection's writer, so that the frame begins where a frame may begin.
func (c *Client) sendFiles(b []byte, files []*os.File) error {
	u, ok := c.nc.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("descriptors need a unix socket, not %T", c.nc)
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.writing && c.err == nil {
		c.idle.Wait()
	}
	if c.err != nil {
		return c.err
	}
	c.writing = true
	c.drainLocked()
	c.mu.Unlock()
	n, _, err := u.WriteMsgUnix(b, syscall.UnixRights(fds...), nil)
	if err == nil && n < len(b) {
		_, err = u.Write(b[n:])
	}
	runtime.KeepAlive(files)
	c.mu.Lock()
	if err != nil {
		c.fail(fmt.Errorf("write: %w", err))
	}
	c.drainLocked()
	c.writing = false
	c.idle.Broadcast()
	return c.err
}

func (c *Client) forkAnswered(p []byte) error {
	var f forked
	if err := json.Unmarshal(p, &f); err != nil {
		return fmt.Errorf("%w: a malformed FORKED", ErrProtocol)
	}
	c.cmu.Lock()
	defer c.cmu.Unlock()
	if answer := c.forks[f.ID]; answer != nil {
		delete(c.forks, f.ID)
		answer <- f
	}
	return nil
}
