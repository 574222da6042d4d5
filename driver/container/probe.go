package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/core/engine"
)

// prober asks one container one question, again and again.
type prober struct {
	i *instance
	b *box
	p *engine.Probe
}

func newProber(i *instance, b *box, p *engine.Probe) *prober { return &prober{i, b, p} }

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

// untilSuccess asks until the answer is good as often in a row as the probe
// wants. With final, as many failures in a row as it allows are the verdict: their
// number and the last are returned. Otherwise only the end of ctx ends it, with
// the last failure. A probe without a period asks as soon as is useful; one
// with a period begins when its port accepts connections, so that nobody waits
// for a period in which nothing changes.
func (p *prober) untilSuccess(ctx context.Context, final bool) (times int, err error) {
	if !pause(ctx, time.Until(p.b.begun.Add(p.p.Delay))) {
		return 0, p.never(nil)
	}
	rest := firstPause
	if p.p.Period > 0 && !final {
		for port := p.port(); port > 0; rest = longer(rest) {
			if err := p.tcp(ctx, port); err == nil {
				break
			} else if !pause(ctx, rest) {
				return 0, p.never(err)
			}
		}
	}
	need, allowed := max(p.p.Success, 1), max(p.p.Failure, 1)
	if p.p.Failure == 0 {
		allowed = 3
	}
	good, bad := 0, 0
	var last error
	rest = firstPause
	for {
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
		}
		wait := p.p.Period
		if wait <= 0 {
			wait, rest = rest, longer(rest)
		}
		if !pause(ctx, wait) {
			return 0, p.never(last)
		}
	}
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
	period, allowed := p.p.Period, p.p.Failure
	if period <= 0 {
		period = 10 * time.Second
	}
	if allowed <= 0 {
		allowed = 3
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
