// Package lines cuts what a process writes to its stdout and stderr into lines.
// Whose lines they are and what is kept of them is the driver's business.
package lines

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"sync"
	"time"
)

// Max is the length of the longest line in bytes; the rest of a longer one is
// cut.
const Max = 16 << 10

// patience is how long Drain waits.
const patience = 200 * time.Millisecond

// Reader reads the pipes of a process.
type Reader struct {
	take func(stream string, line []byte)
	open sync.WaitGroup // pipes that are being read
}

// NewReader returns a reader that hands every line, without its end, to take.
// The stream is stdout or stderr; the two are read at the same time, each in
// order. A line is valid until take returns.
func NewReader(take func(stream string, line []byte)) *Reader { return &Reader{take: take} }

// Pipes makes the pipes for stdout and stderr and returns their write ends. They
// are read until every copy of these is closed; the caller closes its own once
// the process has them.
func (r *Reader) Pipes() (stdout, stderr *os.File, err error) {
	if stdout, err = r.pipe("stdout"); err != nil {
		return nil, nil, err
	}
	if stderr, err = r.pipe("stderr"); err != nil {
		stdout.Close()
		return nil, nil, err
	}
	return stdout, stderr, nil
}

func (r *Reader) pipe(stream string) (*os.File, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r.open.Go(func() {
		defer in.Close()
		br := bufio.NewReaderSize(in, Max)
		for {
			line, err := br.ReadSlice('\n')
			if len(line) > 0 {
				r.take(stream, bytes.TrimRight(line, "\r\n"))
			}
			for err == bufio.ErrBufferFull {
				_, err = br.ReadSlice('\n') // the rest of a long line
			}
			if err != nil {
				io.Copy(io.Discard, in)
				return
			}
		}
	})
	return out, nil
}

// Drain waits a moment for what the pipes still hold once the process has
// ended; a child that escaped could keep them open for ever.
func (r *Reader) Drain() {
	done := make(chan struct{})
	go func() { r.open.Wait(); close(done) }()
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}
