//go:build linux || darwin

package cli

import (
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// keyMode makes the terminal give single key presses without echo. Signals
// (Ctrl-C) and line ends on output stay as they are, unlike in raw mode.
func keyMode(fd int) (*term.State, error) {
	old, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return nil, err
	}
	t.Lflag &^= unix.ICANON | unix.ECHO
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return old, unix.IoctlSetTermios(fd, setTermios, t)
}
