package build

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/hearth-run/hearth/core/blob"
)

// longestLine is where a line without an end is cut for progress.
const longestLine = 16 << 10

// buildLog keeps the head and the tail of what a build prints, in bounded
// memory, and hands each line on.
type buildLog struct {
	mu    sync.Mutex
	most  int // bytes of each half
	head  []byte
	ring  []byte // the tail; up to twice most before it is cut
	lost  int64
	part  []byte // line without its end yet
	lines func(string)
}

func newBuildLog(size int, lines func(string)) *buildLog {
	return &buildLog{most: max(size/2, 1), lines: lines}
}

// Write implements io.Writer; it never fails.
func (l *buildLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress(p)
	rest := p
	if n := min(len(rest), l.most-len(l.head)); n > 0 {
		l.head, rest = append(l.head, rest[:n]...), rest[n:]
	}
	l.ring = append(l.ring, rest...)
	if over := len(l.ring) - l.most; over > l.most {
		l.lost += int64(over)
		l.ring = append(l.ring[:0], l.ring[over:]...)
	}
	return len(p), nil
}

func (l *buildLog) progress(p []byte) {
	if l.lines == nil {
		return
	}
	l.part = append(l.part, p...)
	for {
		i := bytes.IndexByte(l.part, '\n')
		if i < 0 && len(l.part) < longestLine {
			return
		}
		if i < 0 || i > longestLine {
			i = longestLine - 1
		}
		l.lines(strings.TrimRight(string(l.part[:i+1]), "\r\n"))
		l.part = append(l.part[:0], l.part[i+1:]...)
	}
}

// say adds a line of the builder's own.
func (l *buildLog) say(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }

func (l *buildLog) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	tail, lost := l.ring, l.lost
	if over := len(tail) - l.most; over > 0 {
		tail, lost = tail[over:], lost+int64(over)
	}
	out := bytes.Clone(l.head)
	if lost > 0 {
		out = append(out, fmt.Sprintf("\n… %d bytes left out …\n", lost)...)
	}
	return append(out, tail...)
}

// tail is the last n lines.
func (l *buildLog) tail(n int) string {
	lines := strings.Split(strings.TrimRight(string(l.bytes()), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// keep stores the log and returns its digest, empty for an empty log. It does
// so even when the build's context has ended.
func (l *buildLog) keep(ctx context.Context, blobs blob.Store) (string, error) {
	b := l.bytes()
	if len(b) == 0 {
		return "", nil
	}
	info, err := blobs.Put(context.WithoutCancel(ctx), bytes.NewReader(b))
	return string(info.Digest), err
}
