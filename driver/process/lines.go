package process

import (
	"bytes"
	"sync"
	"time"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/sandbox/lines"
)

// output turns what an instance writes into lines of its revision. Before the
// instance is specialised there is no owner, and nothing is kept but the last
// words, which explain a start that failed.
type output struct {
	sink     engine.Sink
	instance string

	read  *lines.Reader
	mu    sync.Mutex
	owner *engine.Spec
	tail  [][]byte // last lines, newest last
}

const tailLines = 20

func newOutput(sink engine.Sink, instance string) *output {
	o := &output{sink: sink, instance: instance}
	o.read = lines.NewReader(func(stream string, line []byte) { o.line(stream, "", line) })
	return o
}

// own makes the lines from now on those of a revision.
func (o *output) own(s *engine.Spec) {
	o.mu.Lock()
	o.owner = s
	o.mu.Unlock()
}

// text takes a LOG frame: one or more lines of a known call.
func (o *output) text(stream, request string, text []byte) {
	for line := range bytes.Lines(text) {
		o.line(stream, request, bytes.TrimRight(line, "\r\n"))
	}
}

func (o *output) line(stream, request string, text []byte) {
	if len(text) > lines.Max {
		text = text[:lines.Max]
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
	o.read.Drain()
	o.line("stderr", "", []byte(text))
}

// lastWords is the newest output, for the error of a start that failed.
func (o *output) lastWords() string {
	o.read.Drain()
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(bytes.Join(o.tail, []byte("\n")))
}
