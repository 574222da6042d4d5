package memory

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
)

// What NewRecords keeps at most when no option says otherwise.
const (
	CallsDefault     = 10_000
	LineBytesDefault = 4 << 20
)

// RecordOption changes how NewRecords makes a store.
type RecordOption func(*past)

// KeepCalls keeps the newest n calls.
func KeepCalls(n int) RecordOption { return func(p *past) { p.mostCalls = n } }

// KeepLineBytes keeps the newest lines up to n bytes, counted by record.Size.
func KeepLineBytes(n int64) RecordOption { return func(p *past) { p.mostBytes = n } }

// NewRecords returns an empty record store. It drops nothing but the oldest.
func NewRecords(opts ...RecordOption) record.Store {
	p := &past{mostCalls: CallsDefault, mostBytes: LineBytesDefault, news: make(chan struct{})}
	for _, o := range opts {
		o(p)
	}
	return p
}

// past implements record.Store.
type past struct {
	mostCalls int
	mostBytes int64

	mu     sync.Mutex
	closed bool
	calls  []record.Call
	lines  []engine.Line
	first  int64         // number of lines[0]
	bytes  int64         // of lines
	news   chan struct{} // closed and replaced at every line, and by Close
}

// AddCall implements record.Store.
func (p *past) AddCall(c record.Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.calls = append(p.calls, c)
	if over := len(p.calls) - p.mostCalls; over > 0 {
		clear(p.calls[:over])
		p.calls = p.calls[over:]
	}
}

// AddLine implements record.Store.
func (p *past) AddLine(l engine.Line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.lines = append(p.lines, l)
	p.bytes += record.Size(l)
	for p.bytes > p.mostBytes {
		p.bytes -= record.Size(p.lines[0])
		p.lines[0] = engine.Line{}
		p.lines = p.lines[1:]
		p.first++
	}
	close(p.news)
	p.news = make(chan struct{})
}

// Calls implements record.Store.
func (p *past) Calls(ctx context.Context, q record.Query) ([]record.Call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, record.Closed()
	}
	var found []record.Call
	for _, c := range slices.Backward(p.calls) {
		if q.SelectsCall(c) && len(found) < q.Most() {
			found = append(found, c)
		}
	}
	return found, ctx.Err()
}

// Lines implements record.Store.
func (p *past) Lines(ctx context.Context, q record.Query) iter.Seq2[engine.Line, error] {
	return func(yield func(engine.Line, error) bool) {
		at, end, err := p.start(q)
		if err != nil {
			yield(engine.Line{}, err)
			return
		}
		for q.Follow || at < end {
			if ctx.Err() != nil {
				break
			}
			l, next, news, closed := p.line(at)
			switch {
			case closed:
				return
			case next > at:
				if at = next; q.SelectsLine(l) && !yield(l, nil) {
					return
				}
			default:
				select {
				case <-news:
				case <-ctx.Done():
				}
			}
		}
		if err := ctx.Err(); err != nil && !q.Follow {
			yield(engine.Line{}, err)
		}
	}
}

// start returns the number of the first line q selects and that behind the last.
func (p *past) start(q record.Query) (first, end int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0, 0, record.Closed()
	}
	i, n := len(p.lines), 0
	for ; i > 0 && n < q.Most(); i-- {
		if q.SelectsLine(p.lines[i-1]) {
			n++
		}
	}
	return p.first + int64(i), p.first + int64(len(p.lines)), nil
}

// line returns line at, or the oldest behind it, and the number of the next;
// when there is none yet, next is at and news is closed once there is.
func (p *past) line(at int64) (l engine.Line, next int64, news <-chan struct{}, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at = max(at, p.first)
	if i := at - p.first; i < int64(len(p.lines)) {
		return p.lines[i], at + 1, p.news, p.closed
	}
	return engine.Line{}, at, p.news, p.closed
}

// Flush implements record.Store.
func (p *past) Flush(ctx context.Context) error { return ctx.Err() }

// Close implements record.Store.
func (p *past) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		close(p.news)
	}
	return nil
}
