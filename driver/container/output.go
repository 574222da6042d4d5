package container

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/sandbox/lines"
)

const (
	tailLines = 20 // kept to explain an end
	tailBytes = 4 << 10
)

// output turns what a container writes into lines of its revision, and keeps
// the last ones.
type output struct {
	sink     engine.Sink
	instance string

	read  *lines.Reader
	mu    sync.Mutex
	owner *engine.Spec // nil: nobody runs in the box yet
	label string       // before each line
	tail  []said       // newest last
	bytes int
}

// said is one of the last lines.
type said struct{ stream, text string }

func newOutput(sink engine.Sink, instance string) *output {
	o := &output{sink: sink, instance: instance}
	o.read = lines.NewReader(func(stream string, line []byte) { o.line(stream, string(line)) })
	return o
}

// own makes the lines those of a container. Its name is before each of them
// where the pod has more than one.
func (o *output) own(i *instance, c *engine.Container) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owner = i.spec
	if i.named() {
		o.label = "[" + c.Name + "] "
	}
}

func (o *output) line(stream, text string) {
	o.mu.Lock()
	short := text
	if len(short) > tailBytes/4 {
		short = strings.ToValidUTF8(short[:tailBytes/4], "") + "…"
	}
	o.tail, o.bytes = append(o.tail, said{stream, short}), o.bytes+len(short)+1
	for len(o.tail) > tailLines || o.bytes > tailBytes {
		o.forgetOne()
	}
	o.mu.Unlock()
	o.emit(stream, text)
}

// emit hands a line on without keeping it.
func (o *output) emit(stream, text string) {
	o.mu.Lock()
	owner, text := o.owner, o.label+text
	o.mu.Unlock()
	if owner == nil || o.sink == nil {
		return
	}
	o.sink(engine.Line{
		Time: time.Now(), Tenant: owner.Tenant, Function: owner.Function, Revision: owner.Revision, Instance: o.instance, Stream: stream, Text: text,
	})
}

// forgetOne drops the oldest line of the stream that has more of them: the two
// are read apart, and much on one must not push a traceback out on the other.
func (o *output) forgetOne() {
	count := map[string]int{}
	for _, l := range o.tail {
		count[l.stream]++
	}
	most := "stdout"
	if count["stderr"] > count["stdout"] {
		most = "stderr"
	}
	for n, l := range o.tail {
		if l.stream == most {
			o.bytes -= len(l.text) + 1
			o.tail = slices.Delete(o.tail, n, n+1)
			return
		}
	}
}

// last is the newest output.
func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	for n, l := range o.tail {
		if n > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(l.text)
	}
	return b.String()
}
