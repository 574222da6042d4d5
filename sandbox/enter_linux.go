package sandbox

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Enter lets a box that was started with Shared, Hold and no Root go on with a
// root and a program; only Root, Args, Env and Dir of c count. It can be used
// once. When it fails or ctx ends first the box ends.
func (b *Box) Enter(ctx context.Context, c Config) error {
	if b.shared == nil || c.Root == nil || len(c.Args) == 0 || !b.held.CompareAndSwap(true, false) {
		return api.Errorf(api.CodeInvalid, "box %s does not wait for a root and a program", b.id)
	}
	stop := context.AfterFunc(ctx, b.Kill)
	err := b.enter(request{}, c)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		b.Kill()
		<-b.done
	}
	return err
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
	if b.ahead != nil {
		b.ahead.close()
	}
	if b.memory != "" {
		b.h.roots.scene.dropMemory(b.memory)
	}
	if b.private != "" {
		if err := os.RemoveAll(b.private); err != nil {
			b.h.log.Warn("cannot remove what a box wrote", "box", b.id, "error", err)
		}
	}
}

// ownProgram is the program a box without users of its own starts as: shown
// read-only, so that user 0 inside cannot write to this binary by way of
// /proc/1/exe. Nil: the box starts as any other.
func (h *Host) ownProgram(b *Box) *os.File {
	if b.shared == nil || h.roots.users || h.o.Self[0] != "/proc/self/exe" {
		return nil
	}
	return h.roots.exe
}

// closeRoots ends what boxes with roots needed; all of them have ended.
func (h *Host) closeRoots() {
	h.mu.Lock()
	var all []*Shared
	for _, s := range h.roots.shared {
		all = append(all, s)
	}
	h.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
	if h.roots.scene != nil {
		h.roots.scene.close()
	}
	if h.roots.exe != nil {
		h.roots.exe.Close()
	}
	os.RemoveAll(h.roots.dir)
}

// Containers tells whether boxes can have a Root; the error says why not.
func (h *Host) Containers() error { return h.openRoots() }

// Overlay tells whether a Root can be made of Layers; otherwise it needs a Dir.
func (h *Host) Overlay() bool { return h.openRoots() == nil && h.roots.overlay }

// trial makes a root of an empty layer, as boxes will have it.
func (h *Host) trial(dir string) (err error) {
	s := &Shared{h: h, name: "trial", ns: -1}
	if err := h.takeRange(s); err != nil {
		return err
	}
	defer s.Close()
	if err := os.Mkdir(s.dir(), 0o700); err != nil {
		return err
	}
	root := &Root{Layers: []string{dir}}
	if !h.roots.overlay {
		root = &Root{Dir: dir}
	}
	b, err := h.Start(context.Background(), Config{Shared: s, Root: root, Hold: true})
	if err != nil {
		return err
	}
	b.Kill()
	<-b.done
	return nil
}

// tryAll finds the best way that works: users of its own before a layer on disk
// before none.
func (h *Host) tryAll() error {
	r := h.roots
	dir, err := os.MkdirTemp(r.dir, "trial-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	overlay, users := r.overlay, r.users
	var first error
	for _, way := range []struct{ users, overlay, memory bool }{
		{true, true, false}, {true, true, true}, {true, false, false}, {false, true, false}, {false, true, true}, {false, false, false},
	} {
		if way.users && !users || way.overlay && !overlay {
			continue
		}
		r.users, r.overlay, r.memory = way.users, way.overlay, way.memory
		err := h.trial(dir)
		if err == nil {
			if users && !r.users {
				r.noUsers = first
			}
			if overlay && !r.overlay {
				r.noLay = first
			}
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return fmt.Errorf("no way to make a root works here: %w", first)
}

// rootFindings says what boxes with a root of their own get; it tries when
// nothing has yet.
func (h *Host) rootFindings() []engine.Finding {
	overlay := engine.Finding{Check: "overlay", Fix: "modprobe overlay, and keep the state folder on ext4, xfs or btrfs"}
	users := engine.Finding{Check: "container users", Fix: "Linux 5.19 or newer with user.max_user_namespaces above 0, and the state folder on a file system that maps ids (ext4, xfs, btrfs)"}
	if err := h.openRoots(); err != nil {
		overlay.Detail, users.Detail = err.Error(), err.Error()
		overlay.Fix, users.Fix = "run hearth as root on Linux 5.12 or newer", "run hearth as root on Linux 5.12 or newer"
		return []engine.Finding{overlay, users}
	}
	r := h.roots
	switch {
	case !r.overlay:
		overlay.Detail = "each container gets a copy of its image: " + r.noLay.Error()
	case r.memory:
		overlay.OK, overlay.Fix = true, ""
		overlay.Detail = "containers share the layers of their images; what they write is kept in memory, because the state folder's file system cannot be written through an overlay"
	default:
		overlay.OK, overlay.Fix, overlay.Detail = true, "", "containers share the layers of their images; what they write is on disk"
	}
	if r.users {
		users.OK, users.Fix, users.Detail = true, "", h.describeRoots()
	} else {
		users.Detail = "user 0 of a container is the host's, with few capabilities, a system call filter and no way to gain more: " + r.noUsers.Error()
	}
	both := []engine.Finding{overlay, users}
	for i, f := range both {
		if !f.OK && h.without(f.Check) {
			both[i].Detail = "switched off; " + f.Detail
		}
	}
	return both
}
