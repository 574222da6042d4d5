package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
)

// Host starts boxes. All methods are safe for concurrent use.
type Host struct {
	o        Options
	log      *slog.Logger
	hash     string // of the state folder
	state    string
	layout   *layout
	groups   *cgroups
	net      *network // nil: no private network
	lobby    Lobby
	roots    *roots
	noNet    error // why
	noMounts error // why a box with namespaces did not start
	allows   abilities
	spawner  chan func()
	done     chan struct{} // the spawner has ended

	mu     sync.Mutex
	boxes  map[string]*Box
	users  map[int]bool
	next   int
	count  uint64
	closed bool
	starts sync.WaitGroup // Starts under way: they use the spawner
}

// userRange is how many user ids a host has.
const userRange = 65536

// validID is a loop and no regular expression, which every sandbox-init would
// compile on its way.
func validID(s string) bool {
	for i, c := range []byte(s) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_' && c != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// Open removes what a former process left behind in this state folder, finds
// out what the host allows, and prepares cgroups and network. Close it.
func Open(ctx context.Context, o Options) (*Host, error) {
	if o.State == "" {
		return nil, api.Errorf(api.CodeInvalid, "the sandbox needs a state folder")
	}
	state, err := filepath.Abs(o.State)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(state); err == nil {
		state = real
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if len(o.Self) == 0 {
		o.Self = []string{"/proc/self/exe", initArg}
	}
	if o.UIDBase == 0 {
		o.UIDBase = 200000
	}
	if o.RangeBase == 0 {
		o.RangeBase = 1 << 30
	}
	state = filepath.Join(state, "sandbox") // the folder may be shared with others of hearth
	stage := filepath.Join(state, "root")
	if err := os.MkdirAll(stage, 0o755); err != nil {
		return nil, fmt.Errorf("state folder of the sandbox: %w", err)
	}
	sum := sha256.Sum256([]byte(state))
	h := &Host{o: o, log: o.Log, state: state, hash: hex.EncodeToString(sum[:5]),
		spawner: make(chan func()), done: make(chan struct{}), boxes: map[string]*Box{}, users: map[int]bool{}}
	h.roots = &roots{dir: filepath.Join(state, "roots"), shared: map[int]*Shared{}}
	h.sweep()
	go h.spawn()
	h.allows = h.probe()
	h.layout = newLayout(stage, h.allows.root, h.allows.mounts, h.allows.seccomp)
	h.openGroups()
	h.openNetwork(ctx)
	h.try(ctx, stage)
	return h, nil
}

// try starts a box where it is not sure that one can be: distributions forbid
// user namespaces, or mounts in them, in ways no file tells.
func (h *Host) try(ctx context.Context, stage string) {
	if h.allows.root || !h.allows.mounts {
		return
	}
	b, err := h.Start(ctx, Config{ID: "trial", Hold: true})
	if err == nil {
		b.Kill()
		<-b.done
		return
	}
	h.noMounts = err
	h.allows.mounts, h.allows.net = false, false
	h.layout = newLayout(stage, false, false, h.allows.seccomp)
}

func (h *Host) without(check string) bool {
	for _, w := range h.o.Without {
		if w == check {
			return true
		}
	}
	return false
}

// namePrefix begins the names of the tables and cgroups of all hearths.
const namePrefix = "hearth-"

func (h *Host) name() string { return namePrefix + h.hash }

// sweep ends what a killed process of this state folder left behind.
func (h *Host) sweep() {
	list, err := os.ReadFile(filepath.Join(h.state, "cgroups"))
	if err == nil {
		if n := sweepCgroups(strings.Fields(string(list))); n > 0 {
			h.log.Info("removed boxes a former process left behind", "boxes", n)
		}
		os.Remove(filepath.Join(h.state, "cgroups"))
	}
	h.sweepSlots()
	if err := os.RemoveAll(h.roots.dir); err != nil {
		h.log.Warn("cannot remove what containers of a former process wrote", "error", err)
	}
}

func (h *Host) openGroups() {
	h.groups = openCgroups(h.name())
	for _, c := range controllers() {
		if h.without("cgroup " + c) {
			if d := h.groups.roots[c]; d != "" && !h.groups.v2 {
				os.Remove(d)
			}
			delete(h.groups.roots, c)
			h.groups.why[c] = "switched off"
		}
	}
	dirs := h.groups.folders()
	sweepChildren(dirs)
	if err := os.WriteFile(filepath.Join(h.state, "cgroups"), []byte(strings.Join(dirs, "\n")+"\n"), 0o644); err != nil {
		h.log.Warn("cannot note the cgroups; what a crash leaves behind will not be found", "error", err)
	}
}

func sweepChildren(dirs []string) {
	for _, d := range dirs {
		entries, _ := os.ReadDir(d)
		for _, e := range entries {
			if e.IsDir() {
				removeGroup(filepath.Join(d, e.Name()))
			}
		}
	}
}

// spawn is the one thread all boxes are children of: the signal at the parent's
// death is sent when the parent *thread* ends, so it lives as long as the Host.
func (h *Host) spawn() {
	runtime.LockOSThread()
	defer close(h.done)
	for f := range h.spawner {
		f()
	}
	// Not unlocked: the thread ends with the goroutine, and with it any box.
}

// onSpawner runs f on that thread.
func (h *Host) onSpawner(f func()) {
	finished := make(chan struct{})
	h.spawner <- func() { defer close(finished); f() }
	<-finished
}

// begin says that a Start is under way.
func (h *Host) begin() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed()
	}
	h.starts.Add(1)
	return nil
}

