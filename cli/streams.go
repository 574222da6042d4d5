package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are what a command reads and writes. Out gets data and nothing else;
// talk, progress and errors go to Err.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer

	// What is a terminal. Without one there is no prompt, colour or animation.
	InTerminal, OutTerminal, ErrTerminal bool

	// Width is the terminal's, in columns; 0 where there is none.
	Width int

	// Keys switches the terminal of In to single key presses until restore is
	// called; nil where that cannot be done.
	Keys func() (restore func(), err error)
}

// System returns the streams of the process.
func System() Streams {
	in, out, errs := int(os.Stdin.Fd()), int(os.Stdout.Fd()), int(os.Stderr.Fd())
	s := Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		InTerminal: term.IsTerminal(in), OutTerminal: term.IsTerminal(out), ErrTerminal: term.IsTerminal(errs),
	}
	if w, _, err := term.GetSize(errs); err == nil {
		s.Width = w
	}
	if s.InTerminal {
		s.Keys = func() (func(), error) {
			old, err := keyMode(in)
			if err != nil {
				return nil, err
			}
			return func() { _ = term.Restore(in, old) }, nil
		}
	}
	return s
}
