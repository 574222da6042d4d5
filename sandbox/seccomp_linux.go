package sandbox

import (
	"encoding/base64"
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// namespaceFlags are the clone flags that make namespaces.
const namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS |
	unix.CLONE_NEWNET | unix.CLONE_NEWUSER | unix.CLONE_NEWCGROUP

// refused lists the system calls that answer EPERM inside a box on every
// architecture. Most need a capability no box has; they are refused all the
// same because a kernel's bugs hide in them.
func refused() []uint32 {
	return append([]uint32{
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
		unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG,
		unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
		unix.SYS_SETNS, unix.SYS_UNSHARE,
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
		unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_LOOKUP_DCOOKIE,
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
		unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
		unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
		unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_USERFAULTFD, unix.SYS_FANOTIFY_INIT,
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
		unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_ACCT, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
		unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX,
		unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_NFSSERVCTL,
		unix.SYS_MOVE_PAGES, unix.SYS_MIGRATE_PAGES,
	}, refusedHere()...)
}

// filter assembles the system call filter as base64 of struct sock_filter.
func filter() string {
	const (
		offNr, offArch, offArg0, offArg1 = 0, 4, 16, 24 // low halves of the arguments
	)
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	kill := bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS}
	fail := func(e unix.Errno) bpf.Instruction {
		return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
	}
	load := func(off uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: off, Size: 4} }
	is := func(v uint32, skip uint8) bpf.Instruction {
		return bpf.JumpIf{Cond: bpf.JumpEqual, Val: v, SkipFalse: skip}
	}
	p := []bpf.Instruction{
		load(offArch), bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1}, kill,
		load(offNr),
		// Numbers from here on are the x32 calls of amd64; no architecture has others there.
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 0x40000000, SkipTrue: 1}, fail(unix.ENOSYS),
	}
	// clone3 has its flags in memory a filter cannot see; every libc falls back to clone.
	p = append(p, is(unix.SYS_CLONE3, 1), fail(unix.ENOSYS))
	p = append(p, is(unix.SYS_CLONE, 4), load(offArg0),
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: namespaceFlags, SkipFalse: 1}, fail(unix.EPERM), allow)
	// The signal at the parent's death stays as it was set: a box must not be
	// able to outlive hearth. The call seems to work, so that programs that
	// tie their own children to themselves go on; those end with the box.
	p = append(p, is(unix.SYS_PRCTL, 4), load(offArg0), is(unix.PR_SET_PDEATHSIG, 1), fail(0), allow)
	// No typing into other terminals.
	p = append(p, is(unix.SYS_IOCTL, 6), load(offArg1), is(unix.TIOCSTI, 1), fail(unix.EPERM),
		is(unix.TIOCLINUX, 1), fail(unix.EPERM), allow)
	// Address families that reach into the hypervisor or the kernel's crypto.
	p = append(p, is(unix.SYS_SOCKET, 6), load(offArg0), is(unix.AF_VSOCK, 1), fail(unix.EAFNOSUPPORT),
		is(unix.AF_ALG, 1), fail(unix.EAFNOSUPPORT), allow)
	for _, nr := range refused() {
		p = append(p, is(nr, 1), fail(unix.EPERM))
	}
	p = append(p, allow)
	raw, err := bpf.Assemble(p)
	if err != nil {
		panic("sandbox: the filter does not assemble: " + err.Error()) // constant input
	}
	out := make([]byte, 0, 8*len(raw))
	for _, r := range raw {
		out = binary.LittleEndian.AppendUint16(out, r.Op)
		out = append(out, r.Jt, r.Jf)
		out = binary.LittleEndian.AppendUint32(out, r.K)
	}
	return base64.StdEncoding.EncodeToString(out)
}
