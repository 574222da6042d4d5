package sandbox

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// landlockABI is the version the kernel has; 0 when it has none.
func landlockABI() int {
	n, _, e := syscall.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0
	}
	return int(n)
}

// landlock leaves the calling thread nothing of the file system but the trees
// in pairs: "r" or "w", path. A path that does not exist is left out; without
// landlock in the kernel nothing happens.
func landlock(pairs []string) error {
	abi := landlockABI()
	if abi == 0 {
		return nil
	}
	const read = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	all := uint64(1<<13 - 1) // version 1: execute … make symbolic link
	file := uint64(unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE)
	if abi >= 2 {
		all |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		all |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
		file |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	attr := all
	fd, _, e := syscall.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), 8, 0)
	if e != 0 {
		return e
	}
	defer unix.Close(int(fd))
	for i := 0; i+1 < len(pairs); i += 2 {
		var st unix.Stat_t
		path, err := unix.Open(pairs[i+1], unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		access := uint64(read)
		if pairs[i] == "w" {
			access = all
		}
		if unix.Fstat(path, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			access &= file
		}
		var rule [12]byte // packed: u64 access, s32 descriptor
		binary.NativeEndian.PutUint64(rule[:], access)
		binary.NativeEndian.PutUint32(rule[8:], uint32(path))
		_, _, e := syscall.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, fd, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
		unix.Close(path)
		if e != 0 {
			return e
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, e = syscall.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0)
	return errno(e)
}
