package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// roots is what a host needs for boxes with roots of their own; made when the
// first is asked for.
type roots struct {
	opening sync.Once // of what is cheap to know
	err     error
	trying  sync.Once // of a box
	noBox   error     // why none starts
	dir     string    // of all that boxes write to the disk
	scene   *scene
	door    string // a folder everyone may pass, on which a root is put before it becomes the box's
	users   bool   // user namespaces and mounts with mapped ids
	noUsers error  // why not
	overlay bool
	memory  bool     // the writable layer is in memory: the disk's file system refuses it
	noLay   error    // why not on disk
	exe     *os.File // this program, in a read-only mount

	next   int // guarded by Host.mu, as shared
	shared map[int]*Shared
}

// openRoots makes ready what roots need and finds out whether overlays can be
// mounted. That takes a millisecond at most, and no process.
func (h *Host) openRoots() error {
	r := h.roots
	r.opening.Do(func() { r.err = h.prepareRoots() })
	return r.err
}

// tryRoots finds out, by starting boxes, what else this host allows.
func (h *Host) tryRoots() error {
	if err := h.openRoots(); err != nil {
		return err
	}
	r := h.roots
	r.trying.Do(func() {
		if err := h.tryAll(); err != nil {
			r.noBox = api.Errorf(api.CodeUnsupported, "containers cannot be run: %v", err).WithCause(err)
		}
	})
	return r.noBox
}

func (h *Host) prepareRoots() error {
	r := h.roots
	if !h.allows.root || !h.allows.mounts || !h.allows.newMount {
		return api.Errorf(api.CodeUnsupported, "containers need root, namespaces and Linux 5.12 or newer").WithHint("run hearth as root; hearth doctor says what is missing")
	}
	for _, d := range []string{"/tmp", "/mnt", "/media", "/usr"} {
		var st unix.Stat_t
		if r.door == "" && unix.Stat(d, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&0o001 != 0 {
			r.door = d
		}
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return api.Errorf(api.CodeDisk, "make the folder of containers: %w", err)
	}
	var err error
	if r.scene, err = openScene(h.layout.stage); err != nil {
		return api.Errorf(api.CodeUnsupported, "containers cannot be run: %v", err).WithCause(err)
	}
	if self, err := os.Executable(); err == nil {
		if r.exe, err = r.scene.program(self); err != nil {
			return api.Errorf(api.CodeUnsupported, "containers cannot be run: %v", err).WithCause(err)
		}
	}
	r.users = h.allows.userNS && !h.without("container users")
	r.noUsers = errors.New("user namespaces are switched off")
	if h.without("overlay") {
		r.noLay = errors.New("switched off")
		return nil
	}
	if r.noLay = r.scene.tryOverlay(r.dir); r.noLay != nil {
		if r.scene.mountMemory("trial", 64<<10) == nil {
			memory := r.scene.tryOverlay("trial")
			r.scene.dropMemory("trial")
			r.memory = memory == nil
		}
	}
	r.overlay = r.noLay == nil || r.memory
	return nil
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

// Containers tells whether boxes can have a Root, as far as that is known
// before the first; the error says why not.
func (h *Host) Containers() error { return h.openRoots() }

// Overlay tells whether a Root can be made of Layers; otherwise it needs a Dir.
// It is sure once a Shared was made.
func (h *Host) Overlay() bool {
	if h.openRoots() != nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.roots.overlay
}

// trial makes a root of an empty layer, as boxes will have it.
func (h *Host) trial(dir string) (err error) {
	s := &Shared{h: h, name: "trial", ns: -1}
	if err := h.takeRange(s); err != nil {
		return err
	}
	defer s.Close()
	if err := s.furnish(); err != nil {
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
	overlay, users, memory := r.overlay, r.users, r.memory
	var first error
	for _, way := range []struct{ users, overlay, memory bool }{
		{true, true, memory}, {true, true, true}, {true, false, false}, {false, true, memory}, {false, true, true}, {false, false, false},
	} {
		if way.users && !users || way.overlay && !overlay {
			continue
		}
		h.mu.Lock()
		r.users, r.overlay, r.memory = way.users, way.overlay, way.memory
		h.mu.Unlock()
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
	if err := h.tryRoots(); err != nil {
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
