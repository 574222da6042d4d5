package sandbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inside does what a test asked this binary to do in a process of its own.
func inside(what string, args []string) int {
	switch what {
	case "calls":
		return tryCalls()
	case "fill": // takes memory until it is killed
		var keep [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := range b {
				b[i] = 1
			}
			keep = append(keep, b)
			runtime.KeepAlive(keep)
		}
	case "forks": // forks until it cannot
		n := 0
		for ; n < 5000; n++ {
			_, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "600"}, &syscall.ProcAttr{})
			if err != nil {
				fmt.Println(n, err)
				return 0
			}
		}
		fmt.Println(n, "no end")
		return 1
	case "serve": // listens on a fixed port of the own loopback
		l, err := net.Listen("tcp", args[0])
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println("listening")
		for {
			c, err := l.Accept()
			if err != nil {
				return 1
			}
			io.WriteString(c, "from inside")
			c.Close()
		}
	case "dial":
		limit := time.Second // where nothing may come through
		if len(args) > 1 {
			limit = patience
		}
		c, err := net.DialTimeout("tcp", args[0], limit)
		if err != nil {
			fmt.Println("refused:", err)
			return 0
		}
		b, err := io.ReadAll(c)
		fmt.Println(string(b), err)
	case "parent": // a hearth that starts a box and waits to be killed
		return parent(args)
	case "unprivileged":
		return unprivileged(args)
	case "network":
		return networkTest(args)
	}
	return 0
}

// tryCalls makes the calls the filter refuses, and says how each ended.
func tryCalls() int {
	raw := func(nr uintptr, a ...uintptr) error {
		a = append(a, 0, 0, 0, 0, 0, 0)
		_, _, e := syscall.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
		return errno(e)
	}
	for _, t := range []struct {
		name string
		err  error
	}{
		{"mount", unix.Mount("none", "/tmp", "tmpfs", 0, "")},
		{"umount", unix.Unmount("/tmp", 0)},
		{"unshare", unix.Unshare(unix.CLONE_NEWUSER)},
		{"clone", raw(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))},
		{"clone3", raw(unix.SYS_CLONE3)},
		{"setns", raw(unix.SYS_SETNS, 0)},
		{"ptrace", raw(unix.SYS_PTRACE, unix.PTRACE_TRACEME)},
		{"process_vm_readv", raw(unix.SYS_PROCESS_VM_READV, 1)},
		{"bpf", raw(unix.SYS_BPF)},
		{"perf_event_open", raw(unix.SYS_PERF_EVENT_OPEN)},
		{"keyctl", raw(unix.SYS_KEYCTL)},
		{"io_uring", raw(unix.SYS_IO_URING_SETUP, 1)},
		{"open_tree", raw(unix.SYS_OPEN_TREE)},
		{"fsopen", raw(unix.SYS_FSOPEN)},
		{"userfaultfd", raw(unix.SYS_USERFAULTFD)},
		{"chroot", unix.Chroot("/")},
		{"kexec_load", raw(unix.SYS_KEXEC_LOAD)},
		{"open_by_handle_at", raw(unix.SYS_OPEN_BY_HANDLE_AT)},
		{"vsock", func() error { _, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0); return err }()},
		{"tcp", func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); return err }()},
		{"setuid", unix.Setuid(0)},
		{"x32", raw(0x40000000 + unix.SYS_GETPID)},
	} {
		name := "ok"
		if t.err != nil {
			name = unix.ErrnoName(t.err.(unix.Errno))
		}
		fmt.Println(t.name, name)
	}
	runtime.LockOSThread() // the signal is the thread's
	before := deathSignal()
	unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
	fmt.Println("pdeathsig", before, deathSignal())
	return 0
}

// parent starts boxes whose programs try to outlive it, prints their processes
// and waits for its end.
func parent(args []string) int {
	h, err := Open(context.Background(), Options{State: args[0]})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var pids []string
	for _, c := range []Config{
		{Args: []string{"/bin/sleep", "600"}},
		{Args: []string{"/bin/sh", "-c", "setsid sleep 600 & trap '' TERM HUP; sleep 600"}, Init: true},
		{Hold: true},
	} {
		b, err := h.Start(context.Background(), c)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		pids = append(pids, fmt.Sprint(b.Pid()))
	}
	image := args[0] + "/image"
	os.Mkdir(image, 0o755)
	s, err := h.Share("pod", NetworkPrivate)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	v, err := s.Volume(VolumeConfig{Memory: true})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	b, err := h.Start(context.Background(), Config{Shared: s, Hold: true, Root: &Root{Layers: []string{image}, Mounts: []Mount{{Volume: v, Path: "/v"}}}})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	pids = append(pids, fmt.Sprint(b.Pid()))
	fmt.Println(strings.Join(pids, " "))
	io.Copy(io.Discard, os.Stdin) // until killed
	return 1
}

func deathSignal() int32 {
	var n int32
	syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&n)), 0)
	return n
}