// take reserves a name and a user for a box.
func (h *Host) take(c *Config) (uid int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return 0, errClosed()
	}
	h.count++
	if c.ID == "" {
		c.ID = fmt.Sprintf("box-%d", h.count)
	}
	if !validID(c.ID) {
		return 0, api.Errorf(api.CodeInvalid, "box name %q: letters, digits, '-', '_' and '.' only, 63 at most", c.ID)
	}
	if _, ok := h.boxes[c.ID]; ok {
		return 0, api.Errorf(api.CodeConflict, "a box %s is running already", c.ID)
	}
	if len(h.users) >= userRange {
		return 0, api.Errorf(api.CodeStartFailed, "no user id is free: %d boxes are running", len(h.users))
	}
	for h.users[h.next] { // round robin: a freed id is used again as late as can be
		h.next = (h.next + 1) % userRange
	}
	n := h.next
	h.users[n] = true
	h.next = (h.next + 1) % userRange
	h.boxes[c.ID] = nil
	return h.o.UIDBase + n, nil
}

func (h *Host) give(id string, uid int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.boxes, id)
	delete(h.users, uid-h.o.UIDBase)
}

func (h *Host) keep(b *Box) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed()
	}
	if !b.isEnded() { // otherwise its name is, or is about to be, free again
		h.boxes[b.id] = b
	}
	return nil
}

func errClosed() error { return api.Errorf(api.CodeStartFailed, "the sandbox is closed") }

// Close kills all boxes and removes cgroups, network and run files. It returns
// when the last process is gone, or when ctx ends. Closing twice is no error.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	var boxes []*Box
	for _, b := range h.boxes {
		if b != nil {
			boxes = append(boxes, b)
		}
	}
	h.mu.Unlock()
	for _, b := range boxes {
		b.Kill()
	}
	for _, b := range boxes {
		select {
		case <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	h.starts.Wait() // each sees that the host is closed, or has its box killed above
	close(h.spawner)
	<-h.done
	var errs []error
	h.closeRoots()
	if h.net != nil {
		errs = append(errs, h.net.close())
	}
	for _, d := range h.groups.folders() {
		errs = append(errs, removeGroup(d))
	}
	h.sweepSlots()
	errs = append(errs, os.Remove(filepath.Join(h.state, "cgroups")), except(unix.Rmdir(h.layout.stage), unix.ENOENT), except(unix.Rmdir(h.state), unix.ENOENT))
	return errors.Join(errs...)
}
