package sandbox

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// refusedHere lists the refused calls only this architecture has.
func refusedHere() []uint32 { return nil }
