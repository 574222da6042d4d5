package sandbox

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Box is one sandbox. It ends with its first process, whatever else runs in it.
// All methods are safe for concurrent use.
type Box struct {
	h         *Host
	id        string
	uid, gid  int
	slot      int // the user id reserved for it, also where it does not use it
	pid       int
	proc      *os.Process // nil for an adopted box
	pidfd     int         // of an adopted box
	wireMu    sync.Mutex
	wire      *os.File      // to sandbox-init; guarded by wireMu
	asking    sync.Mutex    // held while a task is written
	reported  chan struct{} // closed when the mini init has said its last; nil without one
	group     *group
	groupFD   int
	intoGroup bool
	narrow    bool // the limits are to be tightened after exec
	link      *link
	slots     *slots
	ownNet    bool
	init      bool
	zygote    bool
	writeDir  string
	shared    *Shared // nil: nothing is shared
	private   string  // folder on disk of what a root's box writes
	ahead     *ahead  // what of a root is ready
	memory    string  // name in the scene of its writable layer in memory
	started   time.Duration

	mu     sync.Mutex
	limits engine.Limits
	exit   engine.Exit
	ended  bool
	cpu    time.Duration // most that Usage has said
	serial int           // of tasks
	tasks  map[int]chan reply

	held   atomic.Bool
	killed atomic.Bool
	report atomic.Pointer[reply]
	done   chan struct{}
}

// ID is the box's name.
func (b *Box) ID() string { return b.id }

// Pid is the first process as the host sees it.
func (b *Box) Pid() int { return b.pid }

// UID is the user the box's processes run as; files that it shall read have to
// be readable for it.
func (b *Box) UID() int { return b.uid }

// Done is closed when the first process has ended and what the box held is
// released.
func (b *Box) Done() <-chan struct{} { return b.done }

// Exit says how it ended; valid once Done is closed.
func (b *Box) Exit() engine.Exit {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.exit
}

// StartTime is how long Start took from clone to exec.
func (b *Box) StartTime() time.Duration { return b.started }

// Signal sends a signal to the first process. A program that runs as process 1
// (no Init) gets only signals it has a handler for, and SIGKILL.
func (b *Box) Signal(sig syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return nil
	}
	if b.proc != nil {
		return except(b.proc.Signal(sig), os.ErrProcessDone)
	}
	return except(unix.PidfdSendSignal(b.pidfd, sig, nil, 0), unix.ESRCH)
}

// Kill ends every process of the box; Done tells when they are gone.
func (b *Box) Kill() {
	b.killed.Store(true)
	b.Signal(syscall.SIGKILL)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && !b.h.allows.mounts { // no pid namespace takes the others along
		b.group.kill()
	}
}

// Limit changes the limits of memory, processor and processes while the box
// runs; 0 means none. The size of /tmp stays.
func (b *Box) Limit(l engine.Limits) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return api.Errorf(api.CodeNotFound, "box %s has ended", b.id)
	}
	l.DiskBytes = b.limits.DiskBytes
	if err := b.group.limit(l); err != nil {
		return api.Errorf(api.CodeInvalid, "limits of box %s: %v", b.id, err).WithCause(err)
	}
	b.limits = l
	return nil
}

// watch waits for the first process, learns how it ended and releases all.
func (b *Box) watch() {
	st, err := b.proc.Wait()
	e := engine.Exit{Code: -1, At: time.Now()}
	if err == nil {
		ws := st.Sys().(syscall.WaitStatus)
		e.Code = ws.ExitStatus()
		if ws.Signaled() {
			e.Code, e.Signal = -1, unix.SignalName(ws.Signal())
		}
	}
	b.finish(e)
}

func (b *Box) finish(e engine.Exit) {
	b.wireMu.Lock() // what the box last said comes first; its end ended the socket
	if b.reported != nil {
		<-b.reported
	}
	if b.wire != nil {
		b.wire.Close()
	}
	b.wireMu.Unlock()
	if r := b.report.Load(); r != nil {
		e.Code, e.Signal = r.Code, ""
		if r.Signal != 0 {
			e.Code, e.Signal = -1, unix.SignalName(syscall.Signal(r.Signal))
		}
	}
	if b.group.ooms() > 0 && (e.Signal == "SIGKILL" || e.Code == 137) && !b.killed.Load() {
		e.OOM = true
	}
	b.mu.Lock()
	e.Reason = reason(e, b.killed.Load(), b.limits)
	b.exit, b.ended = e, true
	b.mu.Unlock()
	b.cleanup()
	close(b.done)
}

// cleanup releases what prepare reserved. It is called once, by watch when a
// process was started and by Start when none was.
func (b *Box) cleanup() {
	if b.pid != 0 && !b.isEnded() {
		return // watch does it
	}
	b.mu.Lock()
	if b.slot < 0 {
		b.mu.Unlock()
		return
	}
	slot := b.slot
	b.slot = -1
	b.mu.Unlock()
	if b.groupFD > 0 {
		unix.Close(b.groupFD)
	}
	if b.pidfd > 0 {
		unix.Close(b.pidfd)
	}
	if err := b.group.remove(); err != nil {
		b.h.log.Warn("cannot remove the cgroup of a box", "box", b.id, "error", err)
	}
	b.link.release()
	b.slots.remove()
	b.dropRoot()
	b.shared.leave()
	b.h.give(b.id, slot)
}

func (b *Box) isEnded() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended
}

func withDefaults(l engine.Limits) engine.Limits {
	if l.Processes == 0 {
		l.Processes = defaultProcesses
	}
	if l.DiskBytes == 0 {
		l.DiskBytes = defaultDisk
	}
	return l
}

func reason(e engine.Exit, killed bool, l engine.Limits) string {
	switch {
	case e.OOM:
		return fmt.Sprintf("killed: out of memory (limit %s)", size(l.MemoryBytes))
	case killed:
		return "killed"
	case e.Signal != "":
		return "ended by " + e.Signal
	case e.Code < 0:
		return "ended; its exit status is not known"
	case e.Code == 0:
		return "exited"
	}
	return fmt.Sprintf("exited with status %d", e.Code)
}

// size writes bytes the way manifests do.
func size(n int64) string {
	for _, u := range []struct {
		n int64
		s string
	}{{1 << 30, "Gi"}, {1 << 20, "Mi"}, {1 << 10, "Ki"}} {
		if n >= u.n && n%u.n == 0 {
			return fmt.Sprint(n/u.n) + u.s
		}
	}
	return fmt.Sprint(n)
}

// Catches tells whether the first process has a handler for a signal. One that
// is process 1 of its box does not notice other signals.
func (b *Box) Catches(sig syscall.Signal) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "SigCgt:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err != nil || mask&(1<<(uint(sig)-1)) != 0
		}
	}
	return true
}
