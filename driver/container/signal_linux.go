package container

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func signalNumber(name string) syscall.Signal {
	name = strings.ToUpper(name)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	return unix.SignalNum(name)
}
