package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
)

// Start runs a box and returns when its program was exec'ed (with Hold: when
// everything is ready for Exec). What cannot be started is api.CodeStartFailed
// with the reason. When ctx ends first nothing is left and ctx.Err() returned;
// afterwards ctx has no meaning for the box.
func (h *Host) Start(ctx context.Context, c Config) (*Box, error) {
	if len(c.Args) == 0 && !c.Hold {
		return nil, api.Errorf(api.CodeInvalid, "a box needs a program")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := h.begin(); err != nil {
		return nil, err
	}
	defer h.starts.Done()
	b, err := h.prepare(&c)
	if err != nil {
		return nil, err
	}
	if err := h.launch(ctx, b, c); err != nil {
		b.cleanup()
		return nil, err
	}
	if err := h.keep(b); err != nil {
		b.Kill()
		<-b.done
		return nil, err
	}
	return b, nil
}

// prepare reserves what a box needs: name, user, cgroup, network.
func (h *Host) prepare(c *Config) (*Box, error) {
	uid, err := h.take(c)
	if err != nil {
		return nil, err
	}
	if c.Root != nil && c.Shared == nil {
		h.give(c.ID, uid)
		return nil, api.Errorf(api.CodeInvalid, "a box with a root of its own needs something to share")
	}
	b := &Box{h: h, id: c.ID, uid: uid, gid: uid, limits: withDefaults(c.Limits), init: c.Init,
		done: make(chan struct{}), slot: uid, zygote: c.Zygote, writeDir: c.WriteDir, ownNet: c.Network == NetworkPrivate || c.Network == NetworkNone}
	switch {
	case !h.allows.root:
		b.uid, b.gid = os.Getuid(), os.Getgid()
	case c.Shared != nil:
		if err := c.Shared.enter(); err != nil {
			h.give(b.id, b.slot)
			return nil, err
		}
		b.shared, b.uid, b.gid, b.ownNet = c.Shared, c.Shared.base, c.Shared.base, c.Shared.ns >= 0
		c.Network = NetworkHost // nothing of its own
	case c.Zygote:
		b.uid, b.gid = 0, 0
	}
	if b.ownNet && !h.allows.net {
		b.ownNet = false // Findings says so
	}
	if b.group, err = h.groups.make(b.id); err != nil {
		h.give(b.id, b.slot)
		b.shared.leave()
		return nil, api.Errorf(api.CodeStartFailed, "cannot make a cgroup").WithCause(err)
	}
	if err = b.limitFirst(c.Limits); err == nil && c.Network == NetworkPrivate && h.net != nil {
		b.link, err = h.net.take()
	}
	if err == nil && b.shared == nil {
		b.slots, err = h.makeSlots(*c)
	}
	for _, dir := range c.owned() {
		if err == nil && h.allows.root {
			err = chownTree(dir, b.uid, b.gid)
		}
	}
	if err != nil {
		b.cleanup()
		return nil, api.Errorf(api.CodeStartFailed, "cannot prepare a box: %v", err).WithCause(err)
	}
	return b, nil
}

func (h *Host) launch(ctx context.Context, b *Box, c Config) error {
	here, there, err := socketpair()
	if err != nil {
		return err
	}
	b.wire = here
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		there.Close()
		return err
	}
	defer null.Close()
	files := []*os.File{null, orNull(c.Stdout, null), orNull(c.Stderr, null)}
	files = append(append(files, c.Files...), there)
	attr := &os.ProcAttr{Files: files, Dir: "/", Env: []string{"GOGC=off", "GOMAXPROCS=2"}, Sys: h.attributes(b, c)}
	args := append(slices.Clone(h.o.Self), strconv.Itoa(len(files)-1))

	path := args[0]
	if exe := h.ownProgram(b); exe != nil { // its number inside follows the others
		path = "/proc/self/fd/" + strconv.Itoa(len(files))
		attr.Files = append(files, exe)
	}
	var proc *os.Process
	begin := time.Now()
	h.onSpawner(func() {
		if c.Nice != 0 && h.allows.root { // inherited; only this thread's
			unix.Setpriority(unix.PRIO_PROCESS, 0, c.Nice)
			defer unix.Setpriority(unix.PRIO_PROCESS, 0, 0)
		}
		proc, err = b.inside(func() (*os.Process, error) { return os.StartProcess(path, args, attr) })
	})
	if err != nil && b.intoGroup { // before Linux 5.7: moved by its number later
		b.intoGroup, attr.Sys.UseCgroupFD = false, false
		h.onSpawner(func() {
			proc, err = b.inside(func() (*os.Process, error) { return os.StartProcess(path, args, attr) })
		})
	}
	there.Close() // the only other end is the box's: its end is ours to see
	if err != nil {
		here.Close()
		return api.Errorf(api.CodeStartFailed, "cannot start a box: %v", err).WithCause(err)
	}
	b.proc, b.pid = proc, proc.Pid
	go b.watch()
	stop := context.AfterFunc(ctx, b.Kill)
	err = b.begin(c)
	if !stop() && ctx.Err() != nil {
		err = ctx.Err()
	}
	b.started = time.Since(begin)
	if err != nil {
		b.Kill()
		<-b.done
		if !errors.Is(err, ctx.Err()) && ctx.Err() == nil && b.exit.OOM {
			return b.tooSmall()
		}
		return err
	}
	return nil
}

