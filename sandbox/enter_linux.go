package sandbox

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Enter lets a box that was started with Shared, Hold and no Root go on with a
// root, limits and a program; only Root, Limits, Args, Env and Dir of c count. It
// can be used once. When it fails or ctx ends first the box ends.
func (b *Box) Enter(ctx context.Context, c Config) error {
	if b.shared == nil || c.Root == nil || len(c.Args) == 0 || !b.held.CompareAndSwap(true, false) {
		return api.Errorf(api.CodeInvalid, "box %s does not wait for a root and a program", b.id)
	}
	stop := context.AfterFunc(ctx, b.Kill)
	err := b.limitFirst(c.Limits)
	if err == nil {
		err = b.enter(request{}, c)
	}
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		b.Kill()
		<-b.done
		if ctx.Err() == nil && b.exit.OOM {
			return b.tooSmall()
		}
	}
	return err
}

func (b *Box) tooSmall() error {
	return api.Errorf(api.CodeStartFailed, "the memory limit of %s is too small to start", size(b.limits.MemoryBytes))
}

// limitFirst sets the limits a box starts with, which leave room for
// sandbox-init itself until it has become the program.
func (b *Box) limitFirst(l engine.Limits) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limits = withDefaults(l)
	first := b.limits
	first.Processes = max(first.Processes, 64)
	if first.MemoryBytes > 0 {
		first.MemoryBytes = max(first.MemoryBytes, 32<<20)
	}
	b.narrow = first != b.limits
	return b.group.limit(first)
}

// enter tells a process that waits for its request about its root.
func (b *Box) enter(q request, c Config) error {
	r, err := b.build(c)
	if err != nil {
		return err
	}
	q.Plan, q.Args, q.Env, q.Dir = r.plan, c.Args, c.Env, c.Dir
	err = b.tell(q, r.fds)
	r.close()
	return err
}

// sendFds sends descriptors with a byte of their own.
func sendFds(f *os.File, fds []int) error {
	if len(fds) == 0 {
		return nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), []byte{0}, unix.UnixRights(fds...), nil, 0)
		return sent != unix.EAGAIN
	})
	if err == nil {
		err = sent
	}
	return err
}

// Disk is how many bytes the box has written to its root on disk.
func (b *Box) Disk() int64 {
	if b.private == "" {
		return 0
	}
	return used(b.private)
}

// dropRoot removes what the box wrote.
func (b *Box) dropRoot() {
	if b.memory != "" {
		b.h.roots.scene.dropMemory(b.memory)
	}
	if b.private != "" {
		if err := os.RemoveAll(b.private); err != nil {
			b.h.log.Warn("cannot remove what a box wrote", "box", b.id, "error", err)
		}
	}
}
