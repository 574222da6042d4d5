package cli

import (
	"context"
	"sync"
	"time"
)

// When progress speaks up.
const (
	progressAfter = 300 * time.Millisecond
	waitingAfter  = 5 * time.Second
)

// progress tells on Err what a command is doing once that takes longer than a
// moment. Done must be called.
type progress struct {
	a     *app
	mu    sync.Mutex
	what  string
	since time.Time
	shown bool // a line of the terminal is in use
	told  string
	stop  context.CancelFunc
	ended chan struct{}
}

// progress starts to tell what, such as "building hello".
func (a *app) progress(what string) *progress {
	ctx, stop := context.WithCancel(context.Background())
	p := &progress{a: a, what: what, since: time.Now(), stop: stop, ended: make(chan struct{})}
	go p.run(ctx)
	return p
}

// now changes what is told.
func (p *progress) now(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.what != what {
		p.what, p.since = what, time.Now()
	}
}

// done takes the line away.
func (p *progress) done() {
	p.stop()
	<-p.ended
	if p.shown {
		fprintf(p.a.Err, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) run(ctx context.Context) {
	defer close(p.ended)
	if p.a.quiet {
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for frame := 0; ; frame++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.tell(frame)
		}
	}
}

func (p *progress) tell(frame int) {
	p.mu.Lock()
	what, since := p.what, p.since
	p.mu.Unlock()
	took := time.Since(since)
	if took < progressAfter {
		return
	}
	text := what + " …"
	if took > waitingAfter {
		text = "waiting: " + what + ", since " + since.Format(time.TimeOnly)
	}
	if p.a.paint.on {
		spin := []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧"}[frame%8]
		fprintf(p.a.Err, "\r\x1b[K%s %s", p.a.paint.dim(spin), text)
		p.shown = true
		return
	}
	if p.told != text {
		fprintf(p.a.Err, "%s\n", text)
		p.told = text
	}
}
