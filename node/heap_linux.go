package node

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unpage gives the pages below b back; they read as zeros.
func unpage(b []byte) {
	size := os.Getpagesize()
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (size - 1)
	if whole := (len(b) - skip) &^ (size - 1); whole > 0 {
		_ = unix.Madvise(b[skip:skip+whole], unix.MADV_DONTNEED) // without it the memory stays, which is all
	}
}
