package process

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"sync"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// maxLine is the longest line kept; the rest of a longer one is cut.
const maxLine = 16 << 10

// output turns what an instance writes into lines of its revision. Before the
// instance is specialised there is no owner, and nothing is kept but the last
// words, which explain a start that failed.
type output struct {
	sink     engine.Sink
	instance string

	open  sync.WaitGroup // pipes that are being read
	mu    sync.Mutex
	owner *engine.Spec
	tail  [][]byte // last lines, newest last
}

const tailLines = 20

func newOutput(sink engine.Sink, instance string) *output {
	return &output{sink: sink, instance: instance}
}

// own makes the lines from now on those of a revision.
func (o *output) own(s *engine.Spec) {
	o.mu.Lock()
	o.owner = s
	o.mu.Unlock()
}

// pipe returns the write end of a pipe whose lines go to o until every copy of
// it is closed. The caller closes its copy once the process has it.
func (o *output) pipe(stream string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.open.Go(func() {
		defer r.Close()
		br := bufio.NewReaderSize(r, maxLine)
		for {
			line, err := br.ReadSlice('\n')
			if len(line) > 0 {
				o.line(stream, "", bytes.TrimRight(line, "\r\n"))
			}
			for err == bufio.ErrBufferFull {
				_, err = br.ReadSlice('\n') // the rest of a long line
			}
			if err != nil {
				io.Copy(io.Discard, r)
				return
			}
		}
	})
	return w, nil
}

// pipes makes the pipes for stdout and stderr.
func (o *output) pipes() (stdout, stderr *os.File, err error) {
	if stdout, err = o.pipe("stdout"); err != nil {
		return nil, nil, err
	}
	if stderr, err = o.pipe("stderr"); err != nil {
		stdout.Close()
		return nil, nil, err
	}
	return stdout, stderr, nil
}

// text takes a LOG frame: one or more lines of a known call.
func (o *output) text(stream, request string, text []byte) {
	for line := range bytes.Lines(text) {
		o.line(stream, request, bytes.TrimRight(line, "\r\n"))
	}
}

func (o *output) line(stream, request string, text []byte) {
	if len(text) > maxLine {
		text = text[:maxLine]
	}
	o.mu.Lock()
	owner := o.owner
	if len(o.tail) == tailLines {
		o.tail = append(o.tail[:0], o.tail[1:]...)
	}
	o.tail = append(o.tail, bytes.Clone(text))
	o.mu.Unlock()
	if owner == nil || o.sink == nil {
		return
	}
	o.sink(engine.Line{
		Time: time.Now(), Tenant: owner.Tenant, Function: owner.Function, Revision: owner.Revision,
		Instance: o.instance, Request: request, Stream: stream, Text: string(text),
	})
}

// last adds a line of the engine's own after all that the instance wrote.
func (o *output) last(text string) {
	o.drained()
	o.line("stderr", "", []byte(text))
}

// drained waits a moment for what the pipes still hold; a child that escaped
// could keep them open for ever.
func (o *output) drained() {
	drained := make(chan struct{})
	go func() { o.open.Wait(); close(drained) }()
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-drained:
	case <-t.C:
	}
}

// lastWords is the newest output, for the error of a start that failed.
func (o *output) lastWords() string {
	o.drained()
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(bytes.Join(o.tail, []byte("\n")))
}
