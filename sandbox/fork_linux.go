package sandbox

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
)

// Adoption is a box whose process a zygote is about to fork. It holds what
// the box will need until Adopt takes it, or Close gives it back.
type Adoption struct {
	box    *Box
	names  []string
	theirs []*os.File
	ours   int // the host's end of "sync"

	mu    sync.Mutex
	taken bool
}

// Files are the descriptors the plan refers to, and their names, to be sent
// with the plan. They stay the Adoption's.
func (a *Adoption) Files() (names []string, files []*os.File) { return a.names, a.theirs }

// Sent closes the host's copies of Files, which has to be done as soon as they
// were sent: only then the end of the forked process is seen. Twice is no error.
func (a *Adoption) Sent() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.theirs {
		f.Close()
	}
}

// Close gives back what was reserved when nothing was adopted; the forked
// process, if any, ends. After Adopt it does nothing but what Sent does.
func (a *Adoption) Close() {
	a.Sent()
	if a.claim() {
		unix.Close(a.ours)
		a.box.cleanup()
	}
}

func (a *Adoption) claim() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := !a.taken
	a.taken = true
	return first
}

// ForkPlan plans a box for a process that a zygote of this host forks: send the
// plan and the Adoption's Files to the zygote, then Adopt. Of c, Args, Env,
// Dir, Files, Stdout, Stderr, Init and Hold are the zygote's business and Binds
// must have been the zygote's own.
func (h *Host) ForkPlan(c Config) (Plan, *Adoption, error) {
	if !h.allows.root || !h.allows.mounts || !h.allows.pidfd {
		return nil, nil, api.Errorf(api.CodeUnsupported, "zygotes need root, namespaces and pidfd").WithHint("hearth doctor says what is missing")
	}
	c.Zygote, c.Init, c.WriteDir = false, false, ""
	b, err := h.prepare(&c)
	if err != nil {
		return nil, nil, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err != nil {
		b.cleanup()
		return nil, nil, err
	}
	a := &Adoption{box: b, names: []string{"sync"}, ours: fds[0], theirs: []*os.File{os.NewFile(uintptr(fds[1]), "sync")}}
	flags := unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	var p Plan
	p.add("pidns")
	if b.ownNet && b.link == nil {
		flags |= unix.CLONE_NEWNET
	}
	p.add("unshare", flags)
	if b.link != nil {
		dup, err := unix.FcntlInt(uintptr(b.link.ns), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			a.Close()
			return nil, nil, err
		}
		a.names, a.theirs = append(a.names, "net"), append(a.theirs, os.NewFile(uintptr(dup), "net"))
		p.add("setns", "net", unix.CLONE_NEWNET)
	}
	h.layout.forked(&p, boxPlan{Config: c, uid: b.uid, gid: b.gid, ownNet: b.ownNet && b.link == nil})
	return p, a, nil
}

// forked lists the steps of a zygote's child after its namespaces are made.
func (l *layout) forked(p *Plan, b boxPlan) {
	disk := withDefaults(b.Limits).DiskBytes
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	p.add("sync", "sync")
	p.add("mount", "none", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	p.add("mount", "tmpfs", "/tmp", "tmpfs", flags, fmt.Sprintf("mode=1777,size=%d", disk))
	p.add("mount", "tmpfs", "/dev/shm", "tmpfs", flags, fmt.Sprintf("mode=1777,size=%d", min(disk, 64<<20)))
	p.add("mount", "proc", "/proc", "proc", flags|unix.MS_NOEXEC, "")
	p.add("mount", "tmpfs", "/run", "tmpfs", flags|unix.MS_NOEXEC, "mode=755,size=64k")
	passwd, group := userFiles(b.uid, b.gid)
	p.add("write", "/run/passwd", 0o444, passwd)
	p.add("write", "/run/group", 0o444, group)
	p.add("mount", "none", "/run", "", flags|unix.MS_NOEXEC|unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	p.add("sethostname", b.ID)
	p.add("umask", 0o022)
	p.add("rlimit", unix.RLIMIT_CORE, 0, 0)
	p.add("rlimit", unix.RLIMIT_NOFILE, l.files, l.files)
	p.add("setsid")
	p.add("dropbounding")
	p.add("setgroups")
	p.add("setgid", b.gid)
	p.add("setuid", b.uid)
	p.add("dropcaps")
	p.add("dumpable", 1)
	p.add("nonewprivs")
	if l.filter != "" {
		p.add("seccomp", l.filter)
	}
	p.add("chdir", "/")
}

// Adopt waits for the forked process to reach its "sync" step, puts it into
// its cgroup, lets it go on and returns its box. When ctx ends first the
// process ends and ctx.Err() is returned.
func (h *Host) Adopt(ctx context.Context, a *Adoption) (*Box, error) {
	if !a.claim() {
		return nil, api.Errorf(api.CodeInvalid, "this adoption is over")
	}
	b := a.box
	unix.SetNonblock(a.ours, true)
	f := os.NewFile(uintptr(a.ours), "sync")
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	pid, err := readPid(f)
	if stop(); err == nil {
		b.pidfd, err = unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	}
	if err == nil {
		err = b.group.add(pid)
	}
	if err == nil && b.ownNet && b.link == nil {
		b.pid = pid // its loopback is brought up from here; the zygote needs no code for it
		_, err = within(b, func() (struct{}, error) { return struct{}{}, loopbackUp() })
	}
	if err == nil {
		err = b.tighten()
	}
	if err == nil {
		b.pid = pid
		_, err = f.Write([]byte("g"))
	}
	if err != nil {
		b.pid = 0
		b.cleanup()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, api.Errorf(api.CodeStartFailed, "a forked process cannot be taken over: %v", err).WithCause(err)
	}
	go b.watchFD()
	if err := h.keep(b); err != nil {
		b.Kill()
		<-b.done
		return nil, err
	}
	return b, nil
}

// readPid reads the byte a process writes at "sync"; the kernel says who did,
// in this process' numbers.
func readPid(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n, oobn int
	var got error
	buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, got = unix.Recvmsg(int(fd), buf, oob, unix.MSG_CMSG_CLOEXEC)
		return got != unix.EAGAIN
	})
	switch {
	case err != nil:
		return 0, err
	case got != nil:
		return 0, got
	case n == 0:
		return 0, fmt.Errorf("the process ended before it was sandboxed")
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) == 0 {
		return 0, fmt.Errorf("no credentials came along: %v", err)
	}
	cred, err := unix.ParseUnixCredentials(&msgs[0])
	if err != nil {
		return 0, err
	}
	if cred.Pid <= 1 {
		return 0, fmt.Errorf("the process is not in a namespace of ours")
	}
	return int(cred.Pid), nil
}

// watchFD waits for the end of an adopted process.
func (b *Box) watchFD() {
	fds := []unix.PollFd{{Fd: int32(b.pidfd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != unix.EINTR {
			break
		}
	}
	e := engine.Exit{Code: -1, At: time.Now()}
	if ws, ok := lastStatus(b.pidfd); ok {
		e.Code = ws.ExitStatus()
		if ws.Signaled() {
			e.Code, e.Signal = -1, unix.SignalName(ws.Signal())
		}
	} else if b.group.ooms() > 0 {
		e.Signal = "SIGKILL"
	}
	b.finish(e)
}

// lastStatus asks the kernel (Linux 6.15) for the exit status of a process that
// is not our child. It is there once the zygote has reaped it, which it is
// given a moment for.
func lastStatus(pidfd int) (syscall.WaitStatus, bool) {
	const infoExit = 1 << 3
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: 0}} // POLLHUP: reaped
	unix.Poll(fds, 50)
	info := struct { // struct pidfd_info, as of its first 64 bytes
		mask, cgroup    uint64
		pid, tgid, ppid uint32
		ids             [8]uint32
		exit            int32
	}{mask: infoExit}
	const get = 3<<30 | 64<<16 | 0xff<<8 | 11 // _IOWR(PIDFS_IOCTL_MAGIC, 11, 64 bytes)
	_, _, e := syscall.Syscall(unix.SYS_IOCTL, uintptr(pidfd), get, uintptr(unsafe.Pointer(&info)))
	if e != 0 || info.mask&infoExit == 0 {
		return 0, false
	}
	return syscall.WaitStatus(info.exit), true
}