// begin puts the new process into its cgroup and tells it what to become.
func (b *Box) begin(c Config) error {
	if b.group != nil && !b.h.groups.v2 || b.h.groups.v2 && !b.intoGroup {
		if err := b.group.add(b.pid); err != nil {
			return api.Errorf(api.CodeStartFailed, "cannot move the box into its cgroup: %v", err).WithCause(err)
		}
	}
	if b.shared != nil {
		q := request{Hold: c.Hold, Init: c.Init, Files: len(c.Files)}
		if c.Root == nil { // Enter says more
			stage := &built{}
			defer stage.close()
			if err := b.prepareRoot(stage); err != nil {
				return api.Errorf(api.CodeStartFailed, "cannot prepare a root for %s: %v", b.id, err).WithCause(err)
			}
			q.Plan = stage.plan
			return b.tell(q, stage.fds)
		}
		return b.enter(q, c)
	}
	plan := b.h.layout.plan(boxPlan{Config: c, uid: b.uid, gid: b.gid, ownNet: b.ownNet && b.link == nil, newUser: !b.h.allows.root, slots: b.slots, resolv: b.resolv()})
	q := request{Plan: plan, Args: c.Args, Env: environment(c.Env), Dir: c.Dir, Hold: c.Hold, Init: c.Init, Files: len(c.Files)}
	return b.tell(q, nil)
}

// tell sends a request and waits until the program was exec'ed or is held.
func (b *Box) tell(q request, fds []int) error {
	q.Fds = len(fds)
	b.wireMu.Lock() // finish closes the socket, but only when the last word of the other side is read
	defer b.wireMu.Unlock()
	msg, err := frame(q)
	if err != nil {
		return api.Errorf(api.CodeInvalid, "%v", err)
	}
	if _, err := b.wire.Write(msg); err != nil {
		return api.Errorf(api.CodeStartFailed, "the box ended before it was told what to run").WithCause(err)
	}
	if err := sendFds(b.wire, fds); err != nil {
		return api.Errorf(api.CodeStartFailed, "the box ended before it was told what to run").WithCause(err)
	}
	var r reply
	err = receive(b.wire, &r)
	if err == nil && r.Stage == "exec" { // either exec closes the socket, or it failed
		if err = receive(b.wire, &r); errors.Is(err, io.EOF) {
			return b.tighten()
		}
	}
	switch {
	case err == nil && r.Stage == "ready":
		b.held.Store(true)
		return nil
	case err == nil && r.Stage == "started":
		b.mu.Lock()
		b.reported = make(chan struct{})
		b.mu.Unlock()
		go b.reports()
		return b.tighten()
	case err == nil:
		return api.Errorf(api.CodeStartFailed, "the box did not start: %s", r.Error).WithCause(&StartError{Text: r.Error, Errno: syscall.Errno(r.Errno)})
	case b.killed.Load():
		return api.Errorf(api.CodeStartFailed, "the box was killed while it started")
	}
	return api.Errorf(api.CodeStartFailed, "the box ended while it started").WithCause(err)
}

// tighten sets the limits that are too small for sandbox-init.
func (b *Box) tighten() error {
	if b.narrow {
		return b.group.limit(b.limits)
	}
	return nil
}

// Exec lets a held box go on with a program. It can be used once.
func (b *Box) Exec(args, env []string, dir string) error {
	if !b.held.CompareAndSwap(true, false) {
		return api.Errorf(api.CodeInvalid, "box %s does not wait for a program", b.id)
	}
	if b.shared == nil {
		env = environment(env)
	}
	if err := b.tell(request{Args: args, Env: env, Dir: dir}, nil); err != nil {
		b.Kill()
		<-b.done
		return err
	}
	return nil
}

func (h *Host) attributes(b *Box, c Config) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{}
	if h.allows.mounts {
		a.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	}
	if b.ownNet && b.link == nil && b.shared == nil {
		a.Cloneflags |= unix.CLONE_NEWNET
	}
	if !h.allows.root && h.allows.mounts {
		a.Cloneflags |= unix.CLONE_NEWUSER
		// A user other than 0 keeps capabilities over exec only as ambient ones.
		a.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SETPCAP, unix.CAP_NET_ADMIN}
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: b.uid, HostID: b.uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: b.gid, HostID: b.gid, Size: 1}}
	}
	if b.shared != nil && h.roots.users {
		var uid, gid *int64
		if c.Root != nil {
			uid, gid = c.Root.UID, c.Root.GID
		}
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings, a.GidMappings, a.GidMappingsEnableSetgroups = b.shared.rangeMaps(uid), b.shared.rangeMaps(gid), true
		a.Credential = &syscall.Credential{}
	}
	if h.groups.v2 && len(h.groups.roots) > 0 {
		if fd, err := b.group.open(); err == nil {
			b.intoGroup, a.UseCgroupFD, a.CgroupFD = true, true, fd
			b.groupFD = fd
		}
	}
	return a
}

func environment(env []string) []string {
	out := slices.Clone(env)
	if !has(out, "HOME") {
		out = append(out, "HOME=/tmp")
	}
	if !has(out, "PATH") {
		out = append(out, "PATH="+defaultPath)
	}
	return out
}

func orNull(f, null *os.File) *os.File {
	if f == nil {
		return null
	}
	return f
}

// socketpair makes two connected streams; ours can be read with the poller.
func socketpair() (here, there *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "sandbox"), os.NewFile(uintptr(fds[1]), "sandbox-init"), nil
}

func chownTree(dir string, uid, gid int) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("give %s to the box's user: %w", path, err)
		}
		return os.Lchown(path, uid, gid)
	})
}

// takeBack gives folders written by a box to this process' user again.
func (h *Host) takeBack(dirs []string) {
	if !h.allows.root {
		return
	}
	for _, dir := range dirs {
		if err := chownTree(dir, os.Getuid(), os.Getgid()); err != nil {
			h.log.Warn("cannot take a folder back from a box's user", "folder", dir, "error", err)
		}
	}
}
