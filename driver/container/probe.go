package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// prober asks one container one question, again and again.
type prober struct {
	i *instance
	b *box
	p *engine.Probe

	last atomic.Pointer[string] // what came of a question last that was not yet answered well; nil: none
}

func newProber(i *instance, b *box, p *engine.Probe) *prober { return &prober{i: i, b: b, p: p} }

const (
	firstPause = time.Millisecond
	mostPause  = 50 * time.Millisecond
)

// once asks. A nil error is success.
func (p *prober) once(ctx context.Context) error {
	timeout := p.p.Timeout
	if timeout <= 0 {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := p.ask(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: no answer within %s", p.what(), timeout)
	}
	return err
}

func (p *prober) ask(ctx context.Context) error {
	switch q := p.p; {
	case q.HTTP != nil:
		return p.http(ctx, q.HTTP)
	case q.GRPC != nil:
		return p.grpc(ctx, q.GRPC)
	case len(q.Exec) > 0:
		return p.exec(ctx, q.Exec)
	case q.TCP != nil:
		return p.tcp(ctx, *q.TCP)
	}
	return errors.New("the probe asks nothing")
}

// what names the question.
func (p *prober) what() string {
	switch q := p.p; {
	case q.HTTP != nil:
		return fmt.Sprintf("GET %s on port %d", q.HTTP.Path, q.HTTP.Port)
	case q.GRPC != nil:
		return fmt.Sprintf("health check on port %d", q.GRPC.Port)
	case len(q.Exec) > 0:
		return strings.Join(q.Exec, " ")
	case q.TCP != nil:
		return fmt.Sprintf("port %d", *q.TCP)
	}
	return "probe"
}

// port is the port asked; 0 for exec.
func (p *prober) port() int {
	switch q := p.p; {
	case q.HTTP != nil:
		return q.HTTP.Port
	case q.GRPC != nil:
		return q.GRPC.Port
	case q.TCP != nil:
		return *q.TCP
	}
	return 0
}

func (p *prober) dial(ctx context.Context, port int) (net.Conn, error) {
	return p.i.shared.Dial(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
}

func (p *prober) tcp(ctx context.Context, port int) error {
	c, err := p.dial(ctx, port)
	if err != nil {
		return plain(err)
	}
	return c.Close()
}

func (p *prober) exec(ctx context.Context, args []string) error {
	x, out, err := p.b.Do(ctx, args)
	switch {
	case err != nil:
		return err
	case x.Code == 0:
		return nil
	}
	out = strings.TrimSpace(out)
	if out != "" {
		return fmt.Errorf("%s: %s: %s", p.what(), x.Reason, out)
	}
	return fmt.Errorf("%s: %s", p.what(), x.Reason)
}

// plain drops the addresses from a network error.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err
	}
	return err
}

// first asks a container that starts, as untilSuccess does, once its delay is
// over.
func (p *prober) first(ctx context.Context, final bool) (times int, err error) {
	if !pause(ctx, time.Until(p.b.begun.Add(p.p.Delay))) {
		return 0, p.never(nil)
	}
	return p.untilSuccess(ctx, final)
}

// untilSuccess asks until the answer is good as often in a row as the probe
// wants. With final, as many failures in a row as it allows are the verdict: their
// number and the last are returned. Otherwise only the end of ctx ends it, with
// the last failure. A probe without a period asks as soon as is useful.
func (p *prober) untilSuccess(ctx context.Context, final bool) (times int, err error) {
	need, allowed := max(p.p.Success, 1), p.allowed()
	good, bad := 0, 0
	var last error
	for rest := firstPause; ; rest = longer(rest) {
		if err := p.once(ctx); err == nil {
			bad = 0
			if good++; good >= need {
				return 0, nil
			}
		} else if ctx.Err() == nil {
			good = 0
			bad++
			if final && bad >= allowed {
				return bad, err
			}
			last = err
			text := err.Error()
			p.last.Store(&text)
		}
		next := pause
		wait := rest
		if p.p.Period > 0 {
			next, wait = p.next, p.p.Period
		}
		if !next(ctx, wait) {
			return 0, p.never(last)
		}
	}
}

// next waits for the next question. While nobody listens on the port it waits
// for somebody to do so, too, so that a start is not as long as the period.
func (p *prober) next(ctx context.Context, period time.Duration) bool {
	port := p.port()
	if port == 0 || p.tcp(ctx, port) == nil {
		return pause(ctx, period)
	}
	now, cancel := context.WithTimeout(ctx, period)
	defer cancel()
	for rest := firstPause; pause(now, rest) && p.tcp(now, port) != nil; rest = longer(rest) {
	}
	return ctx.Err() == nil
}

func longer(d time.Duration) time.Duration { return min(d*3/2+time.Microsecond, mostPause) }

// never is the error of a question nobody waits for any longer.
func (p *prober) never(last error) error {
	if last == nil {
		return fmt.Errorf("%s: not asked yet", p.what())
	}
	return last
}

// untilFailure asks from time to time until so many failures came in a row as
// the probe allows; it returns them and the last. A nil error is the end of ctx.
func (p *prober) untilFailure(ctx context.Context) (int, error) {
	period, allowed := p.p.Period, p.allowed()
	if period <= 0 {
		period = 10 * time.Second
	}
	if !pause(ctx, time.Until(p.b.begun.Add(p.p.Delay))) {
		return 0, nil
	}
	for bad := 0; ; {
		err := p.once(ctx)
		switch {
		case ctx.Err() != nil:
			return 0, nil
		case err == nil:
			bad = 0
		default:
			if bad++; bad >= allowed {
				return bad, err
			}
		}
		if !pause(ctx, period) {
			return 0, nil
		}
	}
}

// allowed is how many failures in a row count as one.
func (p *prober) allowed() int {
	if p.p.Failure <= 0 {
		return 3
	}
	return p.p.Failure
}

// pause waits; false means that ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
